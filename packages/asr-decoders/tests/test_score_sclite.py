"""Against sclite: what it said of tests/data/sclite, which make_sclite.py wrote."""

from pathlib import Path

import pytest

from asr_decoders.score import Errors, align, errors, read_pairs, show
from asr_decoders.score.__main__ import main

DATA = Path(__file__).parent / "data" / "sclite"


def rows(name):
    return [line.split("\t") for line in (DATA / name).read_text().splitlines()]


@pytest.fixture(scope="module")
def pairs():
    return [(said, heard, tuple(map(int, counts))) for said, heard, *counts in rows("pairs.tsv")[1:]]


def test_counts_with_the_weights_of_sclite(pairs) -> None:
    assert len(pairs) == 400
    for said, heard, counts in pairs:
        found = errors(said, heard, weights="sclite")
        assert (found.correct, found.substitutions, found.deletions, found.insertions) == counts
        assert Errors.of(align(said.split(), heard.split(), weights="sclite")) == found


def test_equal_weights_find_as_few_errors_or_fewer(pairs) -> None:
    """The docstring of `align`: totals are equal unless sclite prefers to match more, at the cost of errors."""
    differing = 0
    for said, heard, counts in pairs:
        equal, theirs = errors(said, heard), Errors(*counts[1:], counts[0] + counts[1] + counts[2])
        assert equal.total <= theirs.total
        assert equal.reference == theirs.reference
        if equal.total < theirs.total:
            differing += 1
            assert equal.correct < theirs.correct
    assert differing >= 3


@pytest.mark.parametrize(
    ("said", "heard", "equal", "sclite"),
    [
        ("a b", "b c", Errors(2, 0, 0, 2), Errors(0, 1, 1, 2)),  # as many errors, of other kinds
        ("a b c", "c d e", Errors(3, 0, 0, 3), Errors(3, 0, 0, 3)),  # 12 either way: substitutions are taken
        ("a b c d e", "d e x y z", Errors(5, 0, 0, 5), Errors(0, 3, 3, 5)),
    ],
)
def test_ties_that_differ(said, heard, equal, sclite) -> None:
    assert errors(said, heard) == equal
    assert errors(said, heard, weights="sclite") == sclite


def test_words_of_a_ctm_go_to_the_segments_of_a_stm() -> None:
    found: dict[str, list[tuple[int, ...]]] = {}
    for pair in read_pairs(DATA / "ref.stm", DATA / "hyp.ctm"):
        counted = errors(pair.reference, pair.hypothesis, weights="sclite")
        kinds = (counted.correct, counted.substitutions, counted.deletions, counted.insertions)
        found.setdefault(pair.speaker, []).append(kinds)
    theirs: dict[str, list[tuple[int, ...]]] = {}
    for name, *counts in rows("times.tsv"):
        theirs.setdefault(name.rpartition("-")[0], []).append(tuple(map(int, counts)))
    assert found == theirs
    assert sum(map(len, found.values())) == 17  # of 18 segments one is ignored


def test_alignments_are_printed_as_sclite_does(capsys) -> None:
    command = [str(DATA / "ref.trn"), str(DATA / "hyp.trn"), "--unit", "word", "--weights", "sclite", "--alignments"]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert printed.partition("\n\n")[2] == (DATA / "alignments.txt").read_text()


def test_rows_are_as_wide_as_the_screen_allows() -> None:
    edits = align(["a", "b", "c", "d", "e"], ["d", "e", "x", "y", "z"], weights="sclite")
    assert show(edits, width=15) == (
        "REF:  a b c d e\nHYP:  * * * d e\nEval: D D D\n\nREF:  * * *\nHYP:  x y z\nEval: I I I"
    )
    assert show([]) == "REF:\nHYP:\nEval:"
