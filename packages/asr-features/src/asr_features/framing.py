"""Where frames lie: how many a signal has, what lies beyond its ends, which are final before it has ended."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .interfaces import Array

FRAMINGS: dict[str, str | None] = {
    "snip": None,
    "mirror": "symmetric",
    "center": "constant",
    "reflect": "reflect",
    "center-floor": "constant",
    "reflect-floor": "reflect",
    "pad-end": "constant",
    "cover": "constant",
}
"""The framings, and how each continues the signal beyond its ends, as `numpy.pad` names it."""

MIRRORED = frozenset(kind for kind, mode in FRAMINGS.items() if mode in ("symmetric", "reflect"))


class Framing(NamedTuple):
    """One way of cutting frames of `length` samples, one every `shift`; frame t begins at t * shift - left."""

    kind: str
    """A name of `FRAMINGS`."""
    length: int
    shift: int
    left: int
    """How many samples the first frame begins before the signal."""

    def num_frames(self, samples: int) -> int:
        """T for N samples; raises ValueError for N below 0."""
        if samples < 0:
            raise ValueError(f"num_samples: expected at least 0, got {samples}")
        if self.kind == "snip":
            return max(0, 1 + (samples - self.length) // self.shift)
        if self.kind == "mirror":
            return (samples + self.shift // 2) // self.shift
        if self.kind in ("center", "reflect"):
            return 1 + samples // self.shift if samples else 0
        if self.kind == "pad-end":
            return -(-samples // self.shift)
        if self.kind == "cover":
            return 1 + max(0, -((self.length - samples) // self.shift)) if samples else 0
        return samples // self.shift

    def final(self, samples: int) -> int:
        """How many frames of a signal that has come this far no later sample can change."""
        if self.kind == "snip":
            return self.num_frames(samples)
        if self.kind in MIRRORED and self.left and samples <= self.left:
            return 0
        whole = max(0, 1 + (samples + self.left - self.length) // self.shift)
        return min(whole, self.num_frames(samples))

    def oldest(self, frames: int, samples: int) -> int:
        """The first sample that anything after the first `frames` frames can need, of a signal come this far.

        That is the beginning of the next frame, or what its end mirrors if the signal ends here; and one
        sample more, for pre-emphasis.
        """
        needed = frames * self.shift - self.left
        if self.kind in MIRRORED:
            needed = min(needed, samples - (self.length - self.left) - 1)
        return needed - 1 if needed > 1 else 0

    def extended(self, read: Callable[[int, int], Array], samples: int, first: int, stop: int) -> Array:
        """Samples first .. stop - 1 of the signal as it is continued beyond its ends, contiguous.

        `read(a, b)` gives samples a .. b - 1 of the signal itself, 0 <= a <= b <= samples; what it gives is
        returned as it is when nothing lies beyond.
        """
        if first >= 0 and stop <= samples:
            return read(first, stop)
        low, high = min(max(first, 0), samples), max(0, min(stop, samples))
        inside = read(low, max(low, high))
        out = np.zeros(stop - first, inside.dtype)
        out[low - first : low - first + len(inside)] = inside
        if self.kind in MIRRORED:
            beyond = np.concatenate([np.arange(first, low), np.arange(max(low, high), stop)])
            index = self._fold(beyond, samples)
            base = int(index.min())
            out[beyond - first] = read(base, int(index.max()) + 1)[index - base]
        return out

    def _fold(self, position: NDArray[np.int64], samples: int) -> NDArray[np.int64]:
        """The sample that each position shows, mirrored at both ends as often as it takes."""
        if FRAMINGS[self.kind] == "symmetric":
            position = position % (2 * samples)
            return np.minimum(position, 2 * samples - 1 - position)
        period = max(2 * (samples - 1), 1)
        position = position % period
        return np.minimum(position, period - position)


def left_padding(kind: str, length: int, shift: int, fft_size: int) -> int:
    """How many samples the first frame begins before the signal.

    "center" and "reflect" centre the FFT's frame, and the window within it, as librosa and PyTorch do.
    """
    if kind == "mirror":
        return length // 2 - shift // 2
    if kind in ("snip", "pad-end", "cover"):
        return 0
    return fft_size // 2 - (fft_size - length) // 2
