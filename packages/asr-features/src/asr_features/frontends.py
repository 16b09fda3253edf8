"""Spectrogram, LogMel and Mfcc: each a function for the recipes of Kaldi, HTK, librosa, TensorFlow and others."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import checks, streaming
from .framing import left_padding
from .interfaces import Array
from .mel import DCTS, FILTERS, cosines, mel_filters
from .plan import Plan, check, framing_of, make_plan
from .streaming import StreamState


@dataclass(frozen=True, kw_only=True)
class Spectrogram:
    """The logarithm of the spectrum: `(N,)` float samples in [-1, 1] to `(T, F)`, F = fft_size // 2 + 1.

    The fields are those of LogMel, and mean the same; there are no filters.
    """

    input_scale: float
    sample_rate: int = 16000
    frame_length_ms: float = 25.0
    frame_shift_ms: float = 10.0
    framing: str = "snip"
    remove_dc: bool = True
    pre_emphasis: float = 0.97
    pre_emphasis_over: str = "frame"
    window: str = "povey"
    fft_length: int | None = None
    power: int = 2
    log: str = "ln"
    log_floor: float = 1.1920929e-07
    log_offset: float = 0.0
    top: float | None = None
    top_over: str = "utterance"
    dtype: str = "float32"

    def __post_init__(self) -> None:
        """Raises ValueError, in one line, for a field that cannot be."""
        check(self)

    @property
    def dim(self) -> int:
        """F, the features of a frame."""
        return self.fft_size // 2 + 1

    @property
    def frame_length(self) -> int:
        """W in samples."""
        return _in_samples(self.sample_rate, self.frame_length_ms)

    @property
    def frame_shift(self) -> int:
        """H in samples."""
        return _in_samples(self.sample_rate, self.frame_shift_ms)

    @property
    def fft_size(self) -> int:
        """The length of the FFT, `fft_length` or the next power of two."""
        return self.fft_length or 1 << (self.frame_length - 1).bit_length()

    @property
    def left_padding(self) -> int:
        """How many samples the first frame begins before the signal."""
        return left_padding(self.framing, self.frame_length, self.frame_shift, self.fft_size)

    def num_frames(self, num_samples: int) -> int:
        """T for N samples."""
        return framing_of(self).num_frames(num_samples)

    def __call__(self, samples: ArrayLike, /) -> Array:
        """The features `(T, F)`, as LogMel's."""
        return streaming.offline(_plan(self), samples)

    def start(self) -> StreamState:
        """The state before the first sample."""
        return streaming.start(_plan(self))

    def step(self, state: StreamState, samples: ArrayLike, /) -> tuple[StreamState, Array]:
        """Takes `(n,)` samples, n >= 0; gives the new state and the frames `(t, F)` that they complete."""
        return streaming.step(_plan(self), state, samples)

    def finish(self, state: StreamState, /) -> Array:
        """The frames `(t, F)` that only the end of the signal completes."""
        return streaming.finish(_plan(self), state)


