import numpy as np
import pytest
from scipy.signal import windows

from asr_features.spectrum import WINDOWS, window


@pytest.mark.parametrize("length", [1, 2, 25, 400])
def test_windows_are_those_of_scipy(length):
    assert np.allclose(window("hann", length), windows.hann(length, sym=True))
    assert np.allclose(window("hann-periodic", length), windows.hann(length, sym=False))
    assert np.allclose(window("hamming", length), windows.hamming(length, sym=True))
    assert np.allclose(window("hamming-periodic", length), windows.hamming(length, sym=False))
    assert np.allclose(window("rectangular", length), windows.boxcar(length))
    assert np.allclose(window("povey", length), windows.hann(length, sym=True) ** 0.85)


def test_an_unknown_window_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=f"window: expected one of {', '.join(WINDOWS)}, got 'kaiser'"):
        window("kaiser", 400)
