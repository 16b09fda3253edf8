"""Alignments and counts by the library, against those in Python and numpy."""

import random
import sys

import pytest

from asr_decoders import native
from asr_decoders.native import edits
from asr_decoders.native.edits import Costs
from asr_decoders.score import alignment, corpus_errors, counts, errors
from asr_decoders.score.table import weighted

pytestmark = pytest.mark.skipif(not native.available(), reason=str(native.why_not()))

COSTS = {
    "equal": Costs(1, 1, "ends"),
    "sclite": Costs(4, 3, "insert"),
    "deletions first": Costs(1, 1, "delete"),
    "insertions first": Costs(1, 1, "insert"),
}
SPACES = [chr(c) for c in range(sys.maxunicode + 1) if chr(c).isspace()]


@pytest.fixture
def in_python(monkeypatch):
    """A call of a function, for which there is no library."""

    def call(function, *arguments, **options):
        with monkeypatch.context() as context:
            context.setenv("ASR_DECODERS_BACKEND", "numpy")
            return function(*arguments, **options)

    return call


def expected(reference, hypothesis, costs):
    if costs.rule == "ends":
        return alignment._operations(reference, hypothesis)
    return weighted(reference, hypothesis, substitution=costs.substitution, gap=costs.gap, tie=costs.rule)


def random_pairs(count, longest, seed):
    """Of few units, so that many alignments are equally cheap; half of the hypotheses are like their references."""
    rng = random.Random(seed)
    for n in range(count):
        units = "abcdefghijkl"[: rng.randint(1, 12)]
        reference = rng.choices(units, k=rng.randint(0, longest))
        if n % 2:
            hypothesis = [u for unit in reference for u in rng.choice(([], [unit], [unit], [unit], [unit, "x"], ["a"]))]
        else:
            hypothesis = rng.choices(units, k=rng.randint(0, longest))
        yield reference, hypothesis


@pytest.mark.parametrize("costs", COSTS.values(), ids=COSTS)
def test_thousands_of_random_pairs(costs) -> None:
    for reference, hypothesis in random_pairs(10_000 if costs.rule == "ends" else 1000, 25, 0):
        assert edits.operations(reference, hypothesis, costs) == expected(reference, hypothesis, costs)


@pytest.mark.parametrize("costs", COSTS.values(), ids=COSTS)
def test_longer_ones(costs) -> None:
    """More than the 64 rows that are one number, by a few and by many."""
    for longest, seed in ((70, 1), (130, 2), (500, 3)):
        for reference, hypothesis in random_pairs(30, longest, seed):
            assert edits.operations(reference, hypothesis, costs) == expected(reference, hypothesis, costs)


@pytest.mark.parametrize("length", [0, 1, 2, 63, 64, 65, 127, 128, 129])
def test_at_the_edges_of_numbers(length) -> None:
    rng = random.Random(length)
    for other in (0, 1, 63, 64, 65, 128):
        reference, hypothesis = rng.choices("ab", k=length), rng.choices("abc", k=other)
        for costs in COSTS.values():
            assert edits.operations(reference, hypothesis, costs) == expected(reference, hypothesis, costs)


@pytest.mark.parametrize("seed", range(12))
def test_in_a_band(seed) -> None:
    """Large tables, of which only a part is computed: with few errors and many, alike and shifted."""
    rng = random.Random(seed)
    units = "abcdefghijklmnopqrst"[: rng.choice((2, 5, 20))]
    reference = rng.choices(units, k=rng.randint(600, 1500))
    hypothesis = [unit if rng.random() > rng.choice((0.0, 0.02, 0.3)) else rng.choice(units) for unit in reference]
    for _ in range(rng.randint(0, 3)):  # something is cut out, and comes elsewhere
        first, other, size = rng.randrange(600), rng.randrange(600), rng.choice((1, 10, 63, 64, 65, 128, 200))
        moved = hypothesis[first : first + size]
        del hypothesis[first : first + size]
        hypothesis[other:other] = moved if rng.random() < 0.5 else rng.choices(units, k=rng.randint(0, 2 * size))
    for pair in ((reference, hypothesis), (hypothesis, reference)):
        assert edits.operations(*pair, COSTS["equal"]) == expected(*pair, COSTS["equal"])


@pytest.mark.parametrize(("rows", "columns", "name"), [(700, 450_000, "equal"), (700, 100_000, "sclite")])
def test_tables_of_several_strips(rows, columns, name) -> None:
    """What does not fit into the memory that a table may take, and is computed twice."""
    rng = random.Random(0)
    reference, hypothesis = rng.choices("abcdefgh", k=rows), rng.choices("abcdefghij", k=columns)
    found = edits.operations(reference, hypothesis, COSTS[name])
    assert found == expected(reference, hypothesis, COSTS[name])


def random_text(rng):
    letters = rng.choice(("ab", "abcdefg", "é가힣", "a\0\ud800\U0010ffff"))
    words = ["".join(rng.choices(letters, k=rng.choice((1, 1, 1, 2, 5)))) for _ in range(rng.randrange(20))]
    return "".join(word + rng.choice((" ", " ", "  ", rng.choice(SPACES))) for word in words) + rng.choice(
        ("", " ", "a")
    )


@pytest.mark.parametrize("weights", ["equal", "sclite"])
@pytest.mark.parametrize(("unit", "spaces"), [("word", True), ("character", True), ("character", False)])
def test_texts(unit, spaces, weights, in_python) -> None:
    rng = random.Random(0)
    said = [random_text(rng) for _ in range(4000 if weights == "equal" else 400)]
    heard = [rng.choice((text, random_text(rng), text[: len(text) // 2] + random_text(rng))) for text in said]
    options = {"unit": unit, "spaces": spaces, "weights": weights}
    assert corpus_errors(said, heard, **options) == in_python(corpus_errors, said, heard, **options)


def test_white_space_is_that_of_python() -> None:
    """All code points with letters between: those that are white space separate, and so no other does."""
    text = "a".join(map(chr, range(sys.maxunicode + 1)))
    assert corpus_errors([text], [""])[0].deletions == len(text.split())
    assert all(one.reference == 2 for one in corpus_errors([f"a{c}b" for c in SPACES], [""] * len(SPACES)))


def test_one_pair_and_many_are_the_same(monkeypatch, in_python) -> None:
    monkeypatch.setattr(counts, "SHORT", 0)
    for reference, hypothesis in random_pairs(300, 60, 4):
        texts = " ".join(reference), " ".join(hypothesis)
        (many,) = corpus_errors([texts[0]], [texts[1]])
        assert errors(*texts) == many == in_python(errors, *texts)


def test_any_hashable_is_a_unit() -> None:
    found = edits.operations(["x", (1, 2), None, 3.0, "y"], ["z", (1, 2), 3, "w"], COSTS["equal"])
    assert found == ["substitute", "equal", "delete", "equal", "substitute"]


def test_ids_are_checked() -> None:
    """Those from outside are no index before."""
    library = edits._library()
    costs = edits._structure(COSTS["equal"])
    for rows, columns in (([0, 2], [1]), ([-1, 0], [1]), ([0, 1], [3]), ([0, 1], [-1])):
        left, right = edits.array("i", rows), edits.array("i", columns)
        found = edits.array("B", bytes(3))
        status = library.asr_edit_operations(
            *left.buffer_info(), *right.buffer_info(), 2, costs, found.buffer_info()[0], edits.c_int64()
        )
        assert status == native.loader.FAULT