@dataclass(frozen=True, kw_only=True)
class LogMel:
    """Log-mel energies: `(N,)` float samples in [-1, 1] to `(T, F)`. Equal fields, equal features.

    Lengths are in milliseconds, so that `dataclasses.replace(KALDI_80, sample_rate=8000, num_mels=40)` is the
    same recipe at another rate; in samples they are truncated, as Kaldi does. With W the frame length and H
    the shift in samples, the steps are, in this order:

    1. Pre-emphasis if it runs over the "signal": x[i] -= pre_emphasis * x[i - 1], the first sample kept.
    2. Frames, by `framing`:
       "snip" takes only whole frames: T = 1 + (N - W) // H, or 0 if N < W;
       "mirror" centres them at H / 2 + t H, T = (N + H // 2) // H, and mirrors the signal at its ends, the
       edge sample repeated (Kaldi's snip_edges=false);
       "center" centres them at t H, T = 1 + N // H, or 0 if N = 0, with zeros beyond the ends (librosa);
       "reflect" does so but mirrors without repeating the edge sample (torchaudio, ESPnet, old librosa);
       "center-floor" (NeMo) and "reflect-floor" (Whisper) are these two with T = N // H;
       "pad-end" begins at 0, zeros beyond the end, T = ceil(N / H) (tf.signal's pad_end);
       "cover" does so with as many frames as cover the signal: T = 1 + ceil((N - W) / H), 1 if N <= W, 0 if
       N = 0 (python_speech_features).
    3. Times `input_scale`; the frame's mean subtracted if `remove_dc`; if pre-emphasis runs over the "frame",
       x[i] -= pre_emphasis * x[i - 1] within it, and x[0] *= 1 - pre_emphasis (Kaldi, HTK).
    4. The window (`spectrum.window`), the spectrum at `fft_length` points to the given `power`, the mel
       filters (`mel.mel_filters`).
    5. log(max(E, log_floor) + log_offset): natural for "ln", "log10", "db" for 10 log10, "whisper" for
       (log10 + 4) / 4; "none" leaves E as it is.
    6. Nothing more than `top` below the maximum, if given, in units of that logarithm (for "whisper", of
       log10): that of the "utterance", or "running", that of the frames so far.

    `energy` adds one more feature, the logarithm as of 5 of the frame's sum of squares, taken in 3 before the
    frame's pre-emphasis (Kaldi's use_energy).

    A signal in pieces, through start, step and finish, gives the same features bit for bit; with "snip"
    framing, those of a longer signal begin with those of a shorter one. Threads may share an instance.
    """

    input_scale: float
    """What the samples are multiplied by: 32768 for a model trained on int16 amplitudes (Kaldi), else 1."""
    sample_rate: int = 16000
    num_mels: int = 80
    frame_length_ms: float = 25.0
    frame_shift_ms: float = 10.0
    framing: str = "snip"
    """A name of `framing.FRAMINGS`."""
    remove_dc: bool = True
    pre_emphasis: float = 0.97
    pre_emphasis_over: str = "frame"
    """"frame" or "signal"."""
    window: str = "povey"
    """A name of `spectrum.WINDOWS`."""
    fft_length: int | None = None
    """None is the next power of two."""
    power: int = 2
    """2 for the power spectrum, 1 for the magnitude."""
    mel: str = "kaldi"
    """A name of `mel.FILTERS`."""
    low_hz: float = 20.0
    high_hz: float | None = None
    """None is half of the sample rate."""
    log: str = "ln"
    """"ln", "log10", "db", "whisper" or "none"."""
    log_floor: float = 1.1920929e-07
    log_offset: float = 0.0
    energy: str | None = None
    """None, "first" or "last": where the energy is."""
    top: float | None = None
    top_over: str = "utterance"
    """"utterance", which cannot stream, or "running"."""
    dtype: str = "float32"
    """"float32" or "float64", of the computation and of the features."""

    def __post_init__(self) -> None:
        """Raises ValueError, in one line, for a field that cannot be."""
        checks.positive_int("num_mels", self.num_mels)
        checks.one_of("mel", self.mel, FILTERS)
        checks.at_least("low_hz", self.low_hz, 0)
        if self.high_hz is not None:
            checks.at_least("high_hz", self.high_hz, 0)
        if self.energy is not None:
            checks.one_of("energy", self.energy, ("first", "last"))
        check(self)
        if self.energy is not None and self.top is not None:
            raise ValueError("energy, top: expected only one of them, got both; the energy is in another range")
        self.filters()

    @property
    def dim(self) -> int:
        """F, the features of a frame."""
        return self.num_mels + (self.energy is not None)

    @property
    def frame_length(self) -> int:
        """W in samples."""
        return _in_samples(self.sample_rate, self.frame_length_ms)

    @property
    def frame_shift(self) -> int:
        """H in samples."""
        return _in_samples(self.sample_rate, self.frame_shift_ms)

    @property
    def fft_size(self) -> int:
        """The length of the FFT, `fft_length` or the next power of two."""
        return self.fft_length or 1 << (self.frame_length - 1).bit_length()

    @property
    def left_padding(self) -> int:
        """How many samples the first frame begins before the signal."""
        return left_padding(self.framing, self.frame_length, self.frame_shift, self.fft_size)

    def filters(self) -> Array:
        """The mel filters `(fft_size // 2 + 1, num_mels)`."""
        return mel_filters(
            self.mel,
            num_mels=self.num_mels,
            fft_length=self.fft_size,
            sample_rate=self.sample_rate,
            low_hz=self.low_hz,
            high_hz=self.high_hz,
            dtype=self.dtype,
        )

    def num_frames(self, num_samples: int) -> int:
        """T for N samples."""
        return framing_of(self).num_frames(num_samples)

    def __call__(self, samples: ArrayLike, /) -> Array:
        """The features of `(N,)` float samples in [-1, 1] at `sample_rate`: `(T, F)` of `dtype`.

        Raises ValueError when the samples are no floats or not one channel.
        """
        return streaming.offline(_plan(self), samples)

    def start(self) -> StreamState:
        """The state before the first sample; raises ValueError for a `top` below the utterance's maximum."""
        return streaming.start(_plan(self))

    def step(self, state: StreamState, samples: ArrayLike, /) -> tuple[StreamState, Array]:
        """Takes `(n,)` samples, n >= 0; gives the new state and the frames `(t, F)` that they complete."""
        return streaming.step(_plan(self), state, samples)

    def finish(self, state: StreamState, /) -> Array:
        """The frames `(t, F)` that only the end of the signal completes."""
        return streaming.finish(_plan(self), state)


