"""Cheapest alignments: a column of the table of distances is one integer, a bit a row (Myers 1999; Hyyrö 2003).

Python's integers have as many bits as the reference has units. So a column costs fifteen operations whatever its
length, and no library is needed. Where there is the native library, it takes the longer sequences.
"""

from collections.abc import Hashable, Iterator, Sequence
from typing import Generic, Literal, NamedTuple, TypeVar

from asr_decoders.native import edits
from asr_decoders.native.edits import Costs
from asr_decoders.score.table import Operation, weighted

Weights = Literal["equal", "sclite"]
WEIGHTS: dict[Weights, Costs] = {"equal": Costs(1, 1, "ends"), "sclite": Costs(4, 3, "insert")}
T = TypeVar("T", bound=Hashable)

# Units of both sequences from which on the library is quicker than Python, for what it takes to call it.
FEW = 32

# Bits of the columns kept at once, for each of two lists. What is longer is computed twice.
BLOCK = 1 << 27


class Edit(NamedTuple, Generic[T]):
    """One operation of an alignment; `reference` is None for an insertion, `hypothesis` for a deletion."""

    operation: Operation
    reference: T | None
    hypothesis: T | None


def align(reference: Sequence[T], hypothesis: Sequence[T], /, *, weights: Weights = "equal") -> list[Edit[T]]:
    """The edit operations, in order, of a cheapest way from reference to hypothesis.

    weights: "equal": a substitution, a deletion and an insertion cost 1 each, so that the number of errors is
        the least possible. "sclite": they cost 4, 3 and 3, as in NIST's sclite.

    Where several ways are the cheapest, a rule takes one; on it depends which errors are substitutions, and every
    tool has its own:

    "equal", as rapidfuzz and jiwer: a common beginning is matched, then a common end; of what is between, from
        its end backwards, deletions are taken where they are cheapest, then insertions if cheaper than going
        on with a match or a substitution.
    "sclite": from the end backwards, a match or a substitution is taken where it is cheapest, else a deletion
        if it is cheaper than an insertion, else an insertion.

    "a b" heard as "b c" is two substitutions with equal weights; sclite's match the b, and a is deleted, c
    inserted. That may cost an error more: in "a b c d e" heard as "d e x y z" sclite's match d and e between 3
    deletions and 3 insertions (18, where 5 substitutions are 20).

    Memory: about len(reference) * len(hypothesis) / 4 bytes of what is between, up to some 100 MB.

    Raises ValueError for other weights.
    """
    check_weights(weights)
    found: list[Edit[T]] = []
    left, right = iter(reference), iter(hypothesis)
    for operation in operations(reference, hypothesis, WEIGHTS[weights]):
        source = None if operation == "insert" else next(left)
        target = None if operation == "delete" else next(right)
        found.append(Edit(operation, source, target))
    return found


def operations(reference: Sequence[Hashable], hypothesis: Sequence[Hashable], costs: Costs) -> list[Operation]:
    """Those of a cheapest way from reference to hypothesis."""
    if len(reference) + len(hypothesis) > FEW and edits.wanted():
        return edits.operations(reference, hypothesis, costs)
    if costs.rule == "ends":
        return _operations(reference, hypothesis)
    return weighted(reference, hypothesis, substitution=costs.substitution, gap=costs.gap, tie=costs.rule)


def count(reference: Sequence[T], hypothesis: Sequence[T], *, weights: Weights = "equal") -> tuple[int, int, int]:
    """How many substitutions, deletions and insertions `align` finds, sooner than it finds where."""
    if weights != "equal":
        check_weights(weights)
        found = operations(reference, hypothesis, WEIGHTS[weights])
        return found.count("substitute"), found.count("delete"), found.count("insert")
    if reference == hypothesis:
        return 0, 0, 0
    start, left, right = _between(reference, hypothesis)
    rows, columns = left - start, right - start
    if rows == 0 or columns == 0:
        return 0, rows, columns
    if rows == 1:
        same = reference[start] in hypothesis[start:right]
        return int(not same), 0, columns - 1
    if columns == 1:
        same = hypothesis[start] in reference[start:left]
        return int(not same), rows - 1, 0
    return _count_middle(reference[start:left], hypothesis[start:right])


def check_weights(weights: Weights) -> None:
    """Raises ValueError for others than there are."""
    if weights not in tuple(WEIGHTS):
        raise ValueError(f"weights must be one of {', '.join(WEIGHTS)}, got {weights!r}")


def _between(reference: Sequence[T], hypothesis: Sequence[T]) -> tuple[int, int, int]:
    """What is left between a common beginning and a common end: reference[start:left], hypothesis[start:right]."""
    start, left, right = 0, len(reference), len(hypothesis)
    shorter = min(left, right)
    while start < shorter and reference[start] == hypothesis[start]:
        start += 1
    shorter -= start
    while shorter and reference[left - 1] == hypothesis[right - 1]:
        left, right, shorter = left - 1, right - 1, shorter - 1
    return start, left, right


