"""Mean and variance normalisation: over an utterance, over a corpus, over the last seconds."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import checks
from .batching import each
from .interfaces import Array

DIVIDE = ("max", "sum")

_ROWS = 64  # frames at a time, so that what one step writes the next one finds in the cache

Sums = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class UtteranceNorm:
    """Zero mean and unit variance of every feature over the utterance's own frames.

    `(T, F)` or `(T, F, C)` to the same shape, float32 (float64 stays float64). No frames stay no frames.

    The divisor is the larger of the standard deviation and `epsilon` (`divide="max"`), so what never changes (a
    single frame, digital silence) becomes 0; or their sum (`divide="sum"`). The squares are divided by T - `ddof`,
    of at least 1. Without `variance` only the mean is subtracted. NeMo's "per_feature" is
    `UtteranceNorm(ddof=1, divide="sum")`.

    Needs the whole utterance: it cannot stream, `RunningNorm` can.
    """

    epsilon: float = 1e-5
    variance: bool = True
    ddof: int = 0
    """0 or 1."""
    divide: str = "max"
    """"max" or "sum"."""

    def __post_init__(self) -> None:
        """Raises ValueError for an epsilon of zero or less, or another field that cannot be."""
        checks.at_least("epsilon", self.epsilon, 1e-30)
        checks.boolean("variance", self.variance)
        if isinstance(self.ddof, bool) or self.ddof not in (0, 1):
            raise ValueError(f"ddof: expected 0 or 1, got {self.ddof!r}")
        checks.one_of("divide", self.divide, DIVIDE)

    def __call__(self, features: ArrayLike, /) -> Array:
        """The normalised features; the argument is left as it was."""
        array = checks.features(features)
        if len(array) == 0:
            return array.copy()
        centred = array - array.mean(axis=0, dtype=np.float64)
        if self.variance:
            deviation = np.sqrt(np.square(centred).sum(axis=0) / max(len(array) - self.ddof, 1))
            centred /= np.maximum(deviation, self.epsilon) if self.divide == "max" else deviation + self.epsilon
        return np.asarray(centred, array.dtype)

    def batch(self, features: ArrayLike, lengths: ArrayLike) -> Array:
        """The same of each utterance of a batch `(B, T, F)`, with `(B,)` frames: zeros beyond, bit for bit."""
        return each(self, features, lengths)

    def start(self) -> NoReturn:
        """Raises ValueError, always: the mean of an utterance is known at its end."""
        raise ValueError("UtteranceNorm needs the whole utterance, so it cannot stream; RunningNorm can")


@dataclass(frozen=True, kw_only=True)
class GlobalNorm:
    """(x - mean) / std, each feature's own, estimated over a corpus. float32, but float64 stays float64.

    `(T, F)` takes F statistics. `(T, F, C)` takes F * C, in the order of `x.reshape(T, F * C)`, or F, which then
    hold for every channel. Streams: a frame depends on itself alone.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        """Takes any sequences of numbers; raises ValueError when lengths differ or a std is not above 0."""
        object.__setattr__(self, "mean", tuple(float(value) for value in self.mean))
        object.__setattr__(self, "std", tuple(float(value) for value in self.std))
        if not self.mean or len(self.mean) != len(self.std):
            raise ValueError(f"mean, std: expected as many numbers in each, got {len(self.mean)} and {len(self.std)}")
        if not np.isfinite(self.mean + self.std).all() or min(self.std) <= 0:
            raise ValueError("mean, std: expected finite numbers, and every std above 0")

    def __call__(self, features: ArrayLike, /) -> Array:
        """The normalised features; the argument is left as it was. Raises ValueError when F differs."""
        array = checks.features(features)
        mean, std = self.like(array.shape)
        return np.asarray((array - mean.astype(array.dtype)) / std.astype(array.dtype))

    def batch(self, features: ArrayLike, lengths: ArrayLike) -> Array:
        """The same of each utterance of a batch `(B, T, F)`, with `(B,)` frames: zeros beyond, bit for bit."""
        return each(self, features, lengths)

    def start(self) -> Array:
        """The state: no frames, of the shape that frames have once that is known."""
        return np.empty((0, 0), np.float32)

    def step(self, state: Array, features: ArrayLike, /) -> tuple[Array, Array]:
        """Takes frames `(t, F)` and gives them normalised, with the new state."""
        result = self(features)
        return np.empty_like(result[:0]), result

    def finish(self, state: Array, /) -> Array:
        """No frames: nothing waits."""
        return state.copy()

    def like(self, shape: tuple[Any, ...]) -> tuple[Sums, Sums]:
        """The mean and deviation for features of a shape, `(T, F)` or `(T, F, C)`; raises ValueError when F differs."""
        mean, std, frame = np.array(self.mean), np.array(self.std), shape[1:]
        if len(mean) == math.prod(frame):
            return mean.reshape(frame), std.reshape(frame)
        if len(mean) == frame[0]:
            return mean[:, None], std[:, None]
        raise ValueError(f"features: expected shape (T, {len(mean)}) as the statistics have, got {shape}")

    @classmethod
    def estimate(cls, utterances: Iterable[ArrayLike], *, epsilon: float = 1e-5) -> "GlobalNorm":
        """The statistics of all frames of the utterances, `(T, F)` or `(T, F, C)`, read once, kept in float64.

        Deviations under `epsilon` become `epsilon`. Utterances are merged by the update of Chan, Golub and
        LeVeque (1979), which does not cancel as plain sums of squares do. Raises ValueError when there is no
        frame or F differs.
        """
        checks.at_least("epsilon", epsilon, 1e-30)
        count, mean, squares = 0, np.zeros(()), np.zeros(())
        for number, utterance in enumerate(utterances):
            array: NDArray[np.float64] = np.asarray(utterance, np.float64)
            if array.ndim not in (2, 3) or (count and array.shape[1:] != mean.shape):
                expected = ", ".join(map(str, mean.shape)) if count else "F) or (T, F, C"
                raise ValueError(f"utterance {number}: expected shape (T, {expected}), got {array.shape}")
            if len(array) == 0:
                continue
            own = array.mean(axis=0)
            shift = own - mean
            share = len(array) / (count + len(array))
            squares = squares + np.square(array - own).sum(axis=0) + shift**2 * (count * share)
            mean = mean + shift * share
            count += len(array)
        if count == 0:
            raise ValueError("utterances: expected at least one frame, got none")
        std = np.maximum(np.sqrt(squares / count), epsilon)
        return cls(mean=tuple(mean.ravel()), std=tuple(std.ravel()))


