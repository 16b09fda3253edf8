"""What a configuration names: a recurrent layer over frames, and one recurrent step of a speller."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from asr_models import deferred
from asr_models.cell_parts import RecurrentCell
from asr_models.cells import CELLS, LstmCell
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


class _LstmStep(LstmCell):
    """For a loop that XLA does not compile: a function for each gate is quicker there than the products of one."""

    @staticmethod
    def gates_of(u: Any) -> list[Any]:
        """`(N, 4H)` summed projections -> gates."""
        i, f, o, g = tf.split(u, 4, -1)
        return [tf.sigmoid(i), tf.sigmoid(f), tf.sigmoid(o), tf.tanh(g)]


class Cell(keras.Layer):
    """The weights of one step, for a speller."""

    def __init__(self, kind: str, inputs: int, units: int, *, rng: np.random.Generator, name: str) -> None:
        super().__init__(name=name, autocast=False)
        self.cell: RecurrentCell = _LstmStep() if kind == "lstm" else CELLS[kind]()
        self.inputs, self.units = inputs, units
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

    def call(self, values: tf.Tensor, state: State, later: deferred.Later | None = None) -> State:
        """`(N, D)` and the state -> the new state; `later` in a loop whose gradients wait."""
        weights = {key: tf.convert_to_tensor(value) for key, value in self.step_weights.items()}
        if later is None:
            z = tf.matmul(values, tf.convert_to_tensor(self.projection.kernel)) + weights["bias"]
        else:
            z = later(self.read(values, state))
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
        """`(reads, G)`, without a gradient and in the dtype of the layer's products: what `read` is multiplied by."""
        return tf.cast(tf.stop_gradient(tf.concat(self._matrices(), 0)), self.compute_dtype)

    def biases(self, steps: Any, batch: Any, read: Callable[[], tf.Tensor]) -> tf.Tensor:
        """The bias for each step, `(U, N, G)`, through which bias and matrices get their gradient.

        `read` tells, when that gradient is asked for, what the steps read, `(U, N, reads)`.
        """
        return deferred.biases(self.step_weights["bias"], self._matrices(), steps, batch, read, self.compute_dtype)
