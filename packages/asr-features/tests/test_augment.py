import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare, kstest

from asr_features import POLICIES, SpecAugment
from asr_features.philox import keys_of, philox4x32

NOTHING = SpecAugment(freq_masks=0, time_masks=0)
SEEDS = st.integers(0, 2**63 - 1)


def ramp(frames, dim=80, channels=None):
    """Every value different, and none equal to the mean or to zero."""
    shape = (frames, dim) if channels is None else (frames, dim, channels)
    return ((np.arange(np.prod(shape)) + 1) ** 1.01).astype(np.float32).reshape(shape)


def test_policies_are_the_papers_tables():
    table = {
        name: (p.time_warp, p.freq_width, p.freq_masks, p.time_width, p.time_ratio, p.time_masks, p.time_masks_ratio)
        for name, p in POLICIES.items()
    }
    assert table == {
        "LB": (80, 27, 1, 100, 1.0, 1, None),
        "LD": (80, 27, 2, 100, 1.0, 2, None),
        "SM": (40, 15, 2, 70, 0.2, 2, None),
        "SS": (40, 27, 2, 70, 0.2, 2, None),
        "adaptive": (80, 27, 2, None, 0.04, 20, 0.04),
    }


# The draws, against whole numbers of Python.


def spans_by_hand(policy, frames, dim, seed):
    """The warp and the masks, one number after another."""

    def draw(number, kind, word, most):
        words = philox4x32([number, 0, 0, kind], [seed % 2**32, seed // 2**32])
        return int(words[word]) * (most + 1) // 2**32

    def mask(number, kind, widest, size):
        width = draw(number, kind, 0, widest)
        start = draw(number, kind, 1, size - width)
        return [start, start + width]

    W, warp = policy.time_warp, [0, 0]
    points = range(W + 1, frames - 1 - W)
    if points:
        point = points[draw(0, 1, 0, len(points) - 1)]
        warp = [point, point - W + draw(0, 1, 1, 2 * W)]
    freq = [mask(n, 2, min(policy.freq_width, dim), dim) for n in range(policy.freq_masks)]
    widest = frames * round(policy.time_ratio * 10**6) // 10**6
    if policy.time_width is not None:
        widest = min(widest, policy.time_width)
    number = policy.time_masks
    if policy.time_masks_ratio is not None:
        number = min(number, frames * round(policy.time_masks_ratio * 10**6) // 10**6)
    time = [mask(n, 3, widest, frames) for n in range(number)]
    return warp, freq, time + [[0, 0]] * (policy.time_masks - number)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([*POLICIES.values()]), st.integers(0, 3000), st.integers(1, 130), SEEDS)
def test_masks_are_those_drawn_by_hand(policy, frames, dim, seed):
    got = policy.masks(frames, dim, seed)
    assert tuple(part.tolist() for part in got) == spans_by_hand(policy, frames, dim, seed)


def test_masks_of_many_are_those_of_each():
    frames, seeds = [0, 1, 2, 162, 163, 999, 4000], [5, 2**63 - 1, 2**32, 0, 1, 2**40 + 3, 7]
    for policy in POLICIES.values():
        many = policy.masks(frames, 80, seeds)
        for row, (count, seed) in enumerate(zip(frames, seeds, strict=True)):
            alone = policy.masks(count, 80, seed)
            assert all(np.array_equal(part[row], own) for part, own in zip(many, alone, strict=True))


def test_one_mask_more_leaves_the_others_as_they_were():
    few, many = SpecAugment(freq_masks=1, time_masks=1), SpecAugment(freq_masks=3, time_masks=4, time_warp=5)
    a, b = few.masks(500, 80, 11), many.masks(500, 80, 11)
    assert np.array_equal(a.freq, b.freq[:1])
    assert np.array_equal(a.time, b.time[:1])


def test_adaptive_masks_grow_with_the_utterance():
    for frames, number, widest in [(24, 0, 0), (25, 1, 1), (499, 19, 19), (500, 20, 20), (3000, 20, 120)]:
        time = POLICIES["adaptive"].masks([frames] * 300, 80, np.arange(300)).time
        width = time[..., 1] - time[..., 0]
        assert time.shape == (300, 20, 2)
        assert not width[:, number:].any()
        assert width.max(initial=0) == widest
        assert (width.max(axis=0)[:number] > 0).all()


def test_ratios_are_exact():
    # In floating point 0.29 * 100 is 28.999999999999996.
    time = SpecAugment(time_width=None, time_ratio=0.29).masks([100] * 2000, 8, np.arange(2000)).time
    assert (time[..., 1] - time[..., 0]).max() == 29


# The distribution. The checks have to fail for samplers that are a little wrong.

DRAWS = 20000


def check_uniform(widths, starts, widest, size):
    """Are widths uniform on 0 to `widest`, and starts uniform on 0 to `size` - width, all inclusive?"""
    counts = np.bincount(widths, minlength=widest + 1)
    assert len(counts) == widest + 1
    assert chisquare(counts).pvalue > 1e-4
    room = size - widths
    assert (starts >= 0).all() and (starts <= room).all()
    # A start spread evenly over its step makes all starts, whatever their room, uniform on [0, 1).
    spread = (starts + np.random.default_rng(0).random(len(starts))) / (room + 1)
    assert kstest(spread, "uniform").pvalue > 1e-4
    edges = np.bincount(widths, weights=starts == room, minlength=widest + 1)  # the last place is had as often
    expected = np.bincount(widths, weights=1 / (room + 1), minlength=widest + 1)
    assert abs(edges.sum() - expected.sum()) < 4 * np.sqrt(expected.sum())


def fair(rng, widest, size):
    widths = rng.integers(0, widest, DRAWS, endpoint=True)
    return widths, rng.integers(0, size - widths, endpoint=True)


def never_the_widest(rng, widest, size):
    widths = rng.integers(0, widest, DRAWS)
    return widths, rng.integers(0, size - widths, endpoint=True)


def never_empty(rng, widest, size):
    widths = rng.integers(1, widest, DRAWS, endpoint=True)
    return widths, rng.integers(0, size - widths, endpoint=True)


def too_wide(rng, widest, size):
    widths = rng.integers(0, widest + 1, DRAWS, endpoint=True)
    return widths, rng.integers(0, size - widths, endpoint=True)


def rounded(rng, widest, size):
    widths = np.rint(rng.random(DRAWS) * widest).astype(int)  # both ends half as likely
    return widths, rng.integers(0, size - widths, endpoint=True)


def never_at_the_end(rng, widest, size):
    widths = rng.integers(0, widest, DRAWS, endpoint=True)
    return widths, rng.integers(0, size - widths)


def beyond_the_end(rng, widest, size):
    widths = rng.integers(0, widest, DRAWS, endpoint=True)
    return widths, rng.integers(0, size - widths + 1, endpoint=True)


def room_of_the_widest(rng, widest, size):
    widths = rng.integers(0, widest, DRAWS, endpoint=True)
    return widths, rng.integers(0, size - widest, DRAWS, endpoint=True)


WRONG = [never_the_widest, never_empty, too_wide, rounded, never_at_the_end, beyond_the_end, room_of_the_widest]


@pytest.mark.parametrize("widest, size", [(27, 80), (15, 40), (100, 150)])
def test_a_fair_sampler_passes_and_a_wrong_one_fails(widest, size):
    check_uniform(*fair(np.random.default_rng(1), widest, size), widest, size)
    for wrong in WRONG:
        with pytest.raises(AssertionError):
            check_uniform(*wrong(np.random.default_rng(1), widest, size), widest, size)


def drawn(policy, frames, dim):
    """Masks of every seed from 0 up; neighbouring seeds must be as good as any."""
    return policy.masks(np.full(DRAWS, frames), dim, np.arange(DRAWS))


def widths_and_starts(spans):
    return spans[:, 1] - spans[:, 0], spans[:, 0]


@pytest.mark.parametrize("name", POLICIES)
def test_masks_are_uniform(name):
    policy, frames, dim = POLICIES[name], 700, 80
    spans = drawn(policy, frames, dim)
    bound = int(frames * policy.time_ratio + 0.5)
    widest = bound if policy.time_width is None else min(bound, policy.time_width)
    for n in range(policy.freq_masks):
        check_uniform(*widths_and_starts(spans.freq[:, n]), policy.freq_width, dim)
    for n in range(min(policy.time_masks, 3)):
        check_uniform(*widths_and_starts(spans.time[:, n]), widest, frames)


def test_masks_that_may_cover_everything_are_uniform():
    spans = drawn(SpecAugment(freq_width=99, time_width=99), 12, 6)
    check_uniform(*widths_and_starts(spans.freq[:, 0]), 6, 6)
    check_uniform(*widths_and_starts(spans.time[:, 1]), 12, 12)


def test_masks_do_not_depend_on_each_other():
    spans = drawn(SpecAugment(freq_width=5, time_width=5), 100, 40)
    width = [part[..., 1] - part[..., 0] for part in (spans.freq, spans.time)]
    pairs = [(width[0][:, 0], width[0][:, 1]), (width[0][:, 0], width[1][:, 0]), (width[1][:, 0], width[1][:, 1])]
    pairs.append((width[0][:-1, 0], width[0][1:, 0]))  # of one seed and the next
    for a, b in pairs:
        assert chisquare(np.bincount(a * 6 + b, minlength=36)).pvalue > 1e-4


def test_the_warp_is_uniform():
    W, frames = 10, 60
    point, moved = drawn(dataclasses.replace(NOTHING, time_warp=W), frames, 8).warp.T
    points = np.bincount(point)[W + 1 : frames - 1 - W]  # more than W from frame 0 and from frame 59
    assert points.sum() == DRAWS
    assert chisquare(points).pvalue > 1e-4
    shifts = np.bincount(moved - point + W)
    assert len(shifts) == 2 * W + 1
    assert chisquare(shifts).pvalue > 1e-4


# What is made of the draws.


def by_hand(policy, features, seed):
    """Warp by interpolation in float64, then the masks, one by one."""
    frames, dim = features.shape[:2]
    spans = policy.masks(frames, dim, seed)
    last, (point, moved) = frames - 1, spans.warp
    result = features.astype(np.float64)
    value = result.mean(axis=(0, 1)) if policy.fill == "mean" else 0
    if point != moved:
        source = np.interp(np.arange(frames), [0, moved, last], [0, point, last])
        columns = result.reshape(frames, -1).T
        warped = [np.interp(source, np.arange(frames), column) for column in columns]
        result = np.stack(warped, axis=1).reshape(features.shape)
    for start, stop in spans.freq:
        result[:, start:stop] = value
    for start, stop in spans.time:
        result[start:stop] = value
    return result


@pytest.mark.parametrize("fill", ["mean", "zero"])
@pytest.mark.parametrize("name", POLICIES)
def test_features_are_those_made_by_hand(name, fill):
    policy, rng = dataclasses.replace(POLICIES[name], fill=fill), np.random.default_rng(0)
    for shape in [(1, 1), (7, 80), (163, 80), (400, 23), (50, 5, 3), (300, 8, 3)]:
        x = (rng.standard_normal(shape) - 6).astype(np.float32)
        for seed in range(5):
            y = policy(x, seed)
            assert y.dtype == np.float32
            assert np.allclose(y, by_hand(policy, x, seed), atol=1e-5)


@settings(max_examples=100, deadline=None)
@given(
    st.integers(0, 400),
    st.integers(0, 90),
    st.sampled_from([None, 1, 3]),
    st.builds(
        SpecAugment,
        time_warp=st.integers(0, 90),
        freq_width=st.integers(0, 100),
        freq_masks=st.integers(0, 3),
        time_width=st.none() | st.integers(0, 500),
        time_ratio=st.floats(0, 1),
        time_masks=st.integers(0, 5),
        time_masks_ratio=st.none() | st.floats(0, 1),
        fill=st.sampled_from(["mean", "zero"]),
    ),
    SEEDS,
)
def test_any_size_keeps_its_shape_its_source_and_what_is_not_masked(frames, dim, channels, policy, seed):
    x = ramp(frames, dim, channels)
    x.setflags(write=False)
    y = policy(x, seed)
    assert y.shape == x.shape
    assert y.dtype == np.float32
    assert np.isfinite(y).all()
    assert not np.shares_memory(x, y)
    assert np.array_equal(y, policy(x, seed))
    spans = policy.masks(frames, dim, seed)
    for size, spans_of_axis in ((dim, spans.freq), (frames, spans.time)):
        start, stop = spans_of_axis[:, 0], spans_of_axis[:, 1]
        assert (start >= 0).all() and (start <= stop).all() and (stop <= size).all()
    unmasked = np.ones((frames, dim), bool)
    for start, stop in spans.freq:
        unmasked[:, start:stop] = False
    for start, stop in spans.time:
        unmasked[start:stop] = False
    warped = dataclasses.replace(policy, freq_masks=0, time_masks=0)(x, seed)
    assert np.array_equal(y[unmasked], warped[unmasked])
    if spans.warp[0] == spans.warp[1]:
        assert np.array_equal(warped, x)


def test_a_warp_is_linear_on_both_sides_of_a_point():
    warp = dataclasses.replace(NOTHING, time_warp=40)
    x = np.repeat(np.arange(200, dtype=np.float32)[:, None], 3, axis=1)  # the value is the time
    for seed in range(200):
        y = warp(x, seed)[:, 0]
        point, moved = warp.masks(200, 3, seed).warp
        assert y[0] == 0 and y[-1] == 199 and y[moved] == point
        assert np.allclose(np.diff(y[: moved + 1]), point / moved, atol=1e-4)
        assert np.allclose(np.diff(y[moved:]), (199 - point) / (199 - moved), atol=1e-4)


@pytest.mark.parametrize("frames, warped", [(22, False), (23, True)])
def test_utterances_too_short_are_not_warped(frames, warped):
    warp = dataclasses.replace(NOTHING, time_warp=10)
    changed = [not np.array_equal(warp(ramp(frames), seed), ramp(frames)) for seed in range(20)]
    assert any(changed) == warped


def test_channels_are_filled_with_their_own_mean():
    x = np.stack([ramp(50, 8), ramp(50, 8) * -2], axis=-1)
    y = SpecAugment(freq_width=8, time_width=50)(x, 1)
    masked = (y != x).all(axis=-1)
    assert masked.any()
    assert np.allclose(y[masked], x.mean(axis=(0, 1)), rtol=1e-5)


def test_a_generator_draws_the_seed():
    x, policy = ramp(300), POLICIES["LD"]
    generator = np.random.default_rng(4)
    first, second = policy(x, generator), policy(x, generator)
    assert np.array_equal(first, policy(x, np.random.default_rng(4)))
    assert not np.array_equal(first, second)
    assert np.array_equal(first, policy(x, int(np.random.default_rng(4).integers(2**63 - 1, endpoint=True))))


# Batches.


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([*POLICIES.values()]),
    st.lists(st.tuples(st.integers(0, 300), SEEDS), max_size=5),
    st.integers(1, 40),
    st.sampled_from([None, 2]),
    st.integers(0, 50),
)
def test_an_utterance_is_the_same_alone_and_in_any_batch(policy, utterances, dim, channels, padding):
    lengths, seeds = [count for count, _ in utterances], [seed for _, seed in utterances]
    tail = (dim,) if channels is None else (dim, channels)
    batch = np.full((len(lengths), max(lengths, default=0) + padding, *tail), np.nan, np.float32)
    alone = [ramp(count, dim, channels) - row for row, count in enumerate(lengths)]
    for row, features in zip(batch, alone, strict=True):
        row[: len(features)] = features
    batch.setflags(write=False)
    got = policy.batch(batch, lengths, seeds)
    assert got.shape == batch.shape and got.dtype == np.float32
    for row, features, seed in zip(got, alone, seeds, strict=True):
        assert np.array_equal(row[: len(features)], policy(features, seed))
        assert np.isnan(row[len(features) :]).all()


def test_padding_is_left_as_it_was():
    x = ramp(3 * 400).reshape(3, 400, 80)
    y = POLICIES["LD"].batch(x, np.array([400, 170, 0], np.int32), [1, 2, 3])
    assert not np.array_equal(y[1, :170], x[1, :170])
    assert np.array_equal(y[1, 170:], x[1, 170:]) and np.array_equal(y[2], x[2])


# Configurations and errors.


def test_policies_pass_through_json():
    for policy in POLICIES.values():
        assert SpecAugment(**json.loads(json.dumps(dataclasses.asdict(policy)))) == policy


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"time_warp": -1}, "time_warp: expected an int of at least 0, got -1"),
        ({"freq_masks": 1.5}, "freq_masks: expected an int of at least 0, got 1.5"),
        ({"time_masks": None}, "time_masks: expected an int of at least 0, got None"),
        ({"time_width": -2}, "time_width: expected an int of at least 0, got -2"),
        ({"time_ratio": 1.2}, "time_ratio: expected a number from 0 to 1, got 1.2"),
        ({"time_ratio": None}, "time_ratio: expected a number from 0 to 1, got None"),
        ({"time_masks_ratio": float("nan")}, "time_masks_ratio: expected a number from 0 to 1, got nan"),
        ({"fill": "noise"}, "fill: expected one of mean, zero, got 'noise'"),
    ],
)
def test_fields_that_cannot_be_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        SpecAugment(**fields)


