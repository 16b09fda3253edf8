import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
from scipy import stats

from asr_features import add_noise, dither, gain

SILENCE = np.zeros(200_000, np.float32)


def tone(count=8000):
    return (0.3 * np.sin(np.arange(count) / 9)).astype(np.float32)


def test_dither_is_normal():
    noise = dither(SILENCE, 0.25, seed=7) / 0.25
    assert noise.dtype == np.float32
    assert stats.kstest(noise, "norm").pvalue > 0.01
    assert stats.kstest(noise[::2], noise[1::2]).pvalue > 0.01  # the cosine and the sine of the transform
    for lag in (1, 2, 3, 4, 8, 16):
        assert stats.kstest((noise[lag:] + noise[:-lag]) / np.sqrt(2), "norm").pvalue > 1e-3, lag
        assert abs(np.mean(noise[lag:] * noise[:-lag])) < 4 / np.sqrt(len(noise)), lag
    pairs = noise.reshape(-1, 2)
    assert stats.kstest(np.sum(pairs**2, axis=1), stats.chi2(2).cdf).pvalue > 0.01
    assert 4.0 < np.abs(noise).max() < 6.8


def test_dither_is_the_documented_function_of_seed_and_position():
    """The formula with plain integers: Philox's words by its counter, two normal numbers a word."""
    mask = 2**64 - 1
    for seed, position in ((0, 0), (1, 5), (2**127 + 3, 12345), (99, 2**40 + 1)):
        word = position // 2
        counter, key = [(word // 4 + 1), 0, 0, 0], [seed & mask, seed >> 64]  # numpy counts before it draws
        for _ in range(10):
            left, right = 0xD2E7470EE14C6C93 * counter[0], 0xCA5A826395121157 * counter[2]
            counter = [
                (right >> 64) ^ counter[1] ^ key[0],
                right & mask,
                (left >> 64) ^ counter[3] ^ key[1],
                left & mask,
            ]
            key = [(key[0] + 0x9E3779B97F4A7C15) & mask, (key[1] + 0xBB67AE8584CAA73B) & mask]
        bits = counter[word % 4]
        radius = np.sqrt(-2 * np.log(((bits >> 32) + 0.5) / 2**32))
        angle = 2 * np.pi * (bits & 0xFFFFFFFF) / 2**32
        expected = radius * (np.sin(angle) if position % 2 else np.cos(angle))
        got = dither(SILENCE[:1], 1.0, seed=seed, first=position)
        assert got[0] == pytest.approx(expected, abs=2e-5)


def test_dither_of_pieces_is_that_of_the_whole():
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, 5000).astype(np.float32)
    whole = dither(samples, 1e-3, seed=3)
    for seed in range(50):
        rng = np.random.default_rng(seed)
        cuts = [0, *sorted(rng.integers(0, 5000, int(rng.integers(0, 30))).tolist()), 5000]
        parts = [dither(samples[a:b], 1e-3, seed=3, first=a) for a, b in pairwise(cuts)]
        assert np.array_equal(np.concatenate(parts), whole), seed
    for first in range(40):
        assert np.array_equal(dither(samples[first : first + 1], 1e-3, seed=3, first=first), whole[first : first + 1])


def test_dither_has_the_size_and_seed_that_are_asked_for():
    samples = tone()
    kept = samples.copy()
    assert np.array_equal(dither(samples, 1 / 32768, seed=1), dither(samples, 1 / 32768, seed=1))
    assert np.std(dither(samples, 1 / 32768, seed=1) - samples) == pytest.approx(1 / 32768, rel=0.03)
    first, second = (dither(SILENCE, 1.0, seed=seed) for seed in (1, 2))
    assert abs(np.mean(first * second)) < 0.01
    assert np.array_equal(dither(samples, 0, seed=1), samples)
    assert dither(samples, 0, seed=1) is not samples
    assert dither(samples[:0], 1.0, seed=1).shape == (0,)
    assert np.array_equal(samples, kept)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"amplitude": -1.0, "seed": 1}, "amplitude: expected a finite number of at least 0, got -1"),
        ({"amplitude": float("nan"), "seed": 1}, "amplitude: expected a finite number of at least 0, got nan"),
        ({"amplitude": 1.0, "seed": -1}, r"seed: expected an int from 0 to 2\^128 - 1, got -1"),
        ({"amplitude": 1.0, "seed": 0.5}, r"seed: expected an int from 0 to 2\^128 - 1, got 0\.5"),
        ({"amplitude": 1.0, "seed": 1, "first": -5}, r"first: expected an int from 0 to 2\^62 - 1, got -5"),
    ],
)
def test_dither_that_cannot_be_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        dither(tone(), **options)


