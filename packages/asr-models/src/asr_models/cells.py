"""One step of the recurrent cells, and its gradient written out: LSTM, GRU and the simple RNN.

A cell is a frozen dataclass of pure functions over a state, a tuple of `(B, ...)` tensors whose first is the output h,
and over named weights (`initial_weights` has their shapes). `z` `(B, G)` is the input projection of one frame, bias
included; G is `gates * units`. The loops that run a cell over time are in `loops.py`.

    LSTM   i, f, o = sigmoid(u), g = tanh(u),  u = z + h R      c' = f c + i g,  h' = o tanh(c')    (Gers et al., 2000)
    GRU    s, r = sigmoid(z + h R)             g = tanh(z + r (h R + b)),  h' = s h + (1 - s) g     (reset after)
                                               g = tanh(z + (r h) R)       (reset before: Cho et al., 2014)
    RNN    h' = tanh(z + h R), or a (clipped) ReLU                                                  (Elman, 1990)

With layer normalisation (Ba et al., 2016, arXiv:1607.06450) LN(h R) stands for h R, and LN(c') for c' under the tanh.
With a projection h' P stands for h' (LSTMP: Sak et al., 2014, arXiv:1402.1128).
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from asr_models.cell_parts import (
    Named,
    State,
    dropped,
    multiply,
    recurrent_weights,
    standardize,
    standardize_back,
    times_recurrent,
    times_recurrent_back,
)
from asr_models.initial import Floats, glorot

CLIP = 20.0
"""The ceiling of DeepSpeech's clipped ReLU."""


@dataclass(frozen=True, kw_only=True)
class LstmCell:
    """Long short-term memory; gates in the order i, f, o, g; the state is h and c.

    `projection` is the width of the output where it is not the number of units.
    """

    layer_norm: bool = False
    projection: int | None = None

    gates: ClassVar[int] = 4
    looks_back: ClassVar[tuple[int, ...]] = (1,)

    def __post_init__(self) -> None:
        if self.projection is not None and self.projection < 1:
            raise ValueError(f"LstmCell.projection is {self.projection}, expected at least 1, or None for none")

    def initial_weights(self, rng: np.random.Generator, inputs: int, units: int) -> dict[str, Floats]:
        weights = recurrent_weights(rng, inputs, self.gates, units, outputs=self.projection, layer_norm=self.layer_norm)
        # The forget gates start open, so that gradients reach far from the first step on (Jozefowicz et al., 2015).
        weights["bias"][units : 2 * units] = 1
        if self.layer_norm:
            weights["cell_gain"], weights["cell_offset"] = np.ones(units, np.float32), np.zeros(units, np.float32)
        if self.projection:
            weights["projection"] = glorot(rng, units, self.projection)
        return weights

    def state_widths(self, units: int) -> tuple[int, ...]:
        return self.projection or units, units

    def step(self, z: Any, state: State, weights: Named, /) -> tuple[State, Named]:
        product, kept = times_recurrent(state[0], weights)
        i, f, o, g = self.gates_of(z + product)
        kept |= {"i": i, "f": f, "o": o, "g": g}  # each for itself: XLA vectorises no step that cuts a row twice
        c = f * state[1] + i * g
        squashed, more = self._squash(c, weights)
        h, kept["squashed"] = o * squashed, squashed
        if self.projection:
            return (multiply(h, weights["projection"]), c), kept | more | {"unprojected": h}
        return (h, c), kept | more

    @staticmethod
    def gates_of(u: Any) -> list[Any]:
        """`(N, 4H)` summed projections -> gates, by one tanh for all: sigmoid(x) is (1 + tanh(x / 2)) / 2."""
        units = u.shape[-1] // 4
        scale = np.repeat(np.array([0.5, 0.5, 0.5, 1.0], u.dtype.as_numpy_dtype), units)
        return list(tf.split(tf.tanh(u * scale) * scale + (1 - scale), 4, -1))

    def _squash(self, c: Any, weights: Named) -> tuple[Any, Named]:
        if not self.layer_norm:
            return tf.tanh(c), {}
        c, factor = standardize(c)
        return tf.tanh(c * weights["cell_gain"] + weights["cell_offset"]), {"cell": c, "cell_factor": factor}

    def back(self, kept: Named, before: State, after: State, weights: Named, /) -> tuple[Named, State, Named]:
        i, f, o, g = (kept[gate] for gate in "ifog")
        rows, (dh, dc), c = {}, after, before[1]
        if self.projection:
            rows["projected"] = dh
            dh = multiply(dh, weights["projection_transposed"])
        squashed, vectors = kept["squashed"], {}
        dq = dh * o * (1 - squashed * squashed)
        if self.layer_norm:
            vectors = {"cell_gain": dq * kept["cell"], "cell_offset": dq}
            dq = standardize_back(dq * weights["cell_gain"], kept["cell"], kept["cell_factor"])
        dc = dc + dq
        dz = [dc * g * i * (1 - i), dc * c * f * (1 - f), dh * squashed * o * (1 - o), dc * i * (1 - g * g)]
        rows["z"] = tf.concat(dz, -1)
        dh, more, product = times_recurrent_back(rows["z"], kept, weights)
        return rows | product, (dh, dc * f), vectors | more

    def matrices(self, before: Any, kept: Named, rows: Named, weights: Named, /) -> Named:
        pairs = {"recurrent": [(dropped(before, weights), rows.get("product", rows["z"]))]}
        if self.projection:
            pairs["projection"] = [(kept["unprojected"], rows["projected"])]
        return pairs