@pytest.mark.parametrize("seed", [-1, 2**63, 2**70, 1.0, "1", None, True])
def test_seeds_that_cannot_be_are_refused(seed):
    with pytest.raises(ValueError, match=r"seed: expected ints from 0 to 9223372036854775807, got .+"):
        SpecAugment()(ramp(9), seed)


def test_arguments_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"features: expected shape \(T, F\) or \(T, F, C\), got \(7,\)"):
        SpecAugment()(np.zeros(7), 0)
    with pytest.raises(ValueError, match=r"features: expected shape \(B, T, F\) or \(B, T, F, C\), got \(7, 2\)"):
        SpecAugment().batch(np.zeros((7, 2)), [2], [2])
    with pytest.raises(ValueError, match=r"lengths, seeds: expected shape \(2,\) as the batch, got \(1,\) and \(2,\)"):
        SpecAugment().batch(np.zeros((2, 7, 2)), [7], [0, 1])
    with pytest.raises(ValueError, match=r"lengths: expected ints from 0 to 7, got \[3, 8\]"):
        SpecAugment().batch(np.zeros((2, 7, 2)), [3, 8], [0, 1])
    with pytest.raises(ValueError, match=r"frames: expected ints from 0 to 2147483647, got -3"):
        SpecAugment().masks(-3, 80, 0)


def test_keys_hold_the_whole_seed():
    words = {tuple(philox4x32([0, 0, 0, 1], keys_of(seed)).tolist()) for seed in (0, 1, 2**32, 2**62)}
    assert len(words) == 4
