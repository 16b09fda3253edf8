import numpy as np
import pytest
from scipy.signal import windows

from asr_features.spectrum import WINDOWS, frames, power_spectrum, window


@pytest.mark.parametrize("length", [1, 2, 25, 400])
def test_windows_are_those_of_scipy(length):
    assert np.allclose(window("hann", length), windows.hann(length, sym=True))
    assert np.allclose(window("hann-periodic", length), windows.hann(length, sym=False))
    assert np.allclose(window("hamming", length), windows.hamming(length, sym=True))
    assert np.allclose(window("rectangular", length), windows.boxcar(length))
    assert np.allclose(window("povey", length), windows.hann(length, sym=True) ** 0.85)


def test_an_unknown_window_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=f"window: expected one of {', '.join(WINDOWS)}, got 'kaiser'"):
        window("kaiser", 400)


@pytest.mark.parametrize("count", [0, 3, 4, 5, 6, 17])
def test_frames_are_slices(count):
    samples = np.arange(count, dtype=np.float32)
    expected = [samples[start : start + 4] for start in range(0, count - 3, 2)]
    got = frames(samples, 4, 2)
    assert got.shape == (len(expected), 4)
    assert np.array_equal(got, np.reshape(expected, (-1, 4)))
    with pytest.raises(ValueError):
        got[...] = 0


@pytest.mark.parametrize("fft_length", [16, 20, 25])
def test_power_spectrum_is_the_sum_that_defines_it(fft_length):
    rows = np.random.default_rng(0).standard_normal((3, 16)).astype(np.float32)
    k, i = np.arange(fft_length // 2 + 1), np.arange(16)
    expected = np.abs(rows @ np.exp(-2j * np.pi * np.outer(i, k) / fft_length)) ** 2
    assert np.allclose(power_spectrum(rows, fft_length), expected, rtol=1e-4, atol=1e-4)
    out = np.empty(expected.shape, np.float32)
    assert power_spectrum(rows, fft_length, out=out) is out
    assert np.allclose(out, expected, rtol=1e-4, atol=1e-4)