@dataclass(frozen=True, kw_only=True)
class GruCell:
    """Gated recurrent unit (Cho et al., 2014); gates in the order update, reset, candidate, as Keras has them.

    `reset_after` applies the reset gate to the product h R, with a bias of its own, instead of to h.
    """

    reset_after: bool = True
    layer_norm: bool = False

    gates: ClassVar[int] = 3
    looks_back: ClassVar[tuple[int, ...]] = (0,)

    def __post_init__(self) -> None:
        if self.layer_norm and not self.reset_after:
            raise ValueError("GruCell.layer_norm needs reset_after=True: it normalises the product that is reset")

    def initial_weights(self, rng: np.random.Generator, inputs: int, units: int) -> dict[str, Floats]:
        weights = recurrent_weights(rng, inputs, self.gates, units, layer_norm=self.layer_norm)
        if self.reset_after:
            weights["recurrent_bias"] = np.zeros(3 * units, np.float32)
        return weights

    def state_widths(self, units: int) -> tuple[int, ...]:
        return (units,)

    def step(self, z: Any, state: State, weights: Named, /) -> tuple[State, Named]:
        h = state[0]
        units = z.shape[-1] // 3
        if self.reset_after:
            product, kept = times_recurrent(h, weights)
            update, reset = tf.split(tf.sigmoid(z[:, : 2 * units] + product[:, : 2 * units]), 2, -1)
            inner = product[:, 2 * units :]
            candidate = tf.tanh(z[:, 2 * units :] + reset * inner)
            kept["inner"] = inner
        else:
            gated, seen, recurrent = z[:, : 2 * units], dropped(h, weights), weights["recurrent"]
            update, reset = tf.split(tf.sigmoid(gated + multiply(seen, recurrent[:, : 2 * units])), 2, -1)
            candidate = tf.tanh(z[:, 2 * units :] + multiply(reset * seen, recurrent[:, 2 * units :]))
            kept = {}
        gates = {"update": update, "reset": reset, "candidate": candidate}
        return (candidate + update * (h - candidate),), kept | gates

    def back(self, kept: Named, before: State, after: State, weights: Named, /) -> tuple[Named, State, Named]:
        update, reset, candidate = (kept[gate] for gate in ("update", "reset", "candidate"))
        (dh,), h = after, before[0]
        du = dh * (h - candidate) * update * (1 - update)
        dg = dh * (1 - update) * (1 - candidate * candidate)
        if self.reset_after:
            dr = dg * kept["inner"] * reset * (1 - reset)
            rows = {"z": tf.concat([du, dr, dg], -1), "reset": tf.concat([du, dr, dg * reset], -1)}
            through, vectors, product = times_recurrent_back(rows["reset"], kept, weights)
            return rows | product, (through + dh * update,), vectors
        units, transposed = h.shape[-1], weights["recurrent_transposed"]
        dv = multiply(dg, transposed[2 * units :])
        seen = dropped(h, weights)
        gated = tf.concat([du, dv * seen * reset * (1 - reset)], -1)
        through = dropped(multiply(gated, transposed[: 2 * units]) + dv * reset, weights)
        return {"z": tf.concat([gated, dg], -1)}, (through + dh * update,), {}

    def matrices(self, before: Any, kept: Named, rows: Named, weights: Named, /) -> Named:
        seen = dropped(before, weights)
        if self.reset_after:
            return {"recurrent": [(seen, rows.get("product", rows["reset"]))]}
        units, reset = before.shape[-1], kept["reset"]
        return {"recurrent": [(seen, rows["z"][..., : 2 * units]), (reset * seen, rows["z"][..., 2 * units :])]}


ACTIVATIONS = ("tanh", "relu", "clipped-relu")


@dataclass(frozen=True, kw_only=True)
class RnnCell:
    """The simple recurrent network: activation "tanh", "relu" or "clipped-relu" (`min(max(x, 0), 20)`, DeepSpeech)."""

    activation: str = "tanh"
    layer_norm: bool = False

    gates: ClassVar[int] = 1
    looks_back: ClassVar[tuple[int, ...]] = ()

    def __post_init__(self) -> None:
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"RnnCell.activation is {self.activation!r}, expected one of {', '.join(ACTIVATIONS)}")

    def initial_weights(self, rng: np.random.Generator, inputs: int, units: int) -> dict[str, Floats]:
        return recurrent_weights(rng, inputs, self.gates, units, layer_norm=self.layer_norm)

    def state_widths(self, units: int) -> tuple[int, ...]:
        return (units,)

    def step(self, z: Any, state: State, weights: Named, /) -> tuple[State, Named]:
        product, kept = times_recurrent(state[0], weights)
        u = z + product
        if self.activation == "tanh":
            h = tf.tanh(u)
        else:
            h = tf.nn.relu(u) if self.activation == "relu" else tf.clip_by_value(u, 0.0, CLIP)
        return (h,), kept | {"gates": h}

    def back(self, kept: Named, before: State, after: State, weights: Named, /) -> tuple[Named, State, Named]:
        (dh,), h = after, kept["gates"]
        if self.activation == "tanh":
            dz = dh * (1 - h * h)
        else:
            ceiling = CLIP if self.activation == "clipped-relu" else np.inf
            dz = tf.where(tf.logical_and(h > 0, h < ceiling), dh, tf.zeros_like(dh))
        through, vectors, product = times_recurrent_back(dz, kept, weights)
        return {"z": dz} | product, (through,), vectors

    def matrices(self, before: Any, kept: Named, rows: Named, weights: Named, /) -> Named:
        return {"recurrent": [(dropped(before, weights), rows.get("product", rows["z"]))]}


CELLS = {"lstm": LstmCell, "gru": GruCell, "rnn": RnnCell}
"""The cells by the names that configurations use."""