def _operations(reference: Sequence[T], hypothesis: Sequence[T]) -> list[Operation]:
    """The operations of `align` without their units."""
    start, left, right = _between(reference, hypothesis)
    head: list[Operation] = ["equal"] * start
    tail: list[Operation] = ["equal"] * (len(reference) - left)
    return head + _middle(reference[start:left], hypothesis[start:right]) + tail


def _middle(reference: Sequence[T], hypothesis: Sequence[T]) -> list[Operation]:
    """Traces a cheapest path in the table D[i, j] (i reference units, j hypothesis units) from its end."""
    i, j = len(reference), len(hypothesis)
    operations: list[Operation] = []
    for first, up, down in _blocks(reference, hypothesis):
        row = 1 << i >> 1
        while row and j > first:
            if up[j - first] & row:  # D[i, j] = D[i - 1, j] + 1
                operations.append("delete")
                row >>= 1
                continue
            j -= 1
            if down[j - first] & row:  # D[i, j + 1] = D[i - 1, j] = D[i, j] + 1, diagonals never fall
                operations.append("insert")
                continue
            same = reference[row.bit_length() - 1] == hypothesis[j]
            operations.append("equal" if same else "substitute")
            row >>= 1
        i = row.bit_length()
    operations.extend(["delete"] * i)
    operations.extend(["insert"] * j)
    return operations[::-1]


def _count_middle(reference: Sequence[T], hypothesis: Sequence[T]) -> tuple[int, int, int]:
    """The counts of `_middle`, which needs no trace where they cannot be shared out in two ways."""
    rows, columns = len(reference), len(hypothesis)
    row, deletions, total, j = 1 << rows >> 1, 0, -1, columns
    for first, up, down in _blocks(reference, hypothesis):
        if total < 0:
            total = columns + up[-1].bit_count() - (down[-1] & (1 << rows) - 1).bit_count()
            if total < abs(rows - columns) + 2:  # one more deletion is one more insertion too
                deletions = max(rows - columns, 0)
                break
        while row and j > first:
            if up[j - first] & row:
                deletions += 1
            else:
                j -= 1
                if down[j - first] & row:
                    continue
            row >>= 1
    else:
        deletions += row.bit_length()
    insertions = deletions - rows + columns
    return total - deletions - insertions, deletions, insertions


Columns = tuple[list[int], list[int]]


def _blocks(reference: Sequence[T], hypothesis: Sequence[T]) -> Iterator[tuple[int, list[int], list[int]]]:
    """The columns of the table, some at a time, the last ones first: the first's number, and their differences."""
    where: dict[T, int] = {}  # the rows in which a unit occurs
    row = 1
    for unit in reference:
        where[unit] = where.get(unit, 0) | row
        row <<= 1
    width = max(BLOCK // max(len(reference), 1), 1)
    starts = [(row - 1, 0)]  # D[i, 0] = i
    last: Columns = ([row - 1], [0])
    firsts = range(0, len(hypothesis), width)
    for first in firsts:
        last = up, down = _differences(where, hypothesis[first : first + width], *starts[-1], rows=row - 1)
        starts.append((up[-1], down[-1]))
    for first in reversed(firsts):
        again = first + width < len(hypothesis)
        part = hypothesis[first : first + width]
        up, down = _differences(where, part, *starts[first // width], rows=row - 1) if again else last
        yield first, up, down


def _differences(where: dict[T, int], hypothesis: Sequence[T], positive: int, negative: int, *, rows: int) -> Columns:
    """The vertical differences of D from one column on: bit i - 1 of up[j] says D[i, j] = D[i - 1, j] + 1.

    Bit i - 1 of down[j] says D[i, j] = D[i - 1, j] - 1; bits above the rows may be anything. In the names of
    Hyyrö, positive and negative are VP and VN, diagonal is D0, steady is ~HP and its last value, shifted, both
    ~HP and HN having moved down a row; with ~HP instead of HP all the integers stay positive, which is faster.
    """
    up, down = [positive], [negative]
    for unit in hypothesis:
        match = where.get(unit, 0)
        # Where D[i, j] = D[i - 1, j - 1]; where the row above does not rise from the last column to this.
        diagonal = (((match & positive) + positive) ^ positive) | match | negative
        steady = ((diagonal | positive) ^ negative) << 1
        either = diagonal | steady
        positive = ((diagonal & positive) << 1 | either ^ diagonal) & rows
        negative = either ^ steady
        up.append(positive)
        down.append(negative)
    return up, down
