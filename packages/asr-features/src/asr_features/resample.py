"""Resampling by any rational ratio, and speed perturbation."""

import math
from fractions import Fraction
from functools import lru_cache
from numbers import Real
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from . import checks
from .banded import COLUMNS, MULTIPLICATIONS, Band, multiply
from .interfaces import Floats
from .spectrum import frames

ZERO_CROSSINGS = 6
ROLLOFF = 0.99

LEAST = 8
"""Outputs of a row: with fewer, as for 48000 to 16000 Hz, most of the time would go into copying inputs."""


def resample(samples: ArrayLike, source_rate: int, target_rate: int) -> Floats:
    """`(N,)` samples at `source_rate` to `(ceil(N * target_rate / source_rate),)` float32 at `target_rate`.

    Band-limited interpolation with a sinc of 6 zero crossings under a Hann window, cut off at 0.99 of the
    lower Nyquist frequency: torchaudio's `resample` with its defaults (J. O. Smith, Digital Audio
    Resampling). Gain is 1; the signal is taken to be zero beyond its ends. Returns a copy, also when the
    rates are equal.
    """
    signal = checks.signal(samples)
    checks.positive_int("source_rate", source_rate)
    checks.positive_int("target_rate", target_rate)
    divisor = math.gcd(source_rate, target_rate)
    down, up = source_rate // divisor, target_rate // divisor
    if down == up or not signal.size:
        return signal.copy()
    several = -(-LEAST // up)  # whole periods at once
    down, up = several * down, several * up
    kernel = _kernel(down, up)
    count = -(-len(signal) * up // down)
    rows = -(-count // up)
    padded = np.zeros(rows * down + 2 * kernel.width, np.float32)
    padded[kernel.width : kernel.width + len(signal)] = signal
    out = np.empty((rows, up), np.float32)
    views = frames(padded, kernel.length, down)
    for first in range(0, rows, kernel.rows):
        block = slice(first, first + kernel.rows)
        # BLAS takes no overlapping rows: the copy is what lets it be used at all.
        multiply(np.ascontiguousarray(views[block]), kernel.bands, out=out[block])
    return out.reshape(-1)[:count]


def speed(samples: ArrayLike, factor: float) -> Floats:
    """Plays the samples `factor` times as fast, pitch and all: `(N,)` to about `(N / factor,)` float32.

    Speed perturbation (Ko et al., Audio Augmentation for Speech Recognition, 2015), as sox's `speed`. The
    factor is taken to the nearest fraction with a denominator of at most 1000: 0.9 is 9/10, and the length is
    ceil(N * 10 / 9).
    """
    if not isinstance(factor, Real) or not 0.01 <= float(factor) <= 100:
        raise ValueError(f"factor: expected a number from 0.01 to 100 (0.9 is slower, 1.1 faster), got {factor!r}")
    ratio = Fraction(float(factor)).limit_denominator(1000)
    return resample(samples, ratio.numerator, ratio.denominator)


class _Kernel(NamedTuple):
    """`up` outputs for every `down` inputs: a matrix `(length, up)` over them and `width` more each side."""

    width: int
    length: int
    rows: int
    """How many rows fit a product that stays in one thread."""
    bands: tuple[Band, ...]


@lru_cache(maxsize=32)
def _kernel(down: int, up: int) -> _Kernel:
    cutoff = min(down, up) * ROLLOFF
    width = math.ceil(ZERO_CROSSINGS * down / cutoff)
    length = 2 * width + down
    bands = []
    for start in range(0, up, COLUMNS):  # built band by band: the whole matrix would not fit for two coprime rates
        stop = min(start + COLUMNS, up)
        low, high = down * start // up, min(length, down * (stop - 1) // up + 2 * width + 2)
        taps = np.arange(low, high)[:, None] - width
        time = (taps / down - np.arange(start, stop) / up) * cutoff
        time = np.clip(time, -ZERO_CROSSINGS, ZERO_CROSSINGS)
        weights = np.sinc(time) * np.cos(time * np.pi / ZERO_CROSSINGS / 2) ** 2 * (cutoff / down)
        bands.append(Band(low, high, start, stop, weights.astype(np.float32)))
    rows = max(1, MULTIPLICATIONS // max(band.weights.size for band in bands))
    rows = max(1, min(rows, 4 * MULTIPLICATIONS // length))  # and the copied block within a few megabytes
    return _Kernel(width, length, rows, tuple(bands))
