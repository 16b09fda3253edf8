"""LogMel: one function for the log-mel recipes of Kaldi, TensorFlow, librosa and Whisper."""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from . import checks
from .banded import ROWS, Band, multiply, split
from .interfaces import Floats
from .mel import FILTERS, mel_filters
from .spectrum import WINDOWS, frames, power_spectrum, window

PADDING = {"snip": None, "mirror": "symmetric", "center": "constant", "reflect": "reflect"}
"""How each framing continues the signal beyond its ends, as `numpy.pad` names it."""

LOGS = ("ln", "log10", "whisper")


@dataclass(frozen=True, kw_only=True)
class LogMel:
    """Log-mel energies: `(N,)` float samples in [-1, 1] to `(T, F)` float32. Equal fields, equal features.

    Lengths are in milliseconds, so that `dataclasses.replace(KALDI_80, sample_rate=8000, num_mels=40)` is the
    same recipe at another rate. In samples W is the frame length, H the shift; the steps are, in this order:

    1. Frames, by `framing`:
       "snip" takes only whole frames: T = 1 + (N - W) // H, or 0 if N < W;
       "mirror" centres them at H / 2 + t H, T = (N + H // 2) // H, and mirrors the signal at its ends, the
       edge sample repeated (Kaldi's snip_edges=false);
       "center" centres them at t H, T = 1 + N // H, or 0 if N = 0, with zeros beyond the ends (librosa);
       "reflect" centres them at t H, T = N // H, and mirrors without repeating the edge sample (Whisper).
    2. Times `input_scale`; the frame's mean subtracted if `remove_dc`; x[i] -= pre_emphasis * x[i - 1] within
       the frame, and x[0] *= 1 - pre_emphasis.
    3. The window (`spectrum.window`), the power spectrum at `fft_length` points, the mel filters
       (`mel.mel_filters`).
    4. log(max(E, log_floor) + log_offset), natural for "ln". "whisper" is log10, then nothing below the
       utterance's maximum less 8, then (x + 4) / 4.

    With "snip" framing and "ln" or "log10", the features of a longer signal begin with those of a shorter
    one, bit for bit. Threads may share an instance.
    """

    input_scale: float
    """What the samples are multiplied by: 32768 for a model trained on int16 amplitudes (Kaldi), else 1."""
    sample_rate: int = 16000
    num_mels: int = 80
    frame_length_ms: float = 25.0
    frame_shift_ms: float = 10.0
    framing: str = "snip"
    """"snip", "mirror", "center" or "reflect"."""
    remove_dc: bool = True
    pre_emphasis: float = 0.97
    window: str = "povey"
    """A name of `spectrum.WINDOWS`."""
    fft_length: int | None = None
    """None is the next power of two."""
    mel: str = "kaldi"
    """"kaldi", "tensorflow" or "slaney"."""
    low_hz: float = 20.0
    high_hz: float | None = None
    """None is half of the sample rate."""
    log: str = "ln"
    """"ln", "log10" or "whisper"."""
    log_floor: float = 1.1920929e-07
    log_offset: float = 0.0

    def __post_init__(self) -> None:
        """Raises ValueError, in one line, for a field that cannot be."""
        checks.positive_int("sample_rate", self.sample_rate)
        checks.positive_int("num_mels", self.num_mels)
        for name, known in (("framing", PADDING), ("window", WINDOWS), ("mel", FILTERS), ("log", LOGS)):
            checks.one_of(name, getattr(self, name), known)
        for name in (
            "input_scale",
            "frame_length_ms",
            "frame_shift_ms",
            "pre_emphasis",
            "low_hz",
            "log_floor",
            "log_offset",
        ):
            checks.at_least(name, getattr(self, name), 0)
        if self.input_scale == 0:
            raise ValueError("input_scale: expected a positive number, got 0")
        if not 1 <= self.frame_shift <= self.frame_length:
            raise ValueError(
                "frame_shift_ms: expected at least one sample and at most a frame, got "
                f"{self.frame_shift_ms:g} ms, frames of {self.frame_length_ms:g} ms, {self.sample_rate} Hz"
            )
        if self.fft_length is not None and (
            not isinstance(self.fft_length, int) or self.fft_length < self.frame_length
        ):
            raise ValueError(
                f"fft_length: expected an int of at least the frame's {self.frame_length} samples, "
                f"got {self.fft_length!r}; None is the next power of two"
            )
        if max(self.log_floor, self.log_offset) < 1e-37:  # the smallest normal float32
            raise ValueError(
                "log_floor, log_offset: expected one of at least 1e-37, for the logarithm of silence, "
                f"got {self.log_floor:g} and {self.log_offset:g}"
            )
        self.filters()

    @property
    def dim(self) -> int:
        """F, the features of a frame."""
        return self.num_mels

    @property
    def frame_length(self) -> int:
        """W in samples, truncated as Kaldi does."""
        return int(self.sample_rate * 0.001 * self.frame_length_ms)

    @property
    def frame_shift(self) -> int:
        """H in samples, truncated as Kaldi does."""
        return int(self.sample_rate * 0.001 * self.frame_shift_ms)

    @property
    def fft_size(self) -> int:
        """The length of the FFT, `fft_length` or the next power of two."""
        return self.fft_length or 1 << (self.frame_length - 1).bit_length()

    @property
    def left_padding(self) -> int:
        """How many samples the first frame begins before the signal."""
        if self.framing == "mirror":
            return self.frame_length // 2 - self.frame_shift // 2
        return 0 if self.framing == "snip" else self.frame_length // 2

    def filters(self) -> Floats:
        """The mel filters `(fft_size // 2 + 1, num_mels)`."""
        return mel_filters(
            self.mel,
            num_mels=self.num_mels,
            fft_length=self.fft_size,
            sample_rate=self.sample_rate,
            low_hz=self.low_hz,
            high_hz=self.high_hz,
        )

    def num_frames(self, num_samples: int) -> int:
        """T for N samples."""
        if num_samples < 0:
            raise ValueError(f"num_samples: expected at least 0, got {num_samples}")
        if self.framing == "snip":
            return max(0, 1 + (num_samples - self.frame_length) // self.frame_shift)
        if self.framing == "mirror":
            return (num_samples + self.frame_shift // 2) // self.frame_shift
        if self.framing == "center":
            return 1 + num_samples // self.frame_shift if num_samples else 0
        return num_samples // self.frame_shift

    def __call__(self, samples: ArrayLike, /) -> Floats:
        """The features of `(N,)` float samples in [-1, 1] at `sample_rate`: `(T, F)` float32.

        Raises ValueError when the samples are no floats or not one channel.
        """
        signal = checks.signal(samples)
        count = self.num_frames(len(signal))
        features = np.empty((count, self.num_mels), np.float32)
        if count == 0:
            return features
        signal = self._extend(signal, count)
        plan = _plan(self)
        work = _Work.allocate(min(ROWS, _round_up(count)), self.fft_size, self.num_mels)
        for first in range(0, count, ROWS):
            last = min(first + ROWS, count)
            segment = signal[first * self.frame_shift : (last - 1) * self.frame_shift + self.frame_length]
            features[first:last] = self._block(segment, last - first, plan, work)
        if self.log == "whisper":
            np.maximum(features, features.max() - np.float32(8), out=features)
            features += np.float32(4)
            features *= np.float32(0.25)
        return features

    def _extend(self, signal: Floats, count: int) -> Floats:
        mode = PADDING[self.framing]
        if mode is None:
            return signal
        left = self.left_padding
        right = max(0, (count - 1) * self.frame_shift + self.frame_length - left - len(signal))
        return np.pad(signal, (left, right), mode=mode)  # type: ignore[call-overload, no-any-return]

    def _block(self, segment: Floats, count: int, plan: "_Plan", work: "_Work") -> Floats:
        """The log-mel energies `(count, F)` of the samples of `count` frames, at most ROWS of them."""
        self._window(segment, count, plan, out=work.windowed[:count, : self.frame_length])
        # Whole groups of rows, so that no frame meets the remainder loops of the FFT and of BLAS, which round
        # differently: a frame's features do not depend on how many frames follow. What the rows beyond count
        # hold does not matter.
        rows = _round_up(count)
        power = power_spectrum(work.windowed[:rows], self.fft_size, out=work.power[:rows])
        energies = work.energies[:rows]
        multiply(power, plan.bands, out=energies)
        if self.log_floor:
            np.maximum(energies, np.float32(self.log_floor), out=energies)
        if self.log_offset:
            energies += np.float32(self.log_offset)
        (np.log if self.log == "ln" else np.log10)(energies, out=energies)
        return energies[:count]

    def _window(self, segment: Floats, count: int, plan: "_Plan", out: Floats) -> None:
        """Writes the frames, `(count, W)`, without their mean, pre-emphasised and windowed.

        Both steps are linear, so pre-emphasis is computed once a sample instead of once in every frame that
        holds it, and of a frame's mean what passes pre-emphasis, (1 - a) mean, is subtracted after it. The
        form (x[n] - x[n-1]) + (1 - a) x[n-1] keeps the error of single precision as small as in Kaldi's
        order.
        """
        length, shift = self.frame_length, self.frame_shift
        gain = np.float32(1 - self.pre_emphasis)
        if self.pre_emphasis:
            emphasised = np.empty_like(segment)
            np.subtract(segment[1:], segment[:-1], out=emphasised[1:])
            emphasised[1:] += gain * segment[:-1]
            emphasised[0] = gain * segment[0]
            out[:] = frames(emphasised, length, shift)
            out[:, 0] = gain * segment[: (count - 1) * shift + 1 : shift]
        else:
            out[:] = frames(segment, length, shift)
        if self.remove_dc:
            out -= (gain * _means(segment, length, shift))[:, None]
        out *= plan.window


class _Plan(NamedTuple):
    """What a recipe needs for every block."""

    window: Floats
    bands: tuple[Band, ...]


class _Work(NamedTuple):
    """The buffers of one call."""

    windowed: Floats
    power: Floats
    energies: Floats

    @classmethod
    def allocate(cls, rows: int, fft_size: int, num_mels: int) -> "_Work":
        windowed = np.zeros((rows, fft_size), np.float32)  # beyond the frame it stays zero: the FFT's padding
        power = np.empty((rows, fft_size // 2 + 1), np.float32)
        return cls(windowed, power, np.empty((rows, num_mels), np.float32))


@lru_cache(maxsize=64)
def _plan(recipe: LogMel) -> _Plan:
    # The power of two of Kaldi's scale changes no rounding, so the scale costs nothing inside the window.
    scaled = (window(recipe.window, recipe.frame_length) * recipe.input_scale).astype(np.float32)
    return _Plan(scaled, split(recipe.filters()))


def _means(segment: Floats, length: int, shift: int) -> Floats:
    """The mean of every frame, from sums over blocks that frames share."""
    block = math.gcd(length, shift)
    sums = segment.reshape(-1, block).sum(axis=1)
    means: Floats = frames(sums, length // block, shift // block).sum(axis=1)
    return means / np.float32(length)


def _round_up(count: int) -> int:
    return -(-count // 16) * 16
