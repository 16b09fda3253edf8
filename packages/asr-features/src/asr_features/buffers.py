"""The memory that blocks of frames are computed in."""

import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .banded import GROUP, products
from .interfaces import Array
from .plan import BLOCK_GROUP, FFT_GROUP, Plan

MOST_BLOCKS = 64
"""The lengths of blocks whose views are kept: a stream has a few."""


class Block(NamedTuple):
    """The buffers as so many frames use them. A push of a stream is so short that making these views would count."""

    plan: Plan
    num_frames: int
    emphasised: Array
    """The samples of the frames, pre-emphasised."""
    shifted: Array
    """As many but for the first, to compute with."""
    emphasised_frames: Array
    windowed: Array
    """The windowed frames with the padding of the FFT, in whole groups for it."""
    frames: Array
    """The frames in it, `(count, W)`."""
    beyond: Array
    """Its rows after them."""
    groups: Array
    """A group a row."""
    power: Array
    """Of all rows of `windowed`."""
    unused: Array
    """The rows that are missing to whole groups for the matrix products."""
    filters: tuple[Callable[[], Any], ...]
    """The products of the power with the mel filters; their result is `energies`."""
    energies: Array
    """`(count, M)`."""
    beyond_energies: Array
    """The rows after them in whole groups."""
    floors: Array | None
    cosines: tuple[Callable[[], Any], ...]
    """The products of the energies with the cosine transform; their result is `cepstra`."""
    cepstra: Array


class Buffers(NamedTuple):
    """Room for blocks of at most so many frames."""

    plan: Plan
    samples: Array
    shifted: Array
    windowed: Array
    power: Array
    energies: Array
    cepstra: Array
    blocks: dict[int, Block]

    def block(self, count: int) -> Block:
        """What `count` frames use."""
        block = self.blocks.get(count)
        if block is None:
            if len(self.blocks) >= MOST_BLOCKS:
                self.blocks.clear()
            block = self.blocks[count] = self._views(count)
        return block

    def _views(self, count: int) -> Block:
        plan, whole, rows = self.plan, round_up(count, FFT_GROUP), round_up(count)
        length = (count - 1) * plan.framing.shift + plan.framing.length
        windowed, energies = self.windowed[:whole], self.energies[:count]
        return Block(
            plan=plan,
            num_frames=count,
            emphasised=self.samples[:length],
            shifted=self.shifted[: length - 1],
            emphasised_frames=frames_of(plan, self.samples, count),
            windowed=windowed,
            frames=windowed[:count, : plan.framing.length],
            beyond=windowed[count:],
            groups=windowed.reshape(-1, plan.window.size),
            power=self.power[:whole],
            unused=self.power[min(whole, rows) : rows],
            filters=products(self.power[:rows], plan.bands, self.energies[:rows]),
            energies=energies,
            beyond_energies=self.energies[count:rows],
            floors=None if plan.floors is None else plan.floors[: energies.size].reshape(energies.shape),
            cosines=products(self.energies[:rows], plan.cepstra, self.cepstra[:rows]),
            cepstra=self.cepstra[:count],
        )


_KEPT = threading.local()


def borrow(plan: Plan, count: int) -> Buffers:
    """Buffers for so many frames, or for a block of them: those that this thread gave back last if they fit.

    Fresh memory costs the system more than many of the steps that fill it.
    """
    kept: Buffers | None = _KEPT.__dict__.pop("buffers", None)  # taken away: a call within this one makes its own
    if kept is not None and kept.plan is plan and len(kept.windowed) >= min(count, plan.rows):
        return kept
    rows = min(plan.rows, round_up(count, BLOCK_GROUP))
    length = (rows - 1) * plan.framing.shift + plan.framing.length
    bins = plan.fft_size // 2 + 1
    # The power is computed when the samples are done with, and takes their place in the cache.
    scratch = np.zeros(max(2 * length, rows * bins), plan.dtype)
    power = scratch[: rows * bins].reshape(rows, bins)
    return Buffers(
        plan=plan,
        samples=scratch[:length],
        shifted=scratch[length : 2 * length],
        windowed=np.zeros((rows, plan.fft_size), plan.dtype),  # zero beyond the frame: the padding of the FFT
        power=power,
        energies=np.zeros((rows, plan.bands[-1].stop), plan.dtype) if plan.bands else power,
        cepstra=np.zeros((rows, plan.cepstra[-1].stop if plan.cepstra else 0), plan.dtype),
        blocks={},
    )


def give_back(buffers: Buffers) -> None:
    """The buffers are free for the next call of this thread."""
    _KEPT.buffers = buffers


def round_up(count: int, group: int = GROUP) -> int:
    """So many rows in whole groups."""
    return -(-count // group) * group


def frames_of(plan: Plan, samples: Array, count: int) -> Array:
    """The first `count` frames of a contiguous signal, a view for reading: its rows overlap."""
    # What numpy.lib.stride_tricks.as_strided gives, in a tenth of its time.
    return np.ndarray((count, plan.framing.length), plan.dtype, samples, 0, plan.strides)
