"""Recurrent layers over padded sequences: LSTM, GRU and simple RNN, in one direction or both.

The input projection of all frames is one large product; what is left for the loop (`loops.py`) is the recurrence of a
cell (`cells.py`). Padding moves no state and reaches no output: whatever stands there, each direction begins at the
first real frame on its way and ends at the last. No part of Keras' own recurrent layers is used, whose
`Bidirectional` and cuDNN kernels treat a mask otherwise on a TPU and on a GPU than on a CPU.
"""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from asr_models.cell_parts import Named, RecurrentCell, State, standardize
from asr_models.cells import CELLS, LstmCell
from asr_models.initial import weight
from asr_models.layers import dropout
from asr_models.loops import scan

DIRECTIONS = {"both": ("forward", "backward"), "forward": ("forward",), "backward": ("backward",)}
MERGES = ("concat", "sum")
DROPOUT_PLACE = 400
"""Where the seeds of recurrent dropout begin, beyond those of a model's other layers."""
INPUT_WEIGHTS = ("kernel", "input_gain")


def recurrent(
    values: Any,
    lengths: Any | None,
    weights: Mapping[str, Named],
    *,
    cell: RecurrentCell,
    merge: str = "concat",
    initial: Mapping[str, State] | None = None,
    dropouts: Mapping[str, Any] | None = None,
    products: str = "float32",
    compiled: bool | str = "auto",
    training: bool = True,
) -> tuple[Any, dict[str, State]]:
    """Run one layer.

    Args:
        values: `(B, T, D)`.
        lengths: `(B,)` integers, or a mask `(B, T)`, true on real frames; None if all are real.
        weights: the cell's weights (`cell.initial_weights`) for "forward", "backward" or both.
        cell: LstmCell, GruCell or RnnCell.
        merge: how two directions meet, "concat" `(B, T, 2H)` or "sum" `(B, T, H)`.
        initial: the state before the first frame on the way of a direction; zeros if not given.
        dropouts: for a direction `(B, H)`, 0 or 1 / (1 - rate), the same at every step (Gal and Ghahramani, 2016).
        products: dtype of the large products, "float32" or "bfloat16", and of those of the recurrence where it is
            compiled; sums, gates and states are float32.
        compiled: whether XLA compiles the loops, once a shape; "auto" compiles them in a graph of known shapes.
        training: False keeps nothing for a gradient; asking for one still works, and runs the loops again.

    Returns:
        `(B, T, H)` or `(B, T, 2H)` float32, zero on padding; the last state of each direction.

    Raises:
        ValueError: `values` is not of rank 3, or `lengths` neither of rank 1 nor 2.
    """
    values = tf.convert_to_tensor(values)
    if values.shape.rank != 3:
        raise ValueError(f"recurrent: values have shape {values.shape}, expected (B, T, D)")
    mask = _mask_by_time(lengths, values)
    dtype = tf.as_dtype(products)
    by_time = tf.transpose(tf.cast(values, dtype), [1, 0, 2])
    if mask is not None:  # not a product: what stands in the padding may be no number
        by_time = tf.where(mask, by_time, tf.zeros([], dtype))
    outputs, last = [], {}
    for direction, named in weights.items():
        z = _project(by_time, named)
        rest = {name: tf.convert_to_tensor(named[name]) for name in named if name not in INPUT_WEIGHTS}
        rows, last[direction] = scan(
            cell,
            z,
            mask,
            rest,
            (initial or {}).get(direction) or _zeros(cell, z),
            reverse=direction == "backward",
            dropout=(dropouts or {}).get(direction),
            products=dtype,
            compiled=_compiles(z) if compiled == "auto" else bool(compiled),
            training=training,
        )
        outputs.append(rows)
    merged = outputs[0]
    if len(outputs) > 1:
        merged = tf.concat(outputs, -1) if merge == "concat" else tf.add_n(outputs)
    if mask is not None:
        merged = tf.where(mask, merged, 0.0)
    return tf.transpose(merged, [1, 0, 2]), last


