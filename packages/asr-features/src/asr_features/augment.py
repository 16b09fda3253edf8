"""SpecAugment: time warp, frequency masks and time masks on features.

Park et al., SpecAugment: A Simple Data Augmentation Method for Automatic Speech Recognition (2019a), and SpecAugment
on Large Scale Datasets (2019b), whose piecewise linear warp this is.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import checks
from .interfaces import Floats
from .philox import Words, at_most, keys_of, philox4x32

FILLS = ("mean", "zero")

MILLION = 1_000_000
MOST_SEED = (1 << 63) - 1
MOST_FRAMES = (1 << 31) - 1

Ints = NDArray[np.int64]

# Generator is annotated in quotes: numpy loads its random module, a third of our import, when it is named.


class Spans(NamedTuple):
    """What SpecAugment does, in whole numbers; dimensions before these are those of the seeds."""

    warp: Ints
    """`(..., 2)`: the frame that moves, and where it goes; equal when nothing moves."""
    freq: Ints
    """`(..., m_F, 2)`: the first feature of each mask and the first one behind it."""
    time: Ints
    """`(..., m_T, 2)`: the first frame of each mask and the first one behind it."""


@dataclass(frozen=True, kw_only=True)
class SpecAugment:
    """Warps and masks features: `(features, seed) -> features`.

    `(T, F)` or `(T, F, C)` float32 to a new array of the same shape: no frame is added or removed, so lengths
    stay. In the papers' letters, with tau = T frames:

    - `time_warp` W: a frame drawn from those more than W from either end moves by -W to W frames, the frames
      on either side are stretched linearly, and the ends stay. Where no frame is that far from both ends
      (2 W + 2 frames or fewer) nothing is warped: a smaller W would bend short utterances the most.
    - `freq_masks` m_F masks, each over 0 to `freq_width` F adjacent features.
    - `time_masks` m_T masks, each over 0 to min(`time_width` T, floor(`time_ratio` p * tau)) adjacent frames.
      Adaptive size: `time_width=None` leaves the ratio alone as the bound, p_S of 2019b.
    - Adaptive number: with `time_masks_ratio` p_M there are min(m_T, floor(p_M * tau)) time masks.

    Widths and positions are uniform and inclusive; masks may overlap. A mask is filled with the utterance's
    mean before the warp (one number per channel) or with zero, the same for features that are normalised.

    Seeds are ints from 0 to 2^63 - 1. An utterance's warp and masks depend on its seed, T and F alone, and are
    the same alone, in any batch and under any padding, in numpy and in TensorFlow. Ratios are taken to the
    nearest millionth, so that floor(p * tau) is exact.
    """

    time_warp: int = 0
    freq_width: int = 27
    freq_masks: int = 2
    time_width: int | None = 100
    time_ratio: float = 1.0
    time_masks: int = 2
    time_masks_ratio: float | None = None
    fill: str = "mean"

    def __post_init__(self) -> None:
        """Raises ValueError for a width or count below 0, a ratio outside [0, 1], or an unknown fill."""
        for name in ("time_warp", "freq_width", "freq_masks", "time_masks"):
            _count(name, getattr(self, name))
        if self.time_width is not None:
            _count("time_width", self.time_width)
        _ratio("time_ratio", self.time_ratio)
        if self.time_masks_ratio is not None:
            _ratio("time_masks_ratio", self.time_masks_ratio)
        checks.one_of("fill", self.fill, FILLS)

    def __call__(self, features: ArrayLike, seed: "int | np.random.Generator") -> Floats:
        """The augmented features. A generator draws the seed, the same from the same state.

        Raises ValueError for features of another rank, or a seed out of range.
        """
        array = np.ascontiguousarray(features, np.float32)
        if array.ndim not in (2, 3):
            raise ValueError(f"features: expected shape (T, F) or (T, F, C), got {array.shape}")
        if not isinstance(seed, int) and isinstance(seed, np.random.Generator):
            seed = int(seed.integers(MOST_SEED, endpoint=True))
        spans = self.masks(array.shape[0], array.shape[1], seed)
        out = np.empty_like(array)
        _augment(array, spans, self.fill, out)
        return out

    def batch(self, features: ArrayLike, lengths: ArrayLike, seeds: ArrayLike) -> Floats:
        """`(B, T, F)` or `(B, T, F, C)`, lengths `(B,)` and seeds `(B,)` to new features of the same shape.

        Every utterance is what it would be alone; padding is left as it was. Raises ValueError for shapes that
        do not fit, lengths outside 0 to T, or seeds out of range.
        """
        array = np.ascontiguousarray(features, np.float32)
        if array.ndim not in (3, 4):
            raise ValueError(f"features: expected shape (B, T, F) or (B, T, F, C), got {array.shape}")
        own, seeds = np.asarray(lengths), np.asarray(seeds)
        if own.shape != array.shape[:1] or seeds.shape != array.shape[:1]:
            raise ValueError(
                f"lengths, seeds: expected shape {array.shape[:1]} as the batch, got {own.shape} and {seeds.shape}"
            )
        own = _whole("lengths", own, array.shape[1])
        spans = self.masks(own, array.shape[2], seeds)
        out = np.empty_like(array)
        for row, count in enumerate(own.tolist()):
            _augment(array[row, :count], Spans(*(span[row] for span in spans)), self.fill, out[row, :count])
            out[row, count:] = array[row, count:]
        return out

    def masks(self, frames: ArrayLike, dim: int, seed: ArrayLike) -> Spans:
        """What would be done to `(frames, dim)` features: one utterance, or `(B,)` of both frames and seeds.

        Raises ValueError for a seed out of range, or frames or a dim below 0.
        """
        tau, size = _whole("frames", frames, MOST_FRAMES), _whole("dim", dim, MOST_FRAMES)
        words = philox4x32(counters(self), keys_of(_whole("seed", seed, MOST_SEED))[..., None, :])
        first, second = words[..., 0], words[..., 1]
        split = 1 + self.freq_masks

        places = tau - 2 * self.time_warp - 2
        point = self.time_warp + 1 + at_most(first[..., 0], np.maximum(places, 1) - 1)
        moved = point - self.time_warp + at_most(second[..., 0], 2 * self.time_warp)
        warp = np.where((places > 0)[..., None], np.stack([point, moved], axis=-1), 0)

        freq = _draw(first[..., 1:split], second[..., 1:split], np.minimum(self.freq_width, size), size)

        widest = tau * per_million(self.time_ratio) // MILLION
        if self.time_width is not None:
            widest = np.minimum(widest, self.time_width)
        time = _draw(first[..., split:], second[..., split:], widest[..., None], tau[..., None])
        if self.time_masks_ratio is not None:
            number = tau * per_million(self.time_masks_ratio) // MILLION
            time = np.where((np.arange(self.time_masks) < number[..., None])[..., None], time, 0)
        return Spans(warp, freq, time)


def counters(policy: SpecAugment) -> Words:
    """The counters `(1 + m_F + m_T, 4)` of an utterance: of its warp, its frequency masks and its time masks.

    The last word tells the kinds apart, so that one mask more leaves all others as they were. Each counter
    gives two draws: frame and shift, or width and start.
    """
    kinds = [(1, 1), (2, policy.freq_masks), (3, policy.time_masks)]
    return np.array([(n, 0, 0, kind) for kind, count in kinds for n in range(count)], np.uint32)


def per_million(ratio: float) -> int:
    """The ratio in millionths, in which products with frames are exact."""
    return round(ratio * MILLION)


def _count(name: str, value: Any) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{name}: expected an int of at least 0, got {value!r}")


def _ratio(name: str, value: Any) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 1:
        raise ValueError(f"{name}: expected a number from 0 to 1, got {value!r}")


def _whole(name: str, values: ArrayLike, most: int) -> Ints:
    array = np.asarray(values)
    if array.size and (array.dtype.kind not in "iu" or array.min() < 0 or array.max() > most):
        raise ValueError(f"{name}: expected ints from 0 to {most}, got {array.tolist()!r}")
    return array.astype(np.int64)


def _draw(first: Words, second: Words, widest: Ints, size: Ints) -> Ints:
    width = at_most(first, widest)
    start = at_most(second, size - width)
    return np.stack([start, start + width], axis=-1)


def _augment(features: Floats, spans: Spans, fill: str, out: Floats) -> None:
    """One utterance `(T, F)` or `(T, F, C)`, contiguous, into `out`."""
    if not features.size:
        return
    frames, dim = features.shape[:2]
    channels = features.size // (frames * dim)
    # Feature and channel are one axis: every operation is then on few long rows.
    rows, out = features.reshape(frames, -1), out.reshape(frames, -1)
    point, moved = spans.warp.tolist()
    if point == moved:
        out[...] = rows
    else:
        _warp(rows, point, moved, out)
    value = np.zeros(channels, np.float32)
    if fill == "mean":
        value[:] = [rows[:, channel::channels].mean() for channel in range(channels)]
    values = np.tile(value, dim)
    for start, stop in (spans.freq * channels).tolist():
        out[:, start:stop] = values[start:stop]
    for start, stop in spans.time.tolist():
        out[start:stop] = values


def _warp(rows: Floats, point: int, moved: int, out: Floats) -> None:
    """Rows `(T, D)` with frame `point` moved to `moved`, into `out`."""
    last = len(rows) - 1
    time = np.arange(last + 1)
    right = time >= moved
    rise = np.where(right, (time - moved) * (last - point), time * point)
    run = np.where(right, last - moved, moved)
    before, rest = rise // run + np.where(right, point, 0), rise % run
    weight = (rest / run).astype(np.float32)
    # "clip": behind the last frame, whose weight is zero, comes itself; and only "raise" would buffer `out`.
    rows.take(before, axis=0, out=out, mode="clip")
    after = rows.take(before + 1, axis=0, mode="clip")
    after -= out
    after *= weight[:, None]
    out += after


POLICIES: dict[str, SpecAugment] = {
    "LB": SpecAugment(time_warp=80, freq_width=27, freq_masks=1, time_width=100, time_ratio=1.0, time_masks=1),
    "LD": SpecAugment(time_warp=80, freq_width=27, freq_masks=2, time_width=100, time_ratio=1.0, time_masks=2),
    "SM": SpecAugment(time_warp=40, freq_width=15, freq_masks=2, time_width=70, time_ratio=0.2, time_masks=2),
    "SS": SpecAugment(time_warp=40, freq_width=27, freq_masks=2, time_width=70, time_ratio=0.2, time_masks=2),
    "adaptive": SpecAugment(
        time_warp=80,
        freq_width=27,
        freq_masks=2,
        time_width=None,
        time_ratio=0.04,
        time_masks=20,
        time_masks_ratio=0.04,
    ),
}
"""The papers' policies: LibriSpeech basic and double, Switchboard mild and strong (2019a, table 1), and LD with
time masks whose size and number follow the length, LibriFullAdapt of 2019b."""
