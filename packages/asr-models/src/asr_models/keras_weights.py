"""Weights of `keras.layers.LSTM`, `GRU` and `SimpleRNN` into a `Recurrent` layer, and back."""

from typing import Any

import keras
import numpy as np

from asr_models.cell_parts import RecurrentCell
from asr_models.cells import GruCell, LstmCell, RnnCell
from asr_models.recurrent import Recurrent

ORDER = {LstmCell: (0, 1, 3, 2), GruCell: (0, 1, 2), RnnCell: (0,)}
"""Where each gate of ours stands among Keras' gates, and the other way round; Keras' LSTM has i, f, g, o."""


def from_keras(forward: Any, backward: Any | None = None, *, merge: str = "concat") -> Recurrent:
    """A layer that computes what built Keras layers do, with their weights.

    Args:
        forward: a `keras.layers.LSTM`, `GRU` or `SimpleRNN` with its usual activations.
        backward: the layer of the same kind that reads from the end, if there are two directions; the two layers of a
            `keras.layers.Bidirectional` are its `forward_layer` and `backward_layer`.
        merge: how the two directions meet, "concat" or "sum".

    Raises:
        ValueError: another kind of layer, one that is not built, or activations that the cells do not have.
    """
    layers = {"forward": forward} if backward is None else {"forward": forward, "backward": backward}
    cell, inputs, units = _cell_of(forward), *_sizes(forward)
    for layer in layers.values():
        if (_cell_of(layer), *_sizes(layer)) != (cell, inputs, units):
            raise ValueError("from_keras: the two directions differ in kind or size, expected two of the same")
    ours = Recurrent(
        inputs,
        units,
        cell=cell,
        directions="forward" if backward is None else "both",
        merge=merge,
        rng=np.random.default_rng(0),
    )
    for direction, layer in layers.items():
        found = dict(zip(("kernel", "recurrent", "bias"), map(np.asarray, layer.get_weights()), strict=False))
        found.setdefault("bias", np.zeros(found["kernel"].shape[-1], np.float32))
        if isinstance(cell, GruCell) and cell.reset_after:
            found["bias"], found["recurrent_bias"] = np.broadcast_to(found["bias"], (2, 3 * units)) * _used(layer)
        for name, variable in ours.weights_of[direction].items():
            variable.assign(_reordered(found[name], cell))
    return ours


def to_keras(ours: Recurrent) -> tuple[Any, ...]:
    """One built Keras layer for each direction, with `return_sequences=True` and the weights of `ours`.

    The one that reads from the end has `go_backwards=True`, so that it returns its outputs in that order.

    Raises:
        ValueError: layer normalisation, a projection or an activation that Keras' layers do not have.
    """
    cell, made = ours.cell, []
    options: dict[str, Any] = {}
    if isinstance(cell, GruCell):
        options["reset_after"] = cell.reset_after
    if isinstance(cell, RnnCell):
        options["activation"] = cell.activation
    extra = getattr(cell, "layer_norm", False) or getattr(cell, "projection", None) or type(cell) not in ORDER
    if extra or options.get("activation") == "clipped-relu":
        raise ValueError(f"to_keras: Keras has no layer for {cell}, expected one without additions")
    kind = {LstmCell: keras.layers.LSTM, GruCell: keras.layers.GRU, RnnCell: keras.layers.SimpleRNN}[type(cell)]
    for direction, weights in ours.weights_of.items():
        layer = kind(ours.units, return_sequences=True, go_backwards=direction == "backward", **options)
        layer.build((None, None, ours.inputs))
        found = {name: _reordered(np.asarray(variable), cell) for name, variable in weights.items()}
        if "recurrent_bias" in found:
            found["bias"] = np.stack([found["bias"], found["recurrent_bias"]])
        layer.set_weights([found["kernel"], found["recurrent"], found["bias"]])
        made.append(layer)
    return tuple(made)


def _cell_of(layer: Any) -> RecurrentCell:
    kinds = {keras.layers.LSTM: LstmCell, keras.layers.GRU: GruCell, keras.layers.SimpleRNN: RnnCell}
    if type(layer) not in kinds:
        known = ", ".join(kind.__name__ for kind in kinds)
        raise ValueError(f"from_keras: got a {type(layer).__name__}, expected one of {known} of keras.layers")
    options = layer.get_config()
    activation, gate = options["activation"], options.get("recurrent_activation", "sigmoid")
    usual = ("tanh", "relu") if type(layer) is keras.layers.SimpleRNN else ("tanh",)
    if activation not in usual or gate != "sigmoid":
        raise ValueError(
            f"from_keras: {layer.name} has activations {activation!r} and {gate!r}, "
            f"expected {' or '.join(map(repr, usual))} and 'sigmoid'"
        )
    if type(layer) is keras.layers.SimpleRNN:
        return RnnCell(activation=activation)
    return GruCell(reset_after=options["reset_after"]) if type(layer) is keras.layers.GRU else LstmCell()


def _sizes(layer: Any) -> tuple[int, int]:
    if not layer.get_weights():
        raise ValueError(f"from_keras: {layer.name} has no weights yet, expected a layer that is built")
    return layer.get_weights()[0].shape[0], layer.units


def _used(layer: Any) -> int:
    return int(layer.use_bias)


def _reordered(weight: Any, cell: RecurrentCell) -> Any:
    gates = np.split(np.asarray(weight, np.float32), cell.gates, axis=-1)
    return np.concatenate([gates[n] for n in ORDER[type(cell)]], axis=-1)
