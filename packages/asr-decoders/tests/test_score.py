"""Counts of errors against a plain table of distances."""

import json
import random
import runpy
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_decoders import native
from asr_decoders.score import (
    Edit,
    Errors,
    align,
    alignment,
    confusions,
    corpus_errors,
    counts,
    errors,
    show,
    table,
    units,
)

DATA = Path(__file__).parent / "data"


@pytest.fixture(autouse=True, params=["numpy", "native"])
def backend(request, monkeypatch):
    """All of this holds for both; the library takes the short ones, too."""
    if request.param == "native" and not native.available():
        pytest.skip(str(native.why_not()))
    monkeypatch.setenv("ASR_DECODERS_BACKEND", request.param)
    monkeypatch.setattr(counts, "SHORT", -1)
    monkeypatch.setattr(alignment, "FEW", -1)
    return request.param


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


def test_ten_thousand_pairs_are_counted_as_by_jiwer() -> None:
    peers = runpy.run_path(str(DATA / "make_jiwer.py"))
    stored = json.loads((DATA / "jiwer.json").read_text())
    for unit, expected in stored.items():
        said, heard = map(list, zip(*peers["pairs"](), strict=True))
        found = corpus_errors(said, heard, unit=unit)
        assert found[:1000] == [errors(*pair, unit=unit) for pair in zip(said[:1000], heard[:1000], strict=True)]
        assert peers["digest"]((e.substitutions, e.deletions, e.insertions) for e in found) == expected


def test_counts_are_those_of_the_alignment() -> None:
    for reference, hypothesis in random_pairs(2000, 3):
        counted = errors(" ".join(reference), " ".join(hypothesis))
        assert Errors.of(align(reference, hypothesis)) == counted
        assert counted.correct == sum(edit.operation == "equal" for edit in align(reference, hypothesis))


def weighted_cost(reference, hypothesis):
    """The cheapest way with 4, 3 and 3, by its definition."""
    row = [3 * j for j in range(len(hypothesis) + 1)]
    for i, left in enumerate(reference, start=1):
        above, row = row, [3 * i]
        for j, right in enumerate(hypothesis, start=1):
            row.append(min(above[j] + 3, row[-1] + 3, above[j - 1] + 4 * (left != right)))
    return row[-1]


def test_weights_of_sclite_are_cheapest() -> None:
    for reference, hypothesis in random_pairs(500, 4):
        edits = align(reference, hypothesis, weights="sclite")
        assert replay(reference, edits) == hypothesis
        costs = {"equal": 0, "substitute": 4, "delete": 3, "insert": 3}
        assert sum(costs[edit.operation] for edit in edits) == weighted_cost(reference, hypothesis)
        assert Errors.of(edits) == errors(" ".join(reference), " ".join(hypothesis), weights="sclite")


def test_what_is_computed_in_blocks_is_the_same(monkeypatch, backend) -> None:
    if backend == "native":
        pytest.skip("its memory is no variable: test_native_edits.py has tables that are too large for it")
    pairs = list(random_pairs(300, 5))
    weights = ("equal", "sclite")
    whole = [[align(*pair, weights=kind) for pair in pairs] for kind in weights]
    for size in (1, 40):
        monkeypatch.setattr(alignment, "BLOCK", size)
        monkeypatch.setattr(table, "BLOCK", size)
        assert [[align(*pair, weights=kind) for pair in pairs] for kind in weights] == whole
        for pair, edits in zip(pairs, whole[0], strict=True):
            assert errors(" ".join(pair[0]), " ".join(pair[1])) == Errors.of(edits)


def test_confusions_are_counted() -> None:
    pairs = [("a b c", "a x c"), ("b b", "x b"), ("c", "c d d"), ("e f e", "f")]
    found = confusions(align(said.split(), heard.split()) for said, heard in pairs)
    assert found.substitutions == (("b", "x", 2),)
    assert found.deletions == (("e", 2),)
    assert found.insertions == (("d", 2),)
    assert confusions([]).substitutions == ()
    assert confusions([[Edit("substitute", "y", "z")], align("bbb", "xxz")]).substitutions == (
        ("b", "x", 2),
        ("y", "z", 1),
        ("b", "z", 1),
    )


def test_rows_of_korean_are_aligned() -> None:
    """A Hangul syllable takes two columns, so do the stars below it; conjoining letters take those of a syllable."""
    edits = align(["안녕", "하세요", "여러분"], ["안녕하세요", "여러분들"], weights="sclite")
    assert show(edits) == ("REF:  안녕 하세요     여러분\nHYP:  **** 안녕하세요 여러분들\nEval: D    S          S")
    assert show(align(["\u1112\u1161\u11ab", "b"], ["b"])) == "REF:  \u1112\u1161\u11ab b\nHYP:  ** b\nEval: D"
    assert show(align("é\u0301", "")) == "REF:  é \u0301\nHYP:  * *\nEval: D D"
    assert show(align(units("가 a", "character"), units("가나", "character"))) == (
        "REF:  가 ␣  a\nHYP:  가 나 *\nEval:    S  D"
    )


@pytest.mark.parametrize("texts", [(["a"], ["a"]), ("a", ["a"]), (None, "a"), (b"a", "a"), ("a", 1)])
def test_what_is_no_text_is_refused(texts) -> None:
    for unit in ("word", "character"):
        with pytest.raises(ValueError, match="a text expected, got") as raised:
            errors(*texts, unit=unit)
        assert "\n" not in str(raised.value)
        with pytest.raises(ValueError, match="text"):
            corpus_errors(["a", texts[0]], ["a", texts[1]], unit=unit)


def test_a_corpus_is_of_as_many_references_as_hypotheses() -> None:
    assert corpus_errors([], []) == []
    assert corpus_errors(("a b", ""), ("a", "b")) == [Errors(deletions=1, reference=2), Errors(insertions=1)]
    with pytest.raises(ValueError, match="a hypothesis for each of 2 references expected, got 1"):
        corpus_errors(["a", "b"], ["a"])
    with pytest.raises(ValueError, match="lists of texts expected, got a text"):
        corpus_errors("ab", ["a", "b"])


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="equal, sclite"):
        errors("a", "b", weights="nist")
    with pytest.raises(ValueError, match="equal, sclite"):
        align("a", "b", weights="nist")
    with pytest.raises(ValueError, match="word, character"):
        errors("a", "b", unit="letter")
    with pytest.raises(ValueError, match="spaces=False"):
        errors("a", "b", spaces=False)
    for wrong in ({"weights": "nist"}, {"weights": []}, {"unit": "letter"}, {"unit": []}, {"spaces": False}):
        with pytest.raises(ValueError, match="equal, sclite|word, character|spaces=False"):
            corpus_errors(["a"], ["b"], **wrong)
    with pytest.raises(ValueError, match="at least 0"):
        Errors(substitutions=-1)


def test_long_texts() -> None:
    rng = random.Random(2)
    reference = [rng.choice("abcde") for _ in range(1500)]
    hypothesis = [u for u in reference if rng.random() < 0.9]
    assert errors(" ".join(reference), " ".join(hypothesis)).total == distance(reference, hypothesis)
