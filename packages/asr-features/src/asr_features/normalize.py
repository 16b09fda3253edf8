"""Mean and variance normalisation."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import checks
from .interfaces import Floats


@dataclass(frozen=True, kw_only=True)
class UtteranceNorm:
    """Zero mean and unit variance of every feature over the utterance's own frames.

    `(T, F)` or `(T, F, C)` to the same shape, float32. The divisor is the larger of the standard deviation
    and `epsilon`, so what never changes (a single frame, digital silence) becomes 0. No frames stay no
    frames.
    """

    epsilon: float = 1e-5

    def __post_init__(self) -> None:
        """Raises ValueError for an epsilon of zero or less."""
        checks.at_least("epsilon", self.epsilon, 1e-30)

    def __call__(self, features: ArrayLike, /) -> Floats:
        """The normalised features; the argument is left as it was."""
        array = np.asarray(features, np.float32)
        if len(array) == 0:
            return array.copy()
        centred = array - array.mean(axis=0, dtype=np.float64)
        deviation = np.sqrt(np.square(centred).mean(axis=0))
        return np.asarray(centred / np.maximum(deviation, self.epsilon), np.float32)


@dataclass(frozen=True, kw_only=True)
class GlobalNorm:
    """(x - mean) / std, each feature's own, estimated over a corpus: `(T, F)` to `(T, F)` float32."""

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

    def __call__(self, features: ArrayLike, /) -> Floats:
        """The normalised features; the argument is left as it was. Raises ValueError when F differs."""
        array = np.asarray(features, np.float32)
        if array.ndim != 2 or array.shape[1] != len(self.mean):
            raise ValueError(
                f"features: expected shape (T, {len(self.mean)}) as the statistics have, got {array.shape}"
            )
        return np.asarray((array - np.array(self.mean, np.float32)) / np.array(self.std, np.float32))

    @classmethod
    def estimate(cls, utterances: Iterable[ArrayLike], *, epsilon: float = 1e-5) -> "GlobalNorm":
        """The statistics of all frames of the utterances, each `(T, F)`, read once and kept in float64.

        Deviations under `epsilon` become `epsilon`. Utterances are merged by the update of Chan, Golub and
        LeVeque (1979), which does not cancel as plain sums of squares do. Raises ValueError when there is no
        frame or F differs.
        """
        checks.at_least("epsilon", epsilon, 1e-30)
        count, mean, squares = 0, np.zeros(()), np.zeros(())
        for number, utterance in enumerate(utterances):
            array: NDArray[np.float64] = np.asarray(utterance, np.float64)
            if array.ndim != 2 or (count and array.shape[1:] != mean.shape):
                expected = f"(T, {len(mean)})" if count else "(T, F)"
                raise ValueError(f"utterance {number}: expected shape {expected}, got {array.shape}")
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
        return cls(mean=tuple(mean), std=tuple(np.maximum(np.sqrt(squares / count), epsilon)))