@pytest.mark.parametrize("snr_db", [-10, 0, 12.5, 60])
@pytest.mark.parametrize("length", [1, 100, 7999, 8000, 8001, 50_000])
def test_noise_is_added_at_the_ratio_that_is_asked_for(snr_db, length):
    samples = tone()
    noise = np.random.default_rng(1).standard_normal(length).astype(np.float32)
    copies = samples.copy(), noise.copy()
    got = add_noise(samples, noise, snr_db=snr_db, rng=np.random.default_rng(2))
    assert got.dtype == np.float32 and got.shape == samples.shape
    added = got.astype(np.float64) - samples
    ratio = 10 * np.log10(np.mean(samples.astype(np.float64) ** 2) / np.mean(added**2))
    assert ratio == pytest.approx(snr_db, abs=0.01)
    assert np.array_equal(samples, copies[0]) and np.array_equal(noise, copies[1])


def test_the_noise_is_a_stretch_of_it_drawn_uniformly():
    ramp = np.arange(1, 12, dtype=np.float32)
    rng = np.random.default_rng(0)
    begins = np.zeros(9, int)
    for _ in range(900):
        added = add_noise(np.full(3, 1e-6, np.float32), ramp, snr_db=-120, rng=rng)
        scale = added[1] - added[0]
        values = np.round(added / scale)
        assert np.array_equal(values, values[0] + np.arange(3))
        begins[int(values[0]) - 1] += 1
    assert stats.chisquare(begins).pvalue > 1e-3


def test_short_noise_is_repeated_from_anywhere():
    noise = np.array([1, 2, 4], np.float32)
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(60):
        added = add_noise(np.full(8, 1e-6, np.float32), noise, snr_db=-120, rng=rng)
        values = np.round(added * 4 / added.max()).astype(int).tolist()
        seen.add(values[0])
        begin = [1, 2, 4].index(values[0])
        assert values == [[1, 2, 4][(begin + i) % 3] for i in range(8)]
    assert seen == {1, 2, 4}


def test_silence_has_no_ratio():
    samples, rng = tone(), np.random.default_rng(0)
    for signal, noise in ((samples, SILENCE[:100]), (SILENCE[:100], samples), (samples[:0], samples)):
        got = add_noise(signal, noise, snr_db=10, rng=rng)
        assert np.array_equal(got, signal) and not np.shares_memory(got, signal)


def test_the_same_generator_adds_the_same():
    noise = np.random.default_rng(1).standard_normal(50_000).astype(np.float32)
    first, second = (add_noise(tone(), noise, snr_db=5, rng=np.random.default_rng(4)) for _ in range(2))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, add_noise(tone(), noise, snr_db=5, rng=np.random.default_rng(5)))


def test_noise_that_cannot_be_added_is_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="noise: expected at least one sample, got none"):
        add_noise(tone(), tone(0), snr_db=10, rng=rng)
    for snr_db in (float("nan"), 1000, "10", None):
        with pytest.raises(ValueError, match="snr_db: expected a number of decibels from -200 to 200, got"):
            add_noise(tone(), tone(), snr_db=snr_db, rng=rng)


def test_gain_is_decibels_and_clips():
    samples = tone()
    assert np.allclose(gain(samples, -20), samples / 10, rtol=1e-6)
    assert np.array_equal(gain(samples, 0), samples)
    assert np.allclose(gain(samples, 6.0206), np.clip(2 * samples, -1, 1), atol=1e-5)
    loud = gain(samples, 40)
    assert loud.min() == -1 and loud.max() == 1
    assert samples.max() < 0.31
    for db in (float("nan"), "6", True):
        with pytest.raises(ValueError, match="db: expected a number of decibels from -200 to 200, got"):
            gain(samples, db)


def test_numpy_s_random_module_is_loaded_when_it_is_used():
    code = "import sys, numpy; old = set(sys.modules); import asr_features.signals; print(*set(sys.modules) - old)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "asr_features.signals" in loaded
    assert not {"numpy.random", "soundfile", "scipy"} & set(loaded)
