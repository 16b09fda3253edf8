"""The hand-written gradient of the loops, in float64: against automatic differentiation and finite differences."""

import numpy as np
import pytest
import tensorflow as tf

from asr_models.cells import GruCell, LstmCell, RnnCell
from asr_models.loops import scan

T, B, D, H = 6, 3, 2, 4
CELLS = {
    "lstm": LstmCell(),
    "lstm, layer norm": LstmCell(layer_norm=True),
    "lstm, projection": LstmCell(projection=3),
    "lstm, both": LstmCell(layer_norm=True, projection=3),
    "gru": GruCell(),
    "gru, reset before": GruCell(reset_after=False),
    "gru, layer norm": GruCell(layer_norm=True),
    "rnn": RnnCell(),
    "rnn, relu": RnnCell(activation="relu"),
    "rnn, clipped": RnnCell(activation="clipped-relu"),
    "rnn, layer norm": RnnCell(layer_norm=True),
}
COMPILED = {"lstm, both": False, "gru": True, "gru, reset before": False, "rnn, relu": True}
"""Those that XLA is asked for too, and whether in reverse."""
MASK = np.array([[1, 1, 1, 1, 1, 1], [1, 0, 0, 0, 0, 0], [1, 1, 0, 1, 1, 0]], bool).T[..., None]


def case(cell, seed: int):
    """Everything that a gradient is taken of, and how much each output counts."""
    rng = np.random.default_rng(seed)
    weights = {
        name: value + 0.3 * rng.normal(size=value.shape)
        for name, value in cell.initial_weights(rng, D, H).items()
        if name not in ("kernel", "input_gain")
    }
    scale = 30 if getattr(cell, "activation", "") == "clipped-relu" else 1  # so that some are above 20
    z = rng.normal(size=(T, B, cell.gates * H)) * scale
    initial = tuple(rng.normal(size=(B, width)) for width in cell.state_widths(H))
    counts = [rng.normal(size=(T, B, cell.state_widths(H)[0])), *(rng.normal(size=part.shape) for part in initial)]
    drop = 2.0 * rng.integers(0, 2, (B, cell.state_widths(H)[0]))
    return tf.nest.map_structure(tf.constant, (z, weights, initial)), counts, tf.constant(drop)


def total(outputs, last, counts):
    """On padding an output is not looked at."""
    rows = tf.where(MASK, outputs, tf.zeros_like(outputs))
    return sum(tf.reduce_sum(part * count) for part, count in zip([rows, *last], counts, strict=True))


def unrolled(cell, z, weights, initial, reverse, drop):
    """The same by steps that TensorFlow differentiates."""
    state, rows = initial, [None] * T
    for t in reversed(range(T)) if reverse else range(T):
        moved, _ = cell.step(z[t] + weights["bias"], state, weights | {"dropout": drop})
        state = tuple(tf.where(MASK[t], a, b) for a, b in zip(moved, state, strict=True))
        rows[t] = state[0]
    return tf.stack(rows), state


def gradients(run, inputs, counts):
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        loss = total(*run(*inputs), counts)
    return loss, tape.gradient(loss, inputs)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", CELLS)
def test_equals_automatic_differentiation(name: str, reverse: bool) -> None:
    cell = CELLS[name]
    inputs, counts, drop = case(cell, 1)
    loss, expected = gradients(lambda z, w, s: unrolled(cell, z, w, s, reverse, drop), inputs, counts)
    ways = [{"training": False}] if reverse else [{}]
    if COMPILED.get(name) == reverse:
        ways.append({"compiled": True})
    for options in ways:
        mine, got = gradients(
            lambda z, w, s, options=options: scan(
                cell, z, tf.constant(MASK), w, s, reverse=reverse, dropout=drop, products=tf.float64, **options
            ),
            inputs,
            counts,
        )
        np.testing.assert_allclose(mine, loss, rtol=1e-10)
        for a, b in zip(tf.nest.flatten(got), tf.nest.flatten(expected), strict=True):
            assert np.abs(b).max() > 1e-3
            np.testing.assert_allclose(a, b, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("name", CELLS)
def test_equals_finite_differences(name: str) -> None:
    cell, step = CELLS[name], 1e-5
    inputs, counts, drop = case(cell, 2)

    def run(z, weights, initial):
        return scan(cell, z, tf.constant(MASK), weights, initial, dropout=drop, products=tf.float64)

    _, got = gradients(run, inputs, counts)
    rng = np.random.default_rng(3)
    flat = tf.nest.flatten(inputs)
    for n, part in enumerate(flat):
        along = rng.normal(size=part.shape)
        ends = []
        for sign in (1, -1):
            moved = [other + sign * step * along if m == n else other for m, other in enumerate(flat)]
            ends.append(total(*run(*tf.nest.pack_sequence_as(inputs, moved)), counts))
        expected = float(ends[0] - ends[1]) / (2 * step)
        np.testing.assert_allclose(np.sum(tf.nest.flatten(got)[n] * along), expected, rtol=1e-5, atol=1e-6)
