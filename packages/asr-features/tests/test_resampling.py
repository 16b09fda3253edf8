import pickle
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import resample_poly

from asr_features import Resample, resample, speed


def sinc_reference(samples, source, target):
    """The sum that defines windowed-sinc interpolation, one output at a time."""
    cutoff = 0.99 * min(1, target / source)
    count = -(-len(samples) * target // source)
    position = np.arange(len(samples))
    result = np.zeros(count)
    for m in range(count):
        t = (position - m * source / target) * cutoff
        weights = np.where(np.abs(t) < 6, np.sinc(t) * np.cos(np.pi * t / 12) ** 2, 0)
        result[m] = cutoff * (weights * samples).sum()
    return result


RATIOS = [
    (9, 10),
    (11, 10),
    (48000, 16000),
    (44100, 16000),
    (8000, 16000),
    (16000, 22050),
    (16000, 16001),
    (1, 7),
]


@pytest.mark.parametrize("source, target", RATIOS)
def test_the_defining_sum(source, target):
    samples = np.random.default_rng(0).uniform(-1, 1, 700).astype(np.float32)
    expected = sinc_reference(samples, source, target)
    got = Resample(source_rate=source, target_rate=target)(samples)
    assert np.abs(got - expected).max() < 2e-6
    assert np.array_equal(resample(samples, source, target), got)


@pytest.mark.parametrize("source, target", [*RATIOS[:7], (8000, 48000)])
def test_a_sine_stays_that_sine(source, target):
    hz = 0.2 * min(source, target) / 2
    old, new = np.arange(4000) / source, np.arange(4000 * target // source) / target
    got = resample(np.sin(2 * np.pi * hz * old), source, target)
    inside = slice(100, len(new) - 100)
    assert np.abs(got[: len(new)] - np.sin(2 * np.pi * hz * new))[inside].max() < 3e-3


@pytest.mark.parametrize("source, target", [(48000, 16000), (44100, 16000), (9, 10)])
def test_what_cannot_be_represented_is_removed(source, target):
    alias = 0.5 * (target + 0.5 * (source - target)) if target < source else 0.0
    time = np.arange(4000) / source
    got = resample(0.5 * np.sin(2 * np.pi * alias * time), source, target)
    assert np.abs(got[50:-50]).max() < 5e-3


@pytest.mark.parametrize("source, target", [(48000, 16000), (16000, 8000), (10, 9), (8000, 16000)])
def test_about_what_scipy_gives(source, target):
    rng = np.random.default_rng(1)
    smooth = np.convolve(rng.standard_normal(3000), np.hanning(64) / 32, "same").astype(np.float32)
    got, other = resample(smooth, source, target), resample_poly(smooth, target, source)
    assert len(got) == len(other)
    assert np.abs(got - other)[100:-100].max() < 5e-3 * np.abs(smooth).max()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 500), st.integers(1, 200), st.integers(1, 200))
