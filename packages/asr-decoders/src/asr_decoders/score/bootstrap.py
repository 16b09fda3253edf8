"""How far to trust a rate, and a difference of two (Bisani & Ney 2004, "Bootstrap estimates for confidence intervals
in ASR performance evaluation").

A corpus as large is drawn from the utterances with replacement, again and again; the spread of its rate is that of
the rate. What is drawn must be independent: where a speaker has many utterances, give sums of speakers instead.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from asr_decoders.score.counts import Errors

DRAWN = 1 << 20  # utterances drawn at once, 8 MB an array
Counts = NDArray[np.int64]
Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Confidence:
    """A rate, or a difference of two, and where it lies with probability `level`."""

    value: float
    low: float
    high: float
    deviation: float
    """The standard error: the standard deviation over the resamples."""
    level: float
    resamples: int


@dataclass(frozen=True)
class Comparison:
    """A second system against a first one, on the same references."""

    first: float
    second: float
    """The two rates."""
    difference: Confidence
    """second - first: below 0 the second is better."""
    probability: float
    """That the second is better: the share of resamples in which it is, those with equal rates counting half."""


def confidence(
    utterances: Sequence[Errors], *, seed: int | np.random.Generator, level: float = 0.95, resamples: int = 1000
) -> Confidence:
    """The interval of a corpus rate: what `level` of the resamples leave out as much below as above.

    utterances: the errors of each one, or of each speaker.

    Raises ValueError where there are no utterances, and for a level not between 0 and 1.
    """
    counts = _counts(utterances)
    rates = _resampled(counts, lambda sums: _rate(sums[0], sums[1]), seed, resamples)
    return _interval(float(_rate(*counts.sum(axis=1))), rates, level)


def compare(
    first: Sequence[Errors],
    second: Sequence[Errors],
    *,
    seed: int | np.random.Generator,
    level: float = 0.95,
    resamples: int = 1000,
) -> Comparison:
    """Two systems on the same utterances, both resampled alike: what is hard for both does not blur the difference.

    first, second: the errors of each utterance, in the same order.

    Raises ValueError as `confidence`, and where the two are not of the same references.
    """
    one, two = _counts(first), _counts(second)
    if one.shape != two.shape:
        raise ValueError(f"the same utterances expected, got {len(first)} and {len(second)}")
    differing = np.flatnonzero(one[1] != two[1])
    if differing.size:
        n = int(differing[0])
        raise ValueError(
            f"the same references in the same order expected, got {one[1, n]} and {two[1, n]} units at index {n}"
        )
    both = np.stack([one[0], two[0], one[1]])
    totals = both.sum(axis=1)
    rates = float(_rate(totals[0], totals[2])), float(_rate(totals[1], totals[2]))
    changes = _resampled(both, lambda sums: _rate(sums[1] - sums[0], sums[2]), seed, resamples)
    better = float(np.mean((changes < 0) + 0.5 * (changes == 0)))
    return Comparison(*rates, _interval(rates[1] - rates[0], changes, level), better)


def _counts(utterances: Sequence[Errors]) -> Counts:
    """(2, N): the errors and the reference units of each utterance."""
    if not utterances:
        raise ValueError("at least one utterance expected, got none")
    return np.array([[one.total for one in utterances], [one.reference for one in utterances]], np.int64)


def _rate(errors: Counts, reference: Counts) -> Numbers:
    """As `Errors.rate`: without reference units there is one."""
    return np.asarray(errors / np.maximum(reference, 1), np.float64)


def _resampled(
    counts: Counts, statistic: Callable[[Counts], Numbers], seed: int | np.random.Generator, resamples: int
) -> Numbers:
    """The statistic of the sums (rows of counts, B) of B corpora drawn from the N columns of counts."""
    if resamples < 1:
        raise ValueError(f"resamples must be at least 1, got {resamples}")
    rng = np.random.default_rng(seed)
    size = counts.shape[1]
    step = max(DRAWN // size, 1)
    parts = []
    for start in range(0, resamples, step):
        drawn = rng.integers(size, size=(min(step, resamples - start), size))
        parts.append(statistic(np.stack([row[drawn].sum(axis=1) for row in counts])))
    return np.concatenate(parts)


def _interval(value: float, drawn: Numbers, level: float) -> Confidence:
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, got {level}")
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Confidence(value, float(low), float(high), float(drawn.std()), level, len(drawn))
