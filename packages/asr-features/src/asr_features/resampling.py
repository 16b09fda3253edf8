"""Resampling by any rational ratio, whole or in pieces, and speed perturbation."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from numbers import Real
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from . import checks
from .banded import COLUMNS, MULTIPLICATIONS, Band
from .interfaces import Floats

ZERO_CROSSINGS = 6
ROLLOFF = 0.99

TOUCHED = 2**16
"""Inputs and outputs of a block: they stay in a core's own cache, and calls from Python cost little of the time."""


class ResampleState(NamedTuple):
    """What the outputs to come need: the last inputs, from the sample `offset` on, and how many outputs were given."""

    held: Floats
    offset: int
    given: int


@dataclass(frozen=True, kw_only=True)
class Resample:
    """`(N,)` samples at `source_rate` Hz to `(ceil(N * target_rate / source_rate),)` float32 at `target_rate` Hz.

    Band-limited interpolation with a sinc of 6 zero crossings under a Hann window, cut off at 0.99 of the
    lower Nyquist frequency: torchaudio's `resample` with its defaults (J. O. Smith, Digital Audio
    Resampling). Gain is 1; the signal is taken to be zero beyond its ends; what overshoots full scale is not
    clipped. Returns a copy, also when the rates are equal.

    It streams: what `step` gives for the pieces of a signal and what `finish` gives, concatenated, equal one
    call on the whole, bit for bit. An output is given as soon as its last input is there, 6 periods of the
    lower rate after it.
    """

    source_rate: int
    target_rate: int

    def __post_init__(self) -> None:
        """Raises ValueError unless both rates are positive ints."""
        checks.positive_int("source_rate", self.source_rate)
        checks.positive_int("target_rate", self.target_rate)

    def num_samples(self, num_samples: int) -> int:
        """How many samples N become."""
        return -(-num_samples * self.target_rate // self.source_rate)

    def __call__(self, samples: ArrayLike, /) -> Floats:
        """The resampled signal. Raises ValueError when the samples are no floats or not one channel."""
        signal = checks.signal(samples)
        if self.source_rate == self.target_rate or not signal.size:
            return signal.copy()
        return _outputs(self._kernel(), signal, 0, 0, self.num_samples(len(signal)))

    def start(self) -> ResampleState:
        """The state before the first sample."""
        return ResampleState(np.empty(0, np.float32), 0, 0)

    def step(self, state: ResampleState, samples: ArrayLike, /) -> tuple[ResampleState, Floats]:
        """Takes `(n,)` samples, n >= 0; gives the new state and the samples that they complete."""
        signal = checks.signal(samples)
        if self.source_rate == self.target_rate:
            return state, signal.copy()
        kernel = self._kernel()
        signal = np.concatenate([state.held, signal])
        ready = max(state.given, kernel.ready(state.offset + len(signal)))
        outputs = _outputs(kernel, signal, state.offset, state.given, ready)
        offset = max(state.offset, kernel.first_input(ready))
        return ResampleState(signal[offset - state.offset :].copy(), offset, ready), outputs

    def finish(self, state: ResampleState, /) -> Floats:
        """The samples that only the end of the signal completes."""
        if self.source_rate == self.target_rate:
            return np.empty(0, np.float32)
        count = self.num_samples(state.offset + len(state.held))
        return _outputs(self._kernel(), state.held, state.offset, state.given, count)

    def _kernel(self) -> "_Kernel":
        divisor = math.gcd(self.source_rate, self.target_rate)
        return _kernel(self.source_rate // divisor, self.target_rate // divisor)


def resample(samples: ArrayLike, source_rate: int, target_rate: int) -> Floats:
    """`Resample(source_rate=source_rate, target_rate=target_rate)(samples)`."""
    return Resample(source_rate=source_rate, target_rate=target_rate)(samples)


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
    """Row r of outputs, `up` of them, is a matrix `(length, up)` times the inputs from r * down - width on.

    Rows are computed in blocks of one fixed shape, at multiples of their size, because BLAS may round
    otherwise in a block of another shape: so an output is the same bits, whatever comes with it.
    """

    down: int
    up: int
    width: int
    length: int
    rows: int
    """Of a block, a multiple of `lanes`."""
    lanes: int
    """Rows overlap, which BLAS does not take; every `lanes`-th row does not overlap with the next such one."""

    def bands(self, first: int, last: int) -> Iterator[Band]:
        """Those that the outputs `first:last` are in; they are few when rows are long and the signal short."""
        column, count = first % self.up, min(last - first, self.up)
        begin, end = column // COLUMNS * COLUMNS, column + count
        for start in range(begin, min(end, self.up), COLUMNS):
            yield _band(self, start)
        for start in range(0, min(end - self.up, begin), COLUMNS):
            yield _band(self, start)

    def ready(self, inputs: int) -> int:
        """How many outputs need none but the first `inputs` samples: output m ends before m * down / up + width."""
        return (inputs - self.width) * self.up // self.down + 1 if inputs >= self.width else 0

    def first_input(self, output: int) -> int:
        """The first sample that the block of this output needs."""
        return output // (self.rows * self.up) * self.rows * self.down - self.width


@lru_cache(maxsize=64)
def _kernel(down: int, up: int) -> _Kernel:
    # Whole periods at once, so many that the columns come to nearly whole groups: products as wide as BLAS likes them.
    several = next(n for n in range(1, COLUMNS + 1) if -(n * up) % COLUMNS <= 0.1 * n * up)
    down, up = several * down, several * up
    width = math.ceil(ZERO_CROSSINGS * down / (min(down, up) * ROLLOFF))
    widest = 2 * width + 2 + down * (COLUMNS - 1) // up
    lanes = -(-widest // down)
    rows = min(TOUCHED // (down + up) // lanes, MULTIPLICATIONS // (widest * COLUMNS))
    return _Kernel(down, up, width, 2 * width + down, lanes * max(1, rows), lanes)


@lru_cache(maxsize=2048)
def _band(kernel: _Kernel, start: int) -> Band:
    """A few columns of the matrix; they are not made all at once, for it may be far larger than the signal."""
    down, up, width = kernel.down, kernel.up, kernel.width
    stop = min(start + COLUMNS, up)
    low, high = down * start // up, min(kernel.length, down * (stop - 1) // up + 2 * width + 2)
    cutoff = min(down, up) * ROLLOFF
    taps = np.arange(low, high)[:, None] - width
    time = np.clip((taps / down - np.arange(start, stop) / up) * cutoff, -ZERO_CROSSINGS, ZERO_CROSSINGS)
    weights = np.sinc(time) * np.cos(time * np.pi / ZERO_CROSSINGS / 2) ** 2 * (cutoff / down)
    return Band(low, high, start, stop, weights.astype(np.float32))


def _outputs(kernel: _Kernel, signal: Floats, offset: int, first: int, last: int) -> Floats:
    """The outputs `first:last` of what is `signal` from the sample `offset` on, and zero where that ends."""
    result = np.empty(last - first, np.float32)
    size = kernel.rows * kernel.up
    for start in range(first // size * size, last if first < last else 0, size):
        low, high = max(first, start), min(last, start + size)
        part = result[low - first : high - first]
        block = part if len(part) == size else np.empty(size, np.float32)
        inputs = _lanes(kernel, signal, kernel.first_input(start) - offset)
        outputs = block.reshape(kernel.rows, kernel.up)
        for band in kernel.bands(low, high):
            for lane, rows in enumerate(inputs):
                out = outputs[lane :: kernel.lanes, band.start : band.stop]
                np.matmul(rows[:, band.low : band.high], band.weights, out=out)
        if block is not part:
            part[:] = block[low - start : high - start]
    return result


def _lanes(kernel: _Kernel, signal: Floats, begin: int) -> list[Floats]:
    """The inputs of a block, that begin at `signal[begin]`, as views `(rows / lanes, length)`."""
    needed = (kernel.rows - 1) * kernel.down + kernel.length
    if begin < 0 or begin + needed > len(signal):
        padded = np.zeros(needed, np.float32)
        inside = signal[max(begin, 0) : max(begin + needed, 0)]
        padded[max(-begin, 0) :][: len(inside)] = inside
        signal, begin = padded, 0
    shape, stride = (kernel.rows // kernel.lanes, kernel.length), signal.itemsize * kernel.down
    start, strides = signal.itemsize * begin, (kernel.lanes * stride, signal.itemsize)
    return [np.ndarray(shape, np.float32, signal, start + lane * stride, strides) for lane in range(kernel.lanes)]