class RunningState(NamedTuple):
    """What the frames so far leave behind. Blocks of `window` frames are counted from the first frame on.

    `before` holds at i the sums of the block before from its frame i to its end, `(window + 1, moments, ...)`;
    `sums` those of the present block, whose frames are the `pieces`.
    """

    frames: int
    before: Sums
    sums: Sums
    pieces: tuple[Sums, ...]
    empty: Array


@dataclass(frozen=True, kw_only=True)
class RunningNorm:
    """Zero mean (and unit variance) over the last `window` frames, this one included: the norm that streams.

    `(T, F)` or `(T, F, C)` to the same shape, float32 (float64 stays float64). The divisor of `variance` is the
    larger of the standard deviation and `epsilon`.

    At the beginning fewer frames are known. Without `prior` those are all: the first frame becomes 0. With it, up
    to `prior_frames` of the missing frames are as in the prior: Kaldi's online CMVN (`OnlineCmvn`, whose
    defaults are 600 and 200, and whose `prior` are its global statistics). torchaudio's
    `sliding_window_cmn(cmn_window=window - 1, min_cmn_window=1)` is the same without a prior.

    Sums are in float64 and never subtracted from each other, so nothing is lost in a stream of any length, and a
    NaN is forgotten after `window` frames. `step` and `finish`, concatenated, equal one call on all, bit for bit.
    """

    window: int = 600
    variance: bool = False
    epsilon: float = 1e-5
    prior: GlobalNorm | None = None
    prior_frames: int = 200

    def __post_init__(self) -> None:
        """Raises ValueError, in one line, for a field that cannot be."""
        checks.positive_int("window", self.window)
        checks.boolean("variance", self.variance)
        checks.at_least("epsilon", self.epsilon, 1e-30)
        if self.prior is not None and not isinstance(self.prior, GlobalNorm):
            raise ValueError(f"prior: expected a GlobalNorm or None, got {self.prior!r}")
        checks.positive_int("prior_frames", self.prior_frames)

    def __call__(self, features: ArrayLike, /) -> Array:
        """The normalised features; the argument is left as it was."""
        return self.step(self.start(), features)[1]

    def batch(self, features: ArrayLike, lengths: ArrayLike) -> Array:
        """The same of each utterance of a batch `(B, T, F)`, with `(B,)` frames: zeros beyond, bit for bit."""
        return each(self, features, lengths)

    def start(self) -> RunningState:
        """The state before the first frame."""
        none = np.zeros((0, 0))
        return RunningState(0, none, none, (), np.empty((0, 0), np.float32))

    def step(self, state: RunningState, features: ArrayLike, /) -> tuple[RunningState, Array]:
        """Takes frames `(t, F)` and gives them normalised, with the new state."""
        array = checks.features(features)
        if state.frames == 0:
            sums = np.zeros((1 + self.variance, *array.shape[1:]))
            before = np.zeros((self.window + 1, *sums.shape))
            state = RunningState(0, before, sums, (), np.empty_like(array[:0]))
        elif array.shape[1:] != state.empty.shape[1:]:
            raise ValueError(f"features: expected frames of shape {state.empty.shape[1:]} as before, got {array.shape}")
        result = np.empty_like(array)
        first = 0
        while first < len(array):
            last = min(len(array), first + _ROWS, first + self.window - state.frames % self.window)
            state, result[first:last] = self._step(state, array[first:last])
            first = last
        return state, result

    def finish(self, state: RunningState, /) -> Array:
        """No frames: nothing waits."""
        return state.empty.copy()

    def _step(self, state: RunningState, part: Array) -> tuple[RunningState, Sums]:
        """At most _ROWS frames of one block: the last `window` frames are the end of the block before and its begin."""
        values = part.astype(np.float64)[:, None]
        moments = np.concatenate([values, values * values], axis=1) if self.variance else values
        inside = np.cumsum(np.concatenate([state.sums[None], moments]), axis=0)[1:]
        place = state.frames % self.window + 1
        result = self._normalise(part, inside + state.before[place : place + len(part)], state.frames)
        frames, pieces = state.frames + len(part), (*state.pieces, moments)
        if frames % self.window:
            return state._replace(frames=frames, sums=inside[-1].copy(), pieces=pieces), result
        backwards = np.concatenate([*pieces, np.zeros_like(state.sums)[None]])[::-1]
        before = np.cumsum(backwards, axis=0)[::-1]
        return state._replace(frames=frames, before=before, sums=np.zeros_like(state.sums), pieces=()), result

    def _normalise(self, part: Array, sums: Sums, first: int) -> Sums:
        """The frames from number `first` on, by the sums over the last `window` frames of each."""
        count = np.minimum(np.arange(first + 1, first + 1 + len(part)), self.window)
        if self.prior is not None and count[0] < self.window:
            mean, std = self.prior.like(part.shape)
            added = np.minimum(self.window - count, self.prior_frames)
            prior = np.stack([mean, np.square(std) + np.square(mean)])[: 1 + self.variance]
            sums = sums + added.reshape(-1, *[1] * prior.ndim) * prior
            count = count + added
        means = sums / count.reshape(-1, *[1] * (sums.ndim - 1))
        centred: Sums = part - means[:, 0]
        if self.variance:
            squares = np.maximum(means[:, 1] - np.square(means[:, 0]), 0)
            centred /= np.maximum(np.sqrt(squares), self.epsilon)
        return centred
