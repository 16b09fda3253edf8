"""What the CTC search makes of its input first: scaled, with the tokens that are not to be considered removed."""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Input = Literal["log_probs", "logits"]
Floats = NDArray[np.float64]


class Frames(NamedTuple):
    """T frames, each divided by its greatest probability."""

    log_probs: Floats  # (T, V); the greatest of each frame is 0, -inf is impossible
    level: Floats  # (T,) what was divided by: the log-probability of the frame's best token


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """The options of `CtcBeam` that concern single frames; it says what they do."""

    input: Input = "log_probs"
    token_min_log_prob: float | None = None
    top_k: int | None = None
    cumulative: float | None = None

    def __call__(self, array: NDArray[np.floating[Any]], /) -> Frames:
        """(T, V) log-probabilities or logits -> frames, in float64. No frame may be impossible."""
        peak = array.max(axis=1, keepdims=True).astype(np.float64)
        frames = np.subtract(array, peak, dtype=np.float64)
        level = peak if self.input == "log_probs" else -np.log(np.exp(frames).sum(axis=1, keepdims=True))
        keep = []
        if self.token_min_log_prob is not None:
            keep.append(np.minimum(self.token_min_log_prob - level, 0.0))
        if self.top_k is not None and self.top_k < array.shape[1]:
            keep.append(np.partition(frames, -self.top_k, axis=1)[:, -self.top_k, None])
        if self.cumulative is not None:
            keep.append(self._last_needed(frames, level, self.cumulative))
        if keep:
            frames[frames < np.maximum.reduce(keep)] = -np.inf
        return Frames(frames, level[:, 0])

    @staticmethod
    def _last_needed(frames: Floats, level: Floats, cumulative: float) -> Floats:
        """(T, 1) the least of the best tokens whose probabilities add up to `cumulative`."""
        needed = np.zeros_like(level)
        unsure = np.flatnonzero(np.exp(level[:, 0]) < cumulative)  # elsewhere the best is enough
        ordered = np.sort(frames[unsure], axis=1)[:, ::-1]
        mass = np.exp(ordered + level[unsure]).cumsum(axis=1)
        count = np.minimum((mass < cumulative).sum(axis=1), mass.shape[1] - 1)
        needed[unsure, 0] = ordered[np.arange(unsure.size), count]
        return needed
