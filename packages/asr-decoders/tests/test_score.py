"""Counts of errors against a plain table of distances."""

import random
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_decoders import Errors, errors
from asr_decoders.score import align


def distance(reference, hypothesis):
    """Levenshtein's distance by its definition, a row at a time."""
    row = list(range(len(hypothesis) + 1))
    for i, left in enumerate(reference, start=1):
        above, row = row, [i]
        for j, right in enumerate(hypothesis, start=1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (left != right)))
    return row[-1]


def replay(reference, edits):
    """Edits the reference as told."""
    left, made = list(reference), []
    for operation, source, target in edits:
        if operation != "insert":
            assert left.pop(0) == source
        else:
            assert source is None
        if operation != "delete":
            made.append(target)
        else:
            assert target is None
        if operation in ("equal", "substitute"):
            assert (source == target) == (operation == "equal")
    assert left == []
    return made


def random_pairs(count, seed):
    rng = random.Random(seed)
    for _ in range(count):
        letters = "abcdefgh"[: rng.randint(1, 8)]
        reference = [rng.choice(letters) for _ in range(rng.randint(0, 20))]
        if rng.random() < 0.5:
            hypothesis = [rng.choice(letters) for _ in range(rng.randint(0, 20))]
        else:
            hypothesis = [u for u in reference for _ in range(rng.choice([0, 1, 1, 1, 1, 2]))]
        yield reference, hypothesis


def test_thousands_of_random_pairs() -> None:
    for reference, hypothesis in random_pairs(6000, 0):
        edits = align(reference, hypothesis)
        assert replay(reference, edits) == hypothesis
        cost = sum(edit.operation != "equal" for edit in edits)
        assert cost == distance(reference, hypothesis)
        counted = errors(" ".join(reference), " ".join(hypothesis))
        assert counted.total == cost
        assert counted.reference == len(reference)
        assert counted.substitutions == sum(edit.operation == "substitute" for edit in edits)
        assert counted.deletions == sum(edit.operation == "delete" for edit in edits)
        assert counted.insertions - counted.deletions == len(hypothesis) - len(reference)


@given(st.text(max_size=200), st.text(max_size=200))
def test_any_text(reference, hypothesis) -> None:
    edits = align(reference, hypothesis)
    assert "".join(replay(reference, edits)) == hypothesis
    assert sum(edit.operation != "equal" for edit in edits) == distance(reference, hypothesis)


def ties(reference, hypothesis):
    """The documented choice among the cheapest alignments, by recursion from the end."""
    start = 0
    while start < min(len(reference), len(hypothesis)) and reference[start] == hypothesis[start]:
        start += 1
    left, right, same = reference[start:], hypothesis[start:], 0
    while left and right and left[-1] == right[-1]:
        left, right, same = left[:-1], right[:-1], same + 1

    @cache
    def cost(i, j):
        return distance(left[:i], right[:j])

    operations, i, j = [], len(left), len(right)
    while i or j:
        diagonal = cost(i - 1, j - 1) + (left[i - 1] != right[j - 1]) if i and j else None
        if i and cost(i - 1, j) + 1 == cost(i, j):
            operations.append("delete")
            i -= 1
        elif diagonal is None or cost(i, j - 1) < cost(i - 1, j - 1):
            operations.append("insert")
            j -= 1
        else:
            operations.append("equal" if left[i - 1] == right[j - 1] else "substitute")
            i, j = i - 1, j - 1
    return ["equal"] * start + operations[::-1] + ["equal"] * same


def test_ties_are_broken_as_documented() -> None:
    for reference, hypothesis in random_pairs(400, 1):
        left, right = tuple(reference), tuple(hypothesis)
        assert [edit.operation for edit in align(left, right)] == ties(left, right)


def test_alignment_is_data() -> None:
    assert align(["the", "cat", "sat"], ["a", "cat", "sat", "down"]) == [
        ("substitute", "the", "a"),
        ("equal", "cat", "cat"),
        ("equal", "sat", "sat"),
        ("insert", None, "down"),
    ]
    assert align((1, 2), ()) == [("delete", 1, None), ("delete", 2, None)]


def test_words_and_characters() -> None:
    assert errors(" a  b c ", "a x") == Errors(substitutions=1, deletions=1, reference=3)
    assert errors("a b", "ab", unit="character") == Errors(deletions=1, reference=3)
    assert errors("a b", "ab", unit="character", spaces=False) == Errors(reference=2)
    assert errors(" a\t b ", "a b", unit="character") == Errors(reference=3)


def test_an_empty_reference_is_finite() -> None:
    assert errors("", "") == Errors()
    assert Errors().rate == 0.0
    assert errors("", "a b") == Errors(insertions=2)
    assert errors("", "a b").rate == 2.0
    assert sum([errors("", "a b"), errors("c d", "c d")], Errors()).rate == 1.0


def test_the_rate_of_a_corpus_is_not_the_average_of_rates() -> None:
    utterances = [errors("a", "b"), errors("a b c d e f g h i", "a b c d e f g h i")]
    corpus = sum(utterances, Errors())
    assert corpus == Errors(substitutions=1, reference=10)
    assert corpus.rate == 0.1
    assert sum(utterance.rate for utterance in utterances) / 2 == 0.5


def test_counts_add_up() -> None:
    total = Errors(1, 2, 3, 10) + Errors(4, 5, 6, 20)
    assert total == Errors(5, 7, 9, 30)
    assert total.total == 21
    assert total.rate == 0.7
    with pytest.raises(TypeError):
        Errors() + 1


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="word, character"):
        errors("a", "b", unit="letter")
    with pytest.raises(ValueError, match="spaces=False"):
        errors("a", "b", spaces=False)
    with pytest.raises(ValueError, match="at least 0"):
        Errors(substitutions=-1)


def test_long_texts() -> None:
    rng = random.Random(2)
    reference = [rng.choice("abcde") for _ in range(1500)]
    hypothesis = [u for u in reference if rng.random() < 0.9]
    assert errors(" ".join(reference), " ".join(hypothesis)).total == distance(reference, hypothesis)
