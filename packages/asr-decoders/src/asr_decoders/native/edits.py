"""Errors of texts, and alignments, by the library; what they mean is said in `score.alignment` and `score.table`."""

import ctypes
from array import array
from collections.abc import Hashable, Sequence
from ctypes import POINTER, Structure, c_char_p, c_int32, c_int64, c_void_p
from functools import cache
from itertools import count
from typing import Literal, NamedTuple

from asr_decoders.native import loader

Operation = Literal["equal", "substitute", "delete", "insert"]
Kind = Literal["words", "characters", "letters"]
Rule = Literal["ends", "insert", "delete"]

# As the enumerations in edits.cpp.
OPERATIONS: tuple[Operation, ...] = ("equal", "substitute", "delete", "insert")
KINDS: dict[Kind, int] = {"words": 0, "characters": 1, "letters": 2}
RULES: dict[Rule, int] = {"ends": 0, "insert": 1, "delete": 2}

TOGETHER = 4096  # pairs in a call, which bounds what their code points take


class Costs(NamedTuple):
    """What errors cost, and which of the cheapest alignments is taken.

    substitution, gap: of a substitution, and of a deletion or an insertion.
    rule: "ends": as `score.alignment`, which matches what is the same at the beginning and at the end first, for
        costs of 1 alone; "insert", "delete": as `score.table` with that `tie`.
    """

    substitution: int
    gap: int
    rule: Rule


class _Costs(Structure):
    _fields_ = [("substitution", c_int64), ("gap", c_int64), ("rule", c_int64)]


_FUNCTIONS = {
    "counts": (c_char_p, c_void_p, c_int64, c_int32, POINTER(_Costs), c_void_p),
    "operations": (c_void_p, c_int64, c_void_p, c_int64, c_int64, POINTER(_Costs), c_void_p, POINTER(c_int64)),
}


def wanted() -> bool:
    """Whether the environment leaves it to the library, and there is one. Raises ValueError as `loader.wanted`."""
    return loader.wanted("auto") != "numpy" and loader.available()


@cache
def _library() -> ctypes.CDLL:
    library = loader.library()
    for name, arguments in _FUNCTIONS.items():
        function = getattr(library, f"asr_edit_{name}")
        function.restype, function.argtypes = c_int32, arguments
    return library


@cache
def _structure(costs: Costs) -> _Costs:
    return _Costs(costs.substitution, costs.gap, RULES[costs.rule])


def counts(texts: Sequence[str], kind: Kind, costs: Costs) -> "array[int]":
    """Substitutions, deletions, insertions and reference units of each pair, those of a pair together.

    texts: reference, hypothesis, reference, hypothesis ... They are split as by `str.split`.
    """
    found = array("q", bytes(16 * len(texts)))
    start, _ = found.buffer_info()
    count_errors = _library().asr_edit_counts
    for first in range(0, len(texts), 2 * TOGETHER):
        part = texts[first : first + 2 * TOGETHER]
        characters = "".join(part).encode("utf-32-le", "surrogatepass")
        lengths = array("q", map(len, part))
        address, size = lengths.buffer_info()
        there = start + 16 * first  # four numbers for two texts
        loader.check(count_errors(characters, address, size // 2, KINDS[kind], _structure(costs), there))
    return found


def operations(reference: Sequence[Hashable], hypothesis: Sequence[Hashable], costs: Costs) -> list[Operation]:
    """Those of a cheapest way from reference to hypothesis."""
    numbers = dict(zip(dict.fromkeys(reference), count(), strict=False))
    units = len(numbers)
    rows = array("i", map(numbers.__getitem__, reference))
    columns = array("i", [numbers.get(unit, units) for unit in hypothesis])
    found, size = array("B", bytes(len(rows) + len(columns))), c_int64()
    sequences = *rows.buffer_info(), *columns.buffer_info()
    there, _ = found.buffer_info()
    loader.check(_library().asr_edit_operations(*sequences, units, _structure(costs), there, size))
    return [OPERATIONS[number] for number in found[size.value - 1 :: -1]] if size.value else []
