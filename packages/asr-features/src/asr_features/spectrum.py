"""Windows."""

import numpy as np
from numpy.typing import NDArray

from . import checks

WINDOWS = ("povey", "hann", "hann-periodic", "hamming", "hamming-periodic", "rectangular")


def window(name: str, length: int) -> NDArray[np.float64]:
    """A window of `WINDOWS`, `(length,)` float64.

    With x = 2 pi i / (length - 1), i = 0 .. length - 1: "hann" is 0.5 - 0.5 cos x; "povey" is that to the
    power 0.85 (Kaldi, feature-window.cc); "hamming" is 0.54 - 0.46 cos x; "rectangular" is 1. The periodic
    ones divide by length instead of length - 1 (librosa, Whisper, tf.signal).
    """
    checks.one_of("window", name, WINDOWS)
    checks.positive_int("length", length)
    if name == "rectangular" or length == 1:
        return np.ones(length)
    cosine = np.cos(2 * np.pi * np.arange(length) / (length if name.endswith("-periodic") else length - 1))
    if name.startswith("hamming"):
        return np.asarray(0.54 - 0.46 * cosine)
    hann = 0.5 - 0.5 * cosine
    return np.asarray(hann**0.85 if name == "povey" else hann)
