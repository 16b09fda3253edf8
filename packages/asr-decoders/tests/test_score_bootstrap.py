"""Intervals of rates against closed forms and against all resamples there are."""

import itertools
import math

import numpy as np
import pytest

from asr_decoders.score import Errors, compare, confidence

WRONG, RIGHT = Errors(substitutions=1, reference=1), Errors(reference=1)


def corpus(rng, size):
    return [Errors(rng.integers(3), rng.integers(2), rng.integers(2), 5 + rng.integers(10)) for _ in range(size)]


def rate(utterances):
    return sum(utterances, Errors()).rate


def test_words_alone_are_binomial() -> None:
    """Utterances of one word: resampled errors are binomial, whose deviation is known."""
    found = confidence([WRONG] * 100 + [RIGHT] * 300, seed=0, resamples=20_000)
    deviation = math.sqrt(0.25 * 0.75 / 400)
    assert found.value == 0.25
    assert found.deviation == pytest.approx(deviation, rel=0.03)
    assert found.low == pytest.approx(0.25 - 1.96 * deviation, abs=0.003)
    assert found.high == pytest.approx(0.25 + 1.96 * deviation, abs=0.003)
    assert (found.level, found.resamples) == (0.95, 20_000)


def test_all_resamples_of_few_utterances() -> None:
    """4 utterances have 256 resamples: their distribution is what is drawn from."""
    rng = np.random.default_rng(1)
    first, second = corpus(rng, 4), corpus(rng, 4)
    second = [
        Errors(e.substitutions, e.deletions, e.insertions, f.reference) for e, f in zip(second, first, strict=True)
    ]
    drawn = list(itertools.product(range(4), repeat=4))
    rates = np.array([rate([first[n] for n in one]) for one in drawn])
    changes = np.array([rate([second[n] for n in one]) for one in drawn]) - rates
    found = confidence(first, seed=2, resamples=100_000)
    assert found.value == rate(first)
    assert found.deviation == pytest.approx(rates.std(), rel=0.02)
    both = compare(first, second, seed=3, resamples=100_000, level=0.8)
    assert (both.first, both.second) == (rate(first), rate(second))
    assert both.difference.value == rate(second) - rate(first)
    assert both.difference.deviation == pytest.approx(changes.std(), rel=0.02)
    assert both.probability == pytest.approx(np.mean((changes < 0) + 0.5 * (changes == 0)), abs=0.01)
    low, high = np.sort(changes)[[25, 230]]  # a tenth below, a tenth above
    assert both.difference.low == pytest.approx(low, abs=0.02)
    assert both.difference.high == pytest.approx(high, abs=0.02)


def test_pairs_are_drawn_together() -> None:
    """One word better in every tenth utterance is certain, although the rates alone overlap."""
    rng = np.random.default_rng(4)
    first = [Errors(rng.integers(1, 8), 0, 0, 10) for _ in range(500)]
    second = [Errors(e.substitutions - (n % 10 == 0), 0, 0, 10) for n, e in enumerate(first)]
    found = compare(first, second, seed=5)
    assert found.probability == 1.0
    assert found.difference.high < 0
    assert confidence(first, seed=5).low < rate(second)
    assert compare(second, first, seed=5).probability == 0.0


def test_equal_systems_are_even() -> None:
    utterances = corpus(np.random.default_rng(6), 50)
    found = compare(utterances, utterances, seed=0)
    assert (found.difference.value, found.difference.low, found.difference.high) == (0.0, 0.0, 0.0)
    assert found.probability == 0.5


def test_the_seed_decides() -> None:
    utterances = corpus(np.random.default_rng(7), 30)
    assert confidence(utterances, seed=1) == confidence(utterances, seed=1)
    assert confidence(utterances, seed=1) == confidence(utterances, seed=np.random.default_rng(1))
    assert confidence(utterances, seed=1) != confidence(utterances, seed=2)


def test_empty_references_are_finite() -> None:
    found = confidence([Errors(insertions=2), Errors()], seed=0)
    assert found.value == 2.0
    assert 0.0 <= found.low <= found.high <= 4.0


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one utterance"):
        confidence([], seed=0)
    with pytest.raises(ValueError, match="level must be between 0 and 1, got 95"):
        confidence([RIGHT], seed=0, level=95)
    with pytest.raises(ValueError, match="resamples must be at least 1"):
        confidence([RIGHT], seed=0, resamples=0)
    with pytest.raises(ValueError, match="the same utterances expected, got 1 and 2"):
        compare([RIGHT], [RIGHT, RIGHT], seed=0)
    with pytest.raises(ValueError, match="got 1 and 3 units at index 1"):
        compare([RIGHT, RIGHT], [RIGHT, Errors(reference=3)], seed=0)
