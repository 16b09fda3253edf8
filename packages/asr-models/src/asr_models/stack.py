"""What a configuration names: a recurrent layer over frames, and one recurrent step of a speller."""

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
    """The weights of one step, for a speller."""

    def __init__(self, kind: str, inputs: int, units: int, *, rng: np.random.Generator, name: str) -> None:
        super().__init__(name=name, autocast=False)
        self.cell, self.units = CELLS[kind](), units
        values = self.cell.initial_weights(rng, inputs, units)
        self.projection = keras.Layer(name=f"{name}.projection")
        self.projection.kernel = weight(self.projection, "kernel", values.pop("kernel"))
        self.step_weights = {key: weight(self, key, values[key]) for key in sorted(values)}
        self.built = self.projection.built = True

    @property
    def states(self) -> int:
        """How many tensors `(N, H)` a state is."""
        return len(self.cell.state_widths(self.units))

    def call(self, values: tf.Tensor, state: State) -> State:
        """`(N, D)` and the state -> the new state."""
        weights = {key: tf.convert_to_tensor(value) for key, value in self.step_weights.items()}
        z = tf.matmul(values, tf.convert_to_tensor(self.projection.kernel)) + weights["bias"]
        return self.cell.step(z, state, weights)[0]
