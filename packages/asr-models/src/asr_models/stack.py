"""What a configuration names: a recurrent layer over frames, and one recurrent step of a speller."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from asr_models.cells import CELLS
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


class Cell(keras.Layer):
    """The weights of one step, for a speller.

    A loop over many tokens may leave the gradient of the matrices to one product after it (`deferred`), where automatic
    differentiation makes a product a token and adds them all up.
    """

    def __init__(self, kind: str, inputs: int, units: int, *, rng: np.random.Generator, name: str) -> None:
        super().__init__(name=name, autocast=False)
        self.cell, self.inputs, self.units = CELLS[kind](), inputs, units
        values = self.cell.initial_weights(rng, inputs, units)
        self.projection = keras.Layer(name=f"{name}.projection")
        self.projection.kernel = weight(self.projection, "kernel", values.pop("kernel"))
        self.step_weights = {key: weight(self, key, values[key]) for key in sorted(values)}
        # A GRU resets the product with its state, which so has another gradient than the projection.
        self.sums_products = "recurrent_bias" not in values
        self.built = self.projection.built = True

    @property
    def states(self) -> int:
        """How many tensors `(N, H)` a state is."""
        return len(self.cell.state_widths(self.units))

    def call(self, values: tf.Tensor, state: State, bias: tf.Tensor | None = None) -> State:
        """`(N, D)` and the state -> the new state; `bias` `(N, G)` is a row of what `deferred` gave."""
        weights = {key: tf.convert_to_tensor(value) for key, value in self.step_weights.items()}
        kernel = tf.convert_to_tensor(self.projection.kernel)
        if bias is not None:
            kernel = tf.stop_gradient(kernel)
            if self.sums_products:
                weights["recurrent"] = tf.stop_gradient(weights["recurrent"])
        z = tf.matmul(values, kernel) + (weights["bias"] if bias is None else bias)
        return self.cell.step(z, state, weights)[0]

    def deferred(self, steps: Any, batch: Any, read: list[tf.Tensor]) -> tf.Tensor:
        """The bias for each step, `(U, B, G)`, through which the matrices get their gradient.

        `read` has one item when that gradient is asked for: the values and the hidden states that the steps were
        given, side by side, `(U, B, D + H)`.
        """

        @tf.custom_gradient
        def run(bias: tf.Tensor, *matrices: tf.Tensor) -> Any:
            def gradient(upstream: tf.Tensor) -> list[tf.Tensor]:
                rows = tf.reshape(upstream, [-1, bias.shape[0]])
                values = tf.reshape(read[0], [-1, read[0].shape[-1]])[:, : sum(each.shape[0] for each in matrices)]
                product = tf.matmul(values, rows, transpose_a=True)
                return [tf.reduce_sum(rows, 0), *tf.split(product, [each.shape[0] for each in matrices])]

            return tf.broadcast_to(bias, [steps, batch, bias.shape[0]]), gradient

        matrices = [self.projection.kernel, *([self.step_weights["recurrent"]] if self.sums_products else [])]
        return run(*map(tf.convert_to_tensor, [self.step_weights["bias"], *matrices]))
