"""What is done to samples before the front end: dither, noise, gain."""

import numpy as np
from numpy.typing import ArrayLike

from . import checks
from .interfaces import Floats

WORDS = 4
"""64-bit words that Philox makes of one value of its counter."""

# Generator is annotated in quotes: numpy loads its random module, a third of our import, when it is named.


def dither(samples: ArrayLike, amplitude: float, *, seed: int, first: int = 0) -> Floats:
    """The samples plus normal noise of standard deviation `amplitude`, `(N,)` float32; not clipped.

    Kaldi's --dither=1.0, which is at the scale of int16, is 1 / 32768 here. The noise of a sample depends on
    `seed`, 0 to 2^128 - 1, and on its position in the signal alone: give pieces of a signal with `first`, the
    position of their first sample, and they get what the whole gets, bit for bit. So an utterance that begins
    at its sample 0 gets the same noise in every epoch unless the seed differs.

    Philox4x64-10 (Salmon et al., Parallel Random Numbers: As Easy as 1, 2, 3, 2011) makes 64 bits for two
    samples, and Box and Muller's transform two normal numbers of them; the largest is 6.8.
    """
    signal = checks.signal(samples)
    checks.at_least("amplitude", amplitude, 0)
    for name, value, bits in (("seed", seed, 128), ("first", first, 62)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or not 0 <= value < 2**bits:
            raise ValueError(f"{name}: expected an int from 0 to 2^{bits} - 1, got {value!r}")
    if not amplitude or not signal.size:
        return signal.copy()
    noise = _normal(int(seed), int(first), len(signal))
    noise *= np.float32(amplitude)
    return np.add(noise, signal, out=noise)


def add_noise(samples: ArrayLike, noise: ArrayLike, *, snr_db: float, rng: "np.random.Generator") -> Floats:
    """The samples plus a random stretch of the noise, `snr_db` decibels below them: `(N,)` float32.

    `noise` is `(M,)` at the same rate, M > 0: a uniformly drawn stretch of N samples, or if it is shorter, the
    noise over and over from a uniformly drawn sample on. It is scaled so that the mean square of the samples
    is 10^(snr_db / 10) times that of what is added. If either is silent no scale does that, and the samples
    come back as they are. The sum is not clipped: clipping would change the ratio, and front ends take it so.
    """
    signal, other = checks.signal(samples), checks.signal(noise)
    if not other.size:
        raise ValueError("noise: expected at least one sample, got none")
    _decibels("snr_db", snr_db)
    if len(other) >= len(signal):
        begin = int(rng.integers(len(other) - len(signal), endpoint=True))
        stretch = other[begin : begin + len(signal)]
    else:
        begin = int(rng.integers(len(other)))
        stretch = np.resize(np.roll(other, -begin), len(signal))
    power, added = _energy(signal), _energy(stretch)
    if not power or not added:
        return signal.copy()
    scaled = np.multiply(stretch, np.sqrt(power / added * 10 ** (-snr_db / 10)), dtype=np.float64)
    return signal + scaled.astype(np.float32)


def gain(samples: ArrayLike, db: float) -> Floats:
    """The samples times 10^(db / 20), `(N,)` float32, clipped to [-1, 1] as a recorder clips, and as `read` does."""
    signal = checks.signal(samples)
    _decibels("db", db)
    scaled = signal * np.float32(10 ** (db / 20))
    return np.clip(scaled, -1, 1, out=scaled)


def _normal(seed: int, first: int, count: int) -> Floats:
    """Standard normal numbers of the positions from `first` on, `(count,)`. Two positions share a word."""
    start, stop = first // 2, (first + count + 1) // 2  # in words
    counter = start // WORDS
    philox = np.random.Philox(key=seed, counter=counter)
    words = philox.random_raw(stop - counter * WORDS)[start - counter * WORDS :]
    # The halves of a word as uniform numbers, from (0, 1] the one and [0, 1] the other: no logarithm of zero.
    radius = ((words >> np.uint64(32)).astype(np.float32) + np.float32(0.5)) * np.float32(2**-32)
    angle = (words & np.uint64(2**32 - 1)).astype(np.float32) * np.float32(2 * np.pi * 2**-32)
    np.log(radius, out=radius)
    radius *= np.float32(-2)
    np.sqrt(radius, out=radius)
    normal = np.empty((len(words), 2), np.float32)
    np.multiply(radius, np.cos(angle), out=normal[:, 0])
    np.multiply(radius, np.sin(angle), out=normal[:, 1])
    return normal.reshape(-1)[first % 2 :][:count]


def _decibels(name: str, value: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not -200 <= value <= 200:
        raise ValueError(f"{name}: expected a number of decibels from -200 to 200, got {value!r}")


def _energy(samples: Floats) -> float:
    return float(np.sum(np.square(samples, dtype=np.float64)))
