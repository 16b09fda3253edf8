"""Which utterances share a batch: settled for a whole epoch from durations and a seed alone.

So an epoch can be had again when a run is resumed, a step number says where in the data a run is, and no batch depends
on how many workers share it. Nothing here loads TensorFlow.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Ints = NDArray[np.int32]
Doubles = NDArray[np.float64]

GRID = 256
"""Candidates for the edges of buckets: so many quantiles of the durations."""


class Shape(NamedTuple):
    """The size of a global batch, B x T x U."""

    rows: int
    frames: int
    labels: int


def edges(seconds: ArrayLike, buckets: int) -> Doubles:
    """The longest duration of each of at most `buckets` ranges, ascending, with the least padding.

    If every utterance is padded to its range's longest, the padding of all is least: found by dynamic programming
    over 256 quantiles of the durations.
    """
    ordered = np.sort(np.asarray(seconds, np.float64))
    places = np.unique(np.ceil(np.linspace(0, len(ordered), GRID + 1)[1:]).astype(int)) - 1
    ends = np.unique(ordered[places])
    # below[n]: how many are no longer than the end before number n
    below = np.concatenate([[0], np.searchsorted(ordered, ends, side="right")])
    # cost[a, b]: padded seconds of a range behind end a - 1, up to end b
    cost = np.where(np.tri(len(ends), k=-1, dtype=bool), np.inf, ends * (below[1:] - below[:-1, None]))
    best, froms = cost[0], []
    for _ in range(min(buckets, len(ends)) - 1):
        # the range that ends at b begins right behind end a
        total = best[:, None] + np.vstack([cost[1:], np.full(len(ends), np.inf)])
        froms.append(np.argmin(total, axis=0))
        best = np.minimum(best, total.min(axis=0))
        froms[-1] = np.where(best < total.min(axis=0), -1, froms[-1])  # one range fewer is as good
    chosen, end = [len(ends) - 1], len(ends) - 1
    for back in reversed(froms):
        if back[end] >= 0:
            end = int(back[end])
            chosen.append(end)
    return ends[chosen[::-1]]


def rows_within(longest: float, batch_seconds: float) -> int:
    """How many utterances of that duration make a batch; an utterance longer than a batch is one alone."""
    return max(1, int(batch_seconds / longest + 1e-9))


def plan(
    seconds: ArrayLike,
    *,
    batch_seconds: float,
    buckets: int = 1,
    rng: np.random.Generator | None = None,
    bounds: Doubles | None = None,
) -> list[Ints]:
    """Divide utterances of similar duration into batches of at most `batch_seconds`, padding included.

    Args:
        seconds: `(N,)`, the duration of each utterance.
        batch_seconds: an utterance longer than this makes a batch of its own.
        buckets: durations are cut into so many ranges, shuffled within each; the longest of a range that are too
            few for one more batch go to the next range.
        rng: shuffles utterances and batches. Without it, and without `bounds`: by duration, longest first.
        bounds: the ranges' longest durations, where they are settled (`edges`); those of `seconds` otherwise.

    Returns:
        The rows of each batch; every row is in exactly one.
    """
    seconds = np.asarray(seconds, np.float64)
    if rng is None and bounds is None:
        return _by_duration(seconds, batch_seconds)
    bounds = edges(seconds, buckets) if bounds is None else bounds
    bucket = np.searchsorted(bounds, seconds)
    planned: list[Ints] = []
    left = np.zeros(0, np.int32)
    for number, longest in enumerate(bounds):
        rows = np.concatenate([left, np.flatnonzero(bucket == number).astype(np.int32)])
        rows = rows[np.argsort(seconds[rows], kind="stable")]
        size = rows_within(float(longest), batch_seconds)
        rows, left = np.split(rows, [len(rows) // size * size])
        planned += list((rows if rng is None else rng.permutation(rows)).reshape(-1, size))
    planned += [left] if len(left) else []
    return planned if rng is None else [planned[n] for n in rng.permutation(len(planned))]


def _by_duration(seconds: Doubles, batch_seconds: float) -> list[Ints]:
    """As few batches as there can be; nothing is random."""
    order = np.argsort(-seconds, kind="stable").astype(np.int32)
    planned, begin = [], 0
    while begin < len(order):
        size = rows_within(float(seconds[order[begin]]), batch_seconds)
        planned.append(order[begin : begin + size])
        begin += size
    return planned


def padding_share(seconds: Sequence[float], planned: Sequence[Ints]) -> float:
    """The share of a plan's frames that are padding, each batch padded to its longest."""
    real = sum(float(np.sum(np.take(seconds, rows))) for rows in planned)
    padded = sum(float(np.max(np.take(seconds, rows))) * len(rows) for rows in planned)
    return 1 - real / padded if padded else 0.0


def shard_of(rows: Ints, size: int, shard: tuple[int, int]) -> Ints:
    """Rows of a global batch, filled with -1 to `size` or a little more, -> the equal part of one of `count` workers.

    Args:
        rows: `(n,)`, n at most `size`.
        size: the batch's rows when it is full.
        shard: (index, count).
    """
    index, count = shard
    each = -(-max(size, len(rows)) // count)
    filled = np.full(each * count, -1, np.int32)
    filled[: len(rows)] = rows
    return filled[index * each : (index + 1) * each]


def draws(choices: int, *, seed: int, epoch: int, rows: ArrayLike, what: int = 0) -> Ints:
    """Which of so many choices falls to each row: a function of (seed, epoch, row, what) alone.

    SplitMix64 (Steele, Lea and Flood, Fast Splittable Pseudorandom Number Generators, 2014) of the row.
    """
    key = np.random.SeedSequence([seed, epoch, what]).generate_state(1, np.uint64)
    with np.errstate(over="ignore"):
        word = key + (np.atleast_1d(np.asarray(rows)).astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    word ^= word >> np.uint64(31)
    return ((word >> np.uint64(11)) % np.uint64(choices)).astype(np.int32)