@dataclass(frozen=True, kw_only=True)
class Mfcc:
    """Cepstral coefficients, the cosine transform of log-mel energies: `(N,)` samples to `(T, num_ceps)`.

    `mel.cosines` has the formula. `energy` puts in the place of c[0] the logarithm, as of the mel energies, of
    the frame's sum of squares, as in LogMel ("raw", Kaldi), or of the sum of its spectrum divided by the points
    of the FFT ("spectrum", python_speech_features).
    """

    mel: LogMel
    num_ceps: int = 13
    lifter: float = 22.0
    """0 is none."""
    dct: str = "ortho"
    """"ortho" or "htk"."""
    energy: str | None = None
    """None, "raw" or "spectrum"."""
    zeroth: str = "first"
    """"first" or "last": where c[0] is, or the energy."""

    def __post_init__(self) -> None:
        """Raises ValueError, in one line, for a field that cannot be."""
        checks.positive_int("num_ceps", self.num_ceps)
        checks.at_least("lifter", self.lifter, 0)
        checks.one_of("dct", self.dct, DCTS)
        checks.one_of("zeroth", self.zeroth, ("first", "last"))
        if self.energy is not None:
            checks.one_of("energy", self.energy, ("raw", "spectrum"))
        if not isinstance(self.mel, LogMel) or self.mel.energy is not None:
            raise ValueError(f"mel: expected a LogMel without energy, got {self.mel!r}")
        if self.energy is not None and self.num_ceps == 1:
            raise ValueError("num_ceps: expected at least 2 with an energy, which is in the place of c[0], got 1")
        if self.num_ceps > self.mel.num_mels:
            raise ValueError(f"num_ceps: expected at most {self.mel.num_mels}, as mel has, got {self.num_ceps}")

    @property
    def sample_rate(self) -> int:
        """The rate that the samples must have, in Hz."""
        return self.mel.sample_rate

    @property
    def dim(self) -> int:
        """F, the features of a frame."""
        return self.num_ceps

    def cosines(self) -> NDArray[np.float64]:
        """The matrix `(num_mels, num_ceps)` from log-mel energies to coefficients, lifter and order included."""
        matrix = cosines(self.mel.num_mels, self.num_ceps, kind=self.dct, lifter=self.lifter)
        return np.roll(matrix, -1, axis=1) if self.zeroth == "last" else matrix

    def num_frames(self, num_samples: int) -> int:
        """T for N samples."""
        return self.mel.num_frames(num_samples)

    def __call__(self, samples: ArrayLike, /) -> Array:
        """The coefficients `(T, num_ceps)` of `(N,)` float samples in [-1, 1], of the dtype of `mel`."""
        return streaming.offline(_plan(self), samples)

    def start(self) -> StreamState:
        """The state before the first sample; raises ValueError for a `top` below the utterance's maximum."""
        return streaming.start(_plan(self))

    def step(self, state: StreamState, samples: ArrayLike, /) -> tuple[StreamState, Array]:
        """Takes `(n,)` samples, n >= 0; gives the new state and the frames `(t, F)` that they complete."""
        return streaming.step(_plan(self), state, samples)

    def finish(self, state: StreamState, /) -> Array:
        """The frames `(t, F)` that only the end of the signal completes."""
        return streaming.finish(_plan(self), state)


def _in_samples(sample_rate: int, milliseconds: float) -> int:
    """Truncated as Kaldi does, but for what float arithmetic takes from a whole number."""
    return int(sample_rate * 0.001 * milliseconds + 1e-4)


@lru_cache(maxsize=64)
def _plan(frontend: Spectrogram | LogMel | Mfcc) -> Plan:
    """What the frames are computed with."""
    recipe = frontend.mel if isinstance(frontend, Mfcc) else frontend
    filters = recipe.filters() if isinstance(recipe, LogMel) else None
    if isinstance(frontend, Mfcc):
        cepstra, energy, place = frontend.cosines(), frontend.energy, frontend.zeroth
        return make_plan(recipe, filters, cepstra=cepstra, energy=energy, place=place)
    if isinstance(frontend, LogMel) and frontend.energy is not None:
        return make_plan(recipe, filters, energy="raw", place=frontend.energy)
    return make_plan(recipe, filters)
