"""What a configuration names: a recurrent layer over frames, and one recurrent step of a speller."""

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from asr_models.cells import CELLS
from asr_models.deferred import sum_of_products, through, times
from asr_models.initial import weight
from asr_models.recurrent import Recurrent

State = tuple[tf.Tensor, ...]
"""`(N, H)` each: (h, c) of an LSTM, (h,) of the others."""


def recurrent_layer(
    cell: str,
    inputs: int,
    units: int,
    *,
    rng: np.random.Generator,
    name: str,
    bidirectional: bool = True,
    merge: str = "concat",
    recurrent_dropout: float = 0.0,
) -> Recurrent:
    """The layer of a cell named as in the configurations."""
    return Recurrent(
        inputs,
        units,
        rng=rng,
        cell=CELLS[cell](),
        directions="both" if bidirectional else "forward",
        merge=merge,
        recurrent_dropout=recurrent_dropout,
        name=name,
    )


class Later(NamedTuple):
    """What a cell is given at a step of a loop whose gradients wait (`deferred.py`)."""

    bias: tf.Tensor
    """`(N, G)`: the row of `Cell.biases` for the step."""
    matrix: tf.Tensor
    """`Cell.matrix`, `(cell.reads, G)`."""
    turned: tf.Tensor
    """The same, transposed."""


class Cell(keras.Layer):
    """The weights of one step, for a speller."""

    def __init__(self, kind: str, inputs: int, units: int, *, rng: np.random.Generator, name: str) -> None:
        super().__init__(name=name, autocast=False)
        self.cell, self.inputs, self.units = CELLS[kind](), inputs, units
        values = self.cell.initial_weights(rng, inputs, units)
        self.projection = keras.Layer(name=f"{name}.projection")
        self.projection.kernel = weight(self.projection, "kernel", values.pop("kernel"))
        self.step_weights = {key: weight(self, key, values[key]) for key in sorted(values)}
        # A GRU resets the product with its state, which so has another gradient than the projection.
        self.sums_products = "recurrent_bias" not in values
        self.reads = inputs + units if self.sums_products else inputs
        self.built = self.projection.built = True

    @property
    def states(self) -> int:
        """How many tensors `(N, H)` a state is."""
        return len(self.cell.state_widths(self.units))

    def call(self, values: tf.Tensor, state: State, later: Later | None = None) -> State:
        """`(N, D)` and the state -> the new state; `later` in a loop whose gradients wait."""
        weights = {key: tf.convert_to_tensor(value) for key, value in self.step_weights.items()}
        if later is None:
            z = tf.matmul(values, tf.convert_to_tensor(self.projection.kernel)) + weights["bias"]
        else:
            z = times(self.read(values, state), later.matrix, later.turned) + later.bias
            if self.sums_products:
                del weights["recurrent"]
        return self.cell.step(z, state, weights)[0]

    def read(self, values: tf.Tensor, state: State) -> tf.Tensor:
        """`(N, reads)`: what one product takes in; values and hidden state side by side, where their products add."""
        return tf.concat([values, state[0]], -1) if self.sums_products else values

    def _matrices(self) -> list[tf.Tensor]:
        """Those that get their gradient after a loop."""
        matrices = [self.projection.kernel, *([self.step_weights["recurrent"]] if self.sums_products else [])]
        return list(map(tf.convert_to_tensor, matrices))

    def matrix(self) -> tf.Tensor:
        """`(reads, G)`, without a gradient: what `read` is multiplied by."""
        return tf.stop_gradient(tf.concat(self._matrices(), 0))

    def biases(self, steps: Any, batch: Any, read: Callable[[], tf.Tensor]) -> tf.Tensor:
        """The bias for each step, `(U, N, G)`, through which bias and matrices get their gradient.

        `read` tells, when that gradient is asked for, what the steps read, `(U, N, reads)`.
        """
        bias, matrices = tf.convert_to_tensor(self.step_weights["bias"]), self._matrices()
        heights = [each.shape[0] for each in matrices]

        def gradient(upstream: tf.Tensor) -> list[tf.Tensor]:
            product = sum_of_products(read(), upstream)
            return [tf.reduce_sum(upstream, [0, 1]), *tf.split(product, heights)]

        return through(tf.broadcast_to(bias, [steps, batch, bias.shape[0]]), [bias, *matrices], gradient)