def _mask_by_time(lengths: Any | None, values: Any) -> Any | None:
    """`(T, B, 1)` bool, from lengths or from a mask."""
    if lengths is None:
        return None
    lengths = tf.convert_to_tensor(lengths)
    if lengths.shape.rank not in (1, 2):
        raise ValueError(f"recurrent: lengths have shape {lengths.shape}, expected (B,), or a mask (B, T)")
    if lengths.shape.rank == 1:
        mask = tf.sequence_mask(tf.cast(lengths, tf.int32), values.shape[1] or tf.shape(values)[1])
    else:
        mask = tf.cast(lengths, tf.bool)
    return tf.transpose(mask)[..., None]


def _project(by_time: Any, weights: Named) -> Any:
    """`(T, B, D)` -> `(T, B, G)`: the part of the gates that does not depend on the state, without bias."""
    z = tf.tensordot(by_time, tf.cast(tf.convert_to_tensor(weights["kernel"]), by_time.dtype), 1)
    if "input_gain" in weights:
        return standardize(tf.cast(z, tf.float32))[0] * tf.convert_to_tensor(weights["input_gain"])
    return z


def _zeros(cell: RecurrentCell, z: Any) -> State:
    batch = z.shape[1] or tf.shape(z)[1]
    return tuple(tf.zeros([batch, width]) for width in cell.state_widths(z.shape[-1] // cell.gates))


def _compiles(z: Any) -> bool:
    """Compiling takes a second a shape: worth it where a graph is traced for a shape, not for whatever comes."""
    return z.shape.is_fully_defined() and not tf.executing_eagerly()


class Recurrent(keras.Layer):
    """One recurrent layer over padded sequences.

    Args:
        inputs: D, the width of its input.
        units: H, of each direction.
        cell: what runs over time; `LstmCell(projection=...)` and others have options of their own.
        directions: "both", "forward" or "backward".
        merge: how the two directions meet: "concat" `(B, T, 2H)` or "sum" `(B, T, H)`.
        recurrent_dropout: rate at which the state is hidden from the gates, one mask for all frames.
        products: dtype of the large products; None is the compute dtype of the layer's policy.
        compiled: see `recurrent`.
        rng: draws the first weights.
    """

    def __init__(
        self,
        inputs: int,
        units: int,
        *,
        rng: np.random.Generator,
        cell: RecurrentCell | None = None,
        directions: str = "both",
        merge: str = "concat",
        recurrent_dropout: float = 0.0,
        products: str | None = None,
        compiled: bool | str = "auto",
        name: str | None = None,
        dtype: Any = None,
        trainable: bool = True,
    ) -> None:
        super().__init__(name=name, dtype=dtype, trainable=trainable)
        if merge not in MERGES:
            raise ValueError(f"merge is {merge!r}, expected 'concat' or 'sum'")
        if directions not in DIRECTIONS:
            raise ValueError(f"directions is {directions!r}, expected one of {', '.join(DIRECTIONS)}")
        if not 0 <= recurrent_dropout < 1:
            raise ValueError(f"recurrent_dropout is {recurrent_dropout}, expected at least 0 and below 1")
        if compiled not in ("auto", True, False):
            raise ValueError(f"compiled is {compiled!r}, expected 'auto', True or False")
        if products not in (None, "float32", "bfloat16"):
            raise ValueError(f"products is {products!r}, expected 'float32' or 'bfloat16'")
        self.inputs, self.units, self.cell = inputs, units, cell or LstmCell()
        self.directions, self.merge = directions, merge
        self.recurrent_dropout, self.products, self.compiled = recurrent_dropout, products, compiled
        output = self.cell.state_widths(units)[0]
        self.width = 2 * output if directions == "both" and merge == "concat" else output
        self.weights_of = {
            direction: {
                part: weight(self, f"{direction}_{part}", value, autocast=False)
                for part, value in self.cell.initial_weights(rng, inputs, units).items()
            }
            for direction in DIRECTIONS[directions]
        }
        self.built = True

    def call(
        self,
        values: Any,
        mask: Any | None = None,
        *,
        initial: Mapping[str, State] | None = None,
        return_state: bool = False,
        training: bool = True,
        seed: Any | None = None,
        place: int = 0,
    ) -> Any:
        """Run the layer.

        Args:
            values: `(B, T, D)`.
            mask: `(B, T)`, true or 1 on real frames, or lengths `(B,)`; None if all are real.
            initial: for each direction the state before its first frame.
            return_state: whether the last state of each direction comes with the outputs.
            training: whether a gradient is expected and the state is dropped out.
            seed: `(2,)` int32, for recurrent dropout.
            place: of the layer in the model; layers of one seed drop out alike only in the same place.

        Returns:
            `(B, T, width)`, zero on padding, in the layer's compute dtype.

        Raises:
            ValueError: in training with recurrent dropout and no seed.
        """
        outputs, last = recurrent(
            values,
            mask,
            self.weights_of,
            cell=self.cell,
            merge=self.merge,
            initial=initial,
            dropouts=self._dropouts(tf.shape(values)[0], seed, place) if training and self.recurrent_dropout else None,
            products=self.products or self.compute_dtype,
            compiled=self.compiled,
            training=training,
        )
        outputs = tf.cast(outputs, self.compute_dtype)
        return (outputs, last) if return_state else outputs

    def get_config(self) -> dict[str, Any]:
        """What Keras writes of the layer; the cell as its name among CELLS and its fields."""
        name = next(name for name, kind in CELLS.items() if kind is type(self.cell))
        own = ("inputs", "units", "directions", "merge", "recurrent_dropout", "products", "compiled")
        cell = {"name": name, **{field.name: getattr(self.cell, field.name) for field in fields(CELLS[name])}}
        return {**super().get_config(), **{field: getattr(self, field) for field in own}, "cell": cell}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Recurrent":
        """The layer that `get_config` described, with weights of its own."""
        options = dict(config["cell"])
        cell = CELLS[options.pop("name")](**options)
        return cls(**{**config, "cell": cell, "rng": np.random.default_rng(0)})

    def start(self, batch: Any) -> State:
        """The state before the first of `batch` utterances, for `step`."""
        return tuple(tf.zeros([batch, width]) for width in self.cell.state_widths(self.units))

    def step(self, values: Any, state: State) -> tuple[Any, State]:
        """Any number of real frames `(B, t, D)` -> `(B, t, H)` and the state after them, in the first direction."""
        direction = next(iter(self.weights_of))
        outputs, last = recurrent(
            values,
            None,
            {direction: self.weights_of[direction]},
            cell=self.cell,
            initial={direction: state},
            products=self.products or self.compute_dtype,
            compiled=self.compiled,
            training=False,
        )
        return tf.cast(outputs, self.compute_dtype), last[direction]

    def _dropouts(self, batch: Any, seed: Any | None, place: int) -> dict[str, Any]:
        ones = tf.ones([batch, self.cell.state_widths(self.units)[0]])
        return {
            direction: dropout(ones, self.recurrent_dropout, seed, DROPOUT_PLACE + 2 * place + n, training=True)
            for n, direction in enumerate(self.weights_of)
        }


class Lstm(Recurrent):
    """`Recurrent` with an LSTM as it comes, in both directions."""

    def __init__(
        self, inputs: int, units: int, *, rng: np.random.Generator, merge: str = "concat", name: str | None = None
    ) -> None:
        super().__init__(inputs, units, rng=rng, cell=LstmCell(), merge=merge, name=name)


def lstm_cell(z: tf.Tensor, c: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """One LSTM step from the summed projections `z` `(N, 4H)` and the cell `c` `(N, H)`: the new `(h, c)`."""
    i, f, o, g = LstmCell.gates_of(z)
    c = f * c + i * g
    return o * tf.tanh(c), c