def test_the_length_is_exact(count, source, target):
    got = resample(np.ones(count, np.float32), source, target)
    assert got.dtype == np.float32
    assert got.shape == (-(-count * target // source),)
    assert np.isfinite(got).all()


def test_blocks_do_not_show():
    samples = np.random.default_rng(0).uniform(-1, 1, 100_000).astype(np.float32)
    whole = resample(samples, 44100, 16000)
    start = 441 * 150
    assert np.allclose(resample(samples[start:], 44100, 16000)[20:], whole[160 * 150 + 20 :], atol=1e-6)


def test_the_result_is_a_copy_and_the_samples_stay():
    samples = np.ones(100, np.float32)
    same = resample(samples, 16000, 16000)
    same[:] = 0
    resample(samples, 16000, 8000)[:] = 0
    assert (samples == 1).all()


def test_speed_is_sox_speed():
    time = np.arange(16000) / 16000
    slow = speed(np.sin(2 * np.pi * 400 * time).astype(np.float32), 0.9)
    assert slow.shape == (17778,)  # ceil(16000 / 0.9)
    expected = np.sin(2 * np.pi * 360 * np.arange(17778) / 16000)
    assert np.abs(slow - expected)[100:-100].max() < 3e-3
    assert speed(slow, 1.1).shape == (-(-17778 * 10 // 11),)
    assert speed(slow, np.float32(1.25)).shape == (-(-17778 * 4 // 5),)
    assert np.array_equal(speed(slow, 1.0), slow)


@pytest.mark.parametrize("factor", [0, -1, float("nan"), float("inf"), "1.1", None])
def test_a_speed_that_cannot_be_is_refused(factor):
    with pytest.raises(ValueError, match=r"factor: expected a number from 0\.01 to 100"):
        speed(np.zeros(10, np.float32), factor)


@pytest.mark.parametrize("source, target", [(0, 1), (16000, -1), (16000, 8000.0)])
def test_rates_are_checked(source, target):
    with pytest.raises(ValueError, match="_rate: expected a positive int"):
        resample(np.zeros(10, np.float32), source, target)


def stream(resampler, samples, sizes):
    """All outputs, and how many were there after each piece."""
    state, outputs, position = resampler.start(), [], 0
    for size in sizes:
        piece = samples[position : position + size]
        position += size
        state, output = resampler.step(state, piece)
        state = pickle.loads(pickle.dumps(state))
        outputs.append(output)
        if position >= len(samples):
            break
    outputs.append(resampler.finish(state))
    return np.concatenate(outputs), np.cumsum([len(output) for output in outputs])


@pytest.mark.parametrize("source, target", [*RATIOS, (11, 10), (16000, 44100), (16000, 16000), (100, 1)])
def test_streamed_in_any_pieces_it_is_the_same_to_the_bit(source, target):
    resampler = Resample(source_rate=source, target_rate=target)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        samples = rng.uniform(-1, 1, int(rng.integers(0, 70_000))).astype(np.float32)
        kept = samples.copy()
        most = (100, 1600, 50_000)[seed % 3]
        got, _ = stream(resampler, samples, iter(lambda rng=rng, most=most: int(rng.integers(0, most)), -1))
        assert np.array_equal(got, resampler(samples)), seed
        assert np.array_equal(samples, kept)


@pytest.mark.parametrize("source, target", RATIOS)
def test_an_output_waits_for_no_more_than_its_own_inputs(source, target):
    samples = np.random.default_rng(0).uniform(-1, 1, 2000).astype(np.float32)
    got, given_after = stream(Resample(source_rate=source, target_rate=target), samples, [1] * 2000)
    assert len(got) == -(-2000 * target // source)
    # Output m lies at m / target seconds, and the kernel reaches 6 / 0.99 periods of the lower rate further.
    reach = 6 / 0.99 * max(1, source / target)
    for inputs in range(1, 2001):
        due = np.floor((inputs - reach - 1) * target / source) + 1
        assert given_after[inputs - 1] >= min(due, len(got)), inputs


def test_a_short_signal_comes_out_at_the_end():
    resampler = Resample(source_rate=9, target_rate=10)
    state, nothing = resampler.step(resampler.start(), np.ones(3, np.float32))
    assert nothing.shape == (0,)
    assert np.array_equal(resampler.finish(state), resampler(np.ones(3, np.float32)))
    assert resampler.finish(resampler.start()).shape == (0,)


def test_rates_without_a_common_divisor_take_no_memory_to_speak_of():
    tracemalloc.start()
    got = resample(np.ones(4000, np.float32), 767_999, 16_000)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert got.shape == (84,)
    assert np.allclose(got[20:60], 1, atol=2e-3)
    assert most < 30e6


def test_threads_share_a_resampler():
    from concurrent.futures import ThreadPoolExecutor

    resampler = Resample(source_rate=44100, target_rate=16000)
    signals = [np.random.default_rng(seed).uniform(-1, 1, 50_000).astype(np.float32) for seed in range(8)]
    alone = [resampler(samples) for samples in signals]
    with ThreadPoolExecutor(4) as pool:
        assert all(map(np.array_equal, pool.map(resampler, signals), alone))


def test_what_cannot_be_resampled_is_refused():
    resampler = Resample(source_rate=2, target_rate=1)
    for call in (resampler, lambda samples: resampler.step(resampler.start(), samples)):
        with pytest.raises(ValueError, match=r"samples: expected floats in \[-1, 1\], got int16"):
            call(np.zeros(10, np.int16))
        with pytest.raises(ValueError, match=r"samples: expected one channel, shape \(N,\), got shape \(10, 2\)"):
            call(np.zeros((10, 2), np.float32))
