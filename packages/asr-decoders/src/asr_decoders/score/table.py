"""Cheapest alignments where a substitution does not cost what the others do: the table itself, a row at a time."""

from collections.abc import Hashable, Iterator, Sequence
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

Operation = Literal["equal", "substitute", "delete", "insert"]
T = TypeVar("T", bound=Hashable)

# Cells of the rows kept at once, two bits each. What is longer is computed twice.
BLOCK = 1 << 28


def weighted(
    reference: Sequence[T],
    hypothesis: Sequence[T],
    *,
    substitution: int,
    gap: int,
    tie: Literal["delete", "insert"],
) -> list[Operation]:
    """The operations of a cheapest way from reference to hypothesis, traced from its end.

    A match or a substitution is taken where it is cheapest. `tie` says which of the others is, of equal costs.

    substitution, gap: the costs; of a deletion and of an insertion it is the same.
    """
    # A match at the end is always among the cheapest, and so always taken.
    i, j = len(reference), len(hypothesis)
    while i and j and reference[i - 1] == hypothesis[j - 1]:
        i, j = i - 1, j - 1
    operations: list[Operation] = ["equal"] * (len(reference) - i)
    numbers = {unit: number for number, unit in enumerate(dict.fromkeys(hypothesis))}
    rows = np.array([numbers.get(unit, -1) for unit in reference[:i]], np.int32)
    columns = np.array([numbers[unit] for unit in hypothesis[:j]], np.int32)
    for first, diagonals, deletions in _blocks(rows, columns, substitution, gap, tie):
        while i > first and j:
            cell = i - 1 - first, j - 1 >> 3
            bit = 1 << (j - 1 & 7)
            if diagonals[cell] & bit:
                i, j = i - 1, j - 1
                operations.append("equal" if rows[i] == columns[j] else "substitute")
            elif deletions[cell] & bit:
                i -= 1
                operations.append("delete")
            else:
                j -= 1
                operations.append("insert")
    operations.extend(["delete"] * i)
    operations.extend(["insert"] * j)
    return operations[::-1]


Bits = NDArray[np.uint8]
Ids = NDArray[np.int32]


def _blocks(
    rows: Ids, columns: Ids, substitution: int, gap: int, tie: Literal["delete", "insert"]
) -> Iterator[tuple[int, Bits, Bits]]:
    """The choices in the table's cells, some rows at a time, the last ones first, with the first's number."""
    height = max(BLOCK // max(len(columns), 1), 1)
    starts = [gap * np.arange(len(columns) + 1, dtype=np.int32)]
    firsts = range(0, len(rows), height)
    for first in firsts:
        choices = _choices(rows[first : first + height], columns, starts[-1], substitution, gap, tie)
        starts.append(choices[2])
    for first in reversed(firsts):
        if first + height < len(rows):
            choices = _choices(rows[first : first + height], columns, starts[first // height], substitution, gap, tie)
        yield first, choices[0], choices[1]


def _choices(
    rows: Ids, columns: Ids, row: Ids, substitution: int, gap: int, tie: Literal["delete", "insert"]
) -> tuple[Bits, Bits, Ids]:
    """From one row of the table on: where the diagonal is taken, where else a deletion is, and the last row."""
    slope = gap * np.arange(len(columns) + 1, dtype=np.int32)
    diagonals = np.empty((len(rows), (len(columns) + 7) // 8), np.uint8)
    deletions = np.empty_like(diagonals)
    for i, unit in enumerate(rows):
        diagonal = row[:-1] + np.where(columns == unit, np.int32(0), np.int32(substitution))
        deletion = row[1:] + np.int32(gap)
        row = np.concatenate([row[:1] + np.int32(gap), np.minimum(diagonal, deletion)])
        row = np.minimum.accumulate(row - slope) + slope  # insertions: the least of all to the left
        insertion = row[:-1] + np.int32(gap)
        taken = deletion < insertion if tie == "insert" else deletion <= insertion
        diagonals[i] = np.packbits(diagonal == row[1:], bitorder="little")
        deletions[i] = np.packbits(taken, bitorder="little")
    return diagonals, deletions, row
