"""Deltas against the rules that they name, written out frame by frame."""

import pickle

import numpy as np
import pytest

from asr_features.deltas import Deltas


def features(frames, dim=5, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).normal(-10, 3, (frames, dim)).astype(dtype)


def kaldi_scales(order, window):
    """The constructor of Kaldi's DeltaFeatures (feat/feature-functions.cc), in float64."""
    scales = [np.ones(1)]
    for _ in range(order):
        previous = scales[-1]
        current = np.zeros(len(previous) + 2 * window)
        normalizer = 0.0
        for j in range(-window, window + 1):
            normalizer += j * j
            for k, value in enumerate(previous):
                current[j + k + window] += j * value
        scales.append(current / normalizer)
    return scales


def kaldi_deltas(x, order, window):
    """DeltaFeatures::Process of every frame: indices beyond the ends are clamped to them."""
    rows = []
    for t in range(len(x)):
        row = []
        for scales in kaldi_scales(order, window):
            offset = len(scales) // 2
            near = [x[min(max(t + j, 0), len(x) - 1)] for j in range(-offset, offset + 1)]
            row.append(sum(scale * frame for scale, frame in zip(scales, near, strict=True)))
        rows.append(np.concatenate(row))
    return np.array(rows)


@pytest.mark.parametrize("frames", [1, 2, 3, 4, 5, 9, 40])
@pytest.mark.parametrize("order, window", [(1, 1), (1, 4), (2, 2), (3, 2), (2, 3)])
def test_kaldi_rule(frames, order, window):
    x = features(frames, dtype=np.float64)
    expected = kaldi_deltas(x, order, window)
    y = Deltas(order=order, window=window)(x)
    assert y.dtype == np.float64
    assert y.shape == (frames, 5 * (order + 1))
    assert np.allclose(y, expected, atol=1e-12)
    single = Deltas(order=order, window=window)(x.astype(np.float32))
    assert single.dtype == np.float32
    assert np.abs(single - expected).max() < 1e-5


def test_the_edge_rule_is_not_delta_of_delta():
    x = features(30, dtype=np.float64)
    first = Deltas(order=1)(x)[:, 5:]
    again = Deltas(order=1)(first)[:, 5:]
    both = Deltas()(x)[:, 10:]
    assert np.allclose(again[4:-4], both[4:-4], atol=1e-12)
    assert np.abs(again[:4] - both[:4]).max() > 0.1
    assert np.abs(again[-4:] - both[-4:]).max() > 0.1


def test_what_never_changes_has_no_deltas():
    x = np.full((20, 3), -15.942385, np.float32)
    assert not Deltas(order=3)(x)[:, 3:].any()


def test_a_straight_line_has_its_slope():
    x = np.arange(20, dtype=np.float64)[:, None] * 0.25
    y = Deltas()(x)
    assert np.allclose(y[2:-2, 1], 0.25)
    assert np.allclose(y[4:-4, 2], 0)


def test_difference_rule():
    """`delta_accelerate` of the reference system: zeros before the first frame, for the features and their deltas."""
    x = features(12)
    zero = np.zeros((1, 5), np.float32)
    delta = x - np.concatenate([zero, x[:-1]])
    second = delta - np.concatenate([zero, delta[:-1]])
    y = Deltas(rule="difference", layout="channels")(x)
    assert np.array_equal(y, np.stack([x, delta, second], axis=2))
    assert np.array_equal(y[0], np.stack([x[0]] * 3, axis=1))
    assert Deltas(rule="difference").lookahead == 0
    assert Deltas(order=3, window=4).lookahead == 12


def test_layouts_hold_the_same():
    x = features(600)
    appended, channels = Deltas()(x), Deltas(layout="channels")(x)
    assert channels.shape == (600, 5, 3)
    assert channels.flags.c_contiguous and appended.flags.c_contiguous
    assert np.array_equal(channels.transpose(0, 2, 1).reshape(600, 15), appended)
    assert np.array_equal(appended[:, :5], x)


RECIPES = [Deltas(), Deltas(order=1, window=3), Deltas(order=3, layout="channels"), Deltas(rule="difference")]


@pytest.mark.parametrize("deltas", RECIPES)
@pytest.mark.parametrize("seed", range(50))
def test_streamed_is_offline_bit_for_bit(deltas, seed):
    rng = np.random.default_rng(seed)
    x = features(int(rng.integers(0, 700)), seed=seed)
    cuts = np.sort(rng.integers(0, len(x) + 1, rng.integers(0, 30)))
    state, blocks = deltas.start(), []
    for piece in np.split(x, cuts):
        kept = pickle.dumps(state)
        new, block = deltas.step(state, piece)
        assert pickle.dumps(state) == kept
        blocks.append(block)
        state = pickle.loads(pickle.dumps(new))
    blocks.append(deltas.finish(state))
    assert np.array_equal(np.concatenate(blocks), deltas(x))


def test_a_step_gives_all_that_is_known():
    deltas = Deltas()
    state, block = deltas.step(deltas.start(), features(10))
    assert len(block) == 10 - deltas.lookahead
    assert len(deltas.step(state, features(1))[1]) == 1
    assert len(deltas.finish(state)) == deltas.lookahead


def test_no_frames():
    for layout, shape in (("append", (0, 15)), ("channels", (0, 5, 3))):
        deltas = Deltas(layout=layout)
        assert deltas(features(0)).shape == shape
        state, block = deltas.step(deltas.start(), features(0))
        assert block.shape == deltas.finish(state).shape == shape


def test_a_batch_is_its_utterances():
    x = np.stack([features(50, seed=seed) for seed in range(3)])
    lengths = np.array([50, 0, 3])
    y = Deltas().batch(x, lengths)
    for row, item, count in zip(y, x, lengths, strict=True):
        assert np.array_equal(row[:count], Deltas()(item[:count]))
        assert not row[count:].any()


def test_errors():
    with pytest.raises(ValueError, match="order: expected a positive int, got 0"):
        Deltas(order=0)
    with pytest.raises(ValueError, match="rule: expected one of kaldi, difference, got 'htk'"):
        Deltas(rule="htk")
    with pytest.raises(ValueError, match="layout: expected one of append, channels"):
        Deltas(layout="stack")
    with pytest.raises(ValueError, match="window: the rule 'difference' has none"):
        Deltas(rule="difference", window=3)
    with pytest.raises(ValueError, match=r"features: expected shape \(T, F\), got \(4,\)"):
        Deltas()(np.zeros(4))
    with pytest.raises(ValueError, match="features: expected real numbers, got complex128"):
        Deltas()(np.zeros((4, 2), complex))
    state, _ = Deltas().step(Deltas().start(), features(3))
    with pytest.raises(ValueError, match=r"features: expected shape \(t, 5\) as before, got \(3, 4\)"):
        Deltas().step(state, features(3, 4))
