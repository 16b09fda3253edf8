import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from asr_features import POLICIES, SpecAugment

NOTHING = SpecAugment(freq_masks=0, time_masks=0)


def ramp(frames, dim=80):
    """Every value different, and none equal to the mean or to zero."""
    return (np.arange(frames * dim, dtype=np.float32).reshape(frames, dim) + 1) ** 1.01


def rng(seed=0):
    return np.random.default_rng(seed)


def test_policies_are_the_paper_s_table():
    table = {
        name: (p.time_warp, p.freq_width, p.freq_masks, p.time_width, p.time_ratio, p.time_masks)
        for name, p in POLICIES.items()
    }
    assert table == {
        "LB": (80, 27, 1, 100, 1.0, 1),
        "LD": (80, 27, 2, 100, 1.0, 2),
        "SM": (40, 15, 2, 70, 0.2, 2),
        "SS": (40, 27, 2, 70, 0.2, 2),
    }


def runs(mask):
    """The lengths of the runs of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(int), [0]])))
    return (edges[1::2] - edges[::2]).tolist()


@pytest.mark.parametrize("fill", ["mean", "zero"])
def test_masks_are_whole_stripes_and_the_rest_is_untouched(fill):
    x = ramp(300)
    policy = SpecAugment(freq_width=10, freq_masks=2, time_width=30, time_masks=2, fill=fill)
    value = x.mean() if fill == "mean" else 0
    for seed in range(50):
        y = policy(x, rng(seed))
        masked = y != x
        columns, rows = masked.all(axis=0), masked.all(axis=1)
        assert np.array_equal(masked, columns[None, :] | rows[:, None])
        assert np.allclose(y[masked], value)
        assert len(runs(columns)) <= 2 and sum(runs(columns)) <= 20
        assert len(runs(rows)) <= 2 and sum(runs(rows)) <= 60


def test_widths_and_positions_are_uniform():
    x, policy, generator = ramp(20, 6), SpecAugment(freq_masks=0, time_masks=1, time_width=4), rng()
    widths, starts = np.zeros(5), np.zeros(17)
    for _ in range(4000):
        rows = (policy(x, generator) != x).all(axis=1)
        widths[rows.sum()] += 1
        if rows.sum() == 4:
            starts[rows.argmax()] += 1
    assert chisquare(widths).pvalue > 0.001
    assert chisquare(starts).pvalue > 0.001


def test_the_ratio_bounds_a_time_mask():
    policy = SpecAugment(freq_masks=0, time_masks=1, time_width=100, time_ratio=0.2)
    widths = [int((policy(ramp(50, 4), rng(seed)) != ramp(50, 4)).all(axis=1).sum()) for seed in range(200)]
    assert max(widths) == 10
    assert min(widths) == 0


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 400), st.integers(1, 90), st.sampled_from([*POLICIES]), st.integers(0, 2**32))
def test_any_size_keeps_its_shape_and_its_source(frames, dim, name, seed):
    x = ramp(frames, dim)
    x.setflags(write=False)
    y = POLICIES[name](x, rng(seed))
    assert y.shape == x.shape
    assert y.dtype == np.float32
    assert np.isfinite(y).all()
    assert not np.shares_memory(x, y)
    assert np.array_equal(y, POLICIES[name](x, rng(seed)))


def test_a_warp_is_linear_on_both_sides_of_a_point():
    warp = dataclasses.replace(NOTHING, time_warp=40)
    x = np.repeat(np.arange(200, dtype=np.float32)[:, None], 3, axis=1)  # the value is the time
    moves = set()
    for seed in range(200):
        y = warp(x, rng(seed))[:, 0]
        assert y[0] == 0 and y[-1] == 199
        assert (np.diff(y) > 0).all()
        bend = np.abs(np.diff(y, 2))
        assert (bend > 1e-3).sum() <= 2  # one knee, which may show in two neighbouring differences
        if bend.max() > 1e-3:
            knee = int(bend.argmax()) + 1
            moves.add(round(float(y[knee] - knee)))
            assert abs(y[knee] - knee) <= 41
            assert 40 < y[knee] < 159
        else:
            moves.add(0)
    assert min(moves) < -30 and max(moves) > 30


def test_a_warp_moves_whole_frames_and_channels_alike():
    warp = dataclasses.replace(NOTHING, time_warp=10)
    x = rng().standard_normal((60, 4, 3)).astype(np.float32)
    y = warp(x, rng(3))
    assert y.shape == x.shape
    for channel in range(3):
        assert np.allclose(y[..., channel], warp(x[..., channel], rng(3)))
    assert not np.array_equal(x, y)


@pytest.mark.parametrize("frames, warped", [(22, False), (23, True)])
def test_utterances_too_short_are_not_warped(frames, warped):
    warp = dataclasses.replace(NOTHING, time_warp=10)
    changed = [not np.array_equal(warp(ramp(frames), rng(seed)), ramp(frames)) for seed in range(20)]
    assert any(changed) == warped


def test_channels_are_filled_with_their_own_mean():
    x = np.stack([ramp(50, 8), ramp(50, 8) * -2], axis=-1)
    y = SpecAugment(freq_width=8, time_width=50)(x, rng(1))
    masked = (y != x).all(axis=-1)
    assert masked.any()
    assert np.allclose(y[masked], x.mean(axis=(0, 1)), rtol=1e-5)


def test_policies_pass_through_json():
    for policy in POLICIES.values():
        assert SpecAugment(**json.loads(json.dumps(dataclasses.asdict(policy)))) == policy


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"time_warp": -1}, "time_warp: expected an int of at least 0, got -1"),
        ({"freq_masks": 1.5}, "freq_masks: expected an int of at least 0, got 1.5"),
        ({"time_ratio": 1.2}, "time_ratio: expected a number from 0 to 1, got 1.2"),
        ({"fill": "noise"}, "fill: expected one of mean, zero, got 'noise'"),
    ],
)
def test_fields_that_cannot_be_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        SpecAugment(**fields)


def test_features_of_another_rank_are_refused():
    with pytest.raises(ValueError, match=r"features: expected shape \(T, F\) or \(T, F, C\), got \(7,\)"):
        SpecAugment()(np.zeros(7), rng())
