"""SpecAugment: time warp, frequency masks and time masks on features."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from . import checks
from .interfaces import Floats

FILLS = ("mean", "zero")

# Generator is annotated in quotes: numpy loads its random module, a third of our import, when it is named.


@dataclass(frozen=True, kw_only=True)
class SpecAugment:
    """Masks and warps the features of one utterance: `(features, rng) -> features` (Park et al., 2019).

    `(T, F)` or `(T, F, C)` float32 to a new array of the same shape: no frame is added or removed, so lengths
    stay.

    - Time warp, W = `time_warp`: a frame drawn from those more than W from either end moves by -W to W
      frames, and the frames on either side of it are stretched linearly. Utterances of 2 W + 2 frames or
      fewer are not warped.
    - `freq_masks` masks, each over 0 to `freq_width` adjacent features (at most F).
    - `time_masks` masks, each over 0 to `time_width` adjacent frames, at most `time_ratio` * T.

    Widths and positions are uniform and inclusive; masks may overlap. A mask is filled with the utterance's
    mean (one number per channel) or with zero, which is the same for features that are normalised.
    """

    time_warp: int = 0
    freq_width: int = 27
    freq_masks: int = 2
    time_width: int = 100
    time_ratio: float = 1.0
    time_masks: int = 2
    fill: str = "mean"

    def __post_init__(self) -> None:
        """Raises ValueError for a width or count below 0, a ratio outside [0, 1], or an unknown fill."""
        for name in ("time_warp", "freq_width", "freq_masks", "time_width", "time_masks"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 0:
                raise ValueError(f"{name}: expected an int of at least 0, got {value!r}")
        if not isinstance(self.time_ratio, int | float) or not 0 <= self.time_ratio <= 1:
            raise ValueError(f"time_ratio: expected a number from 0 to 1, got {self.time_ratio!r}")
        checks.one_of("fill", self.fill, FILLS)

    def __call__(self, features: ArrayLike, rng: "np.random.Generator") -> Floats:
        """The augmented features. The same generator state gives the same result."""
        result = np.array(features, np.float32)
        if result.ndim not in (2, 3):
            raise ValueError(f"features: expected shape (T, F) or (T, F, C), got {result.shape}")
        frames, dim = result.shape[:2]
        if not result.size:
            return result
        if self.time_warp:
            result = _warp(result, self.time_warp, rng)
        value = result.mean(axis=(0, 1)) if self.fill == "mean" else np.float32(0)
        for _ in range(self.freq_masks):
            result[:, _span(min(self.freq_width, dim), dim, rng)] = value
        widest = min(self.time_width, int(self.time_ratio * frames))
        for _ in range(self.time_masks):
            result[_span(widest, frames, rng)] = value
        return result


def _span(widest: int, size: int, rng: "np.random.Generator") -> slice:
    width = int(rng.integers(0, widest, endpoint=True))
    start = int(rng.integers(0, size - width, endpoint=True))
    return slice(start, start + width)


def _warp(features: Floats, most: int, rng: "np.random.Generator") -> Floats:
    last = len(features) - 1
    if last <= 2 * most + 1:
        return features
    point = int(rng.integers(most + 1, last - most))
    moved = point + int(rng.integers(-most, most, endpoint=True))
    source = np.interp(np.arange(last + 1), [0, moved, last], [0, point, last])
    before = np.minimum(source.astype(np.intp), last - 1)
    weight = (source - before).astype(np.float32).reshape(-1, *[1] * (features.ndim - 1))
    return np.asarray(features[before] + weight * (features[before + 1] - features[before]), np.float32)


POLICIES: dict[str, SpecAugment] = {
    "LB": SpecAugment(time_warp=80, freq_width=27, freq_masks=1, time_width=100, time_ratio=1.0, time_masks=1),
    "LD": SpecAugment(time_warp=80, freq_width=27, freq_masks=2, time_width=100, time_ratio=1.0, time_masks=2),
    "SM": SpecAugment(time_warp=40, freq_width=15, freq_masks=2, time_width=70, time_ratio=0.2, time_masks=2),
    "SS": SpecAugment(time_warp=40, freq_width=27, freq_masks=2, time_width=70, time_ratio=0.2, time_masks=2),
}
"""The paper's policies (its table 1): LibriSpeech basic and double, Switchboard mild and strong."""
