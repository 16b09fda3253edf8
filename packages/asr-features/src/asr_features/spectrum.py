"""Frames, windows and the power spectrum."""

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from . import checks
from .interfaces import Floats

WINDOWS = ("povey", "hann", "hann-periodic", "hamming", "rectangular")


def window(name: str, length: int) -> NDArray[np.float64]:
    """A window of `WINDOWS`, `(length,)` float64.

    With x = 2 pi i / (length - 1), i = 0 .. length - 1: "hann" is 0.5 - 0.5 cos x; "povey" is that to the
    power 0.85 (Kaldi, feature-window.cc); "hamming" is 0.54 - 0.46 cos x; "rectangular" is 1.
    "hann-periodic" is "hann" but divides by length instead of length - 1 (librosa, Whisper, tf.signal).
    """
    checks.one_of("window", name, WINDOWS)
    checks.positive_int("length", length)
    if name == "rectangular" or length == 1:
        return np.ones(length)
    cosine = np.cos(2 * np.pi * np.arange(length) / (length if name == "hann-periodic" else length - 1))
    if name == "hamming":
        return np.asarray(0.54 - 0.46 * cosine)
    hann = 0.5 - 0.5 * cosine
    return np.asarray(hann**0.85 if name == "povey" else hann)


def frames(samples: Floats, length: int, shift: int) -> Floats:
    """The whole frames of a signal `(N,)`, a read-only view `(T, length)`.

    T = 1 + (N - length) // shift, or 0 if N < length.
    """
    count = max(0, 1 + (len(samples) - length) // shift)
    stride = samples.strides[0]
    return as_strided(samples, (count, length), (shift * stride, stride), writeable=False)


def power_spectrum(windowed: Floats, fft_length: int, *, out: Floats | None = None) -> Floats:
    """|FFT|^2 of each frame: `(T, W)`, W <= fft_length, to `(T, fft_length // 2 + 1)`, in `out` when given.

    Frames shorter than `fft_length` are padded with zeros at their end.
    """
    from scipy.fft import rfft  # slow to import, and only wanted here

    # The absolute value of complex64 is vectorised, its square is one pass: faster than re * re + im * im on
    # strided parts.
    power: Floats = np.absolute(rfft(windowed, fft_length, axis=1), out=out)
    return np.multiply(power, power, out=power)
