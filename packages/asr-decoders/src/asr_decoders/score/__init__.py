"""Word and character errors, as counts that add up, and the alignment of two sequences.

Three steps: `align` two sequences, count the `errors` of one utterance, add the counts of a corpus. Rates
are read last: the rate of a corpus is the sum of errors over the sum of reference units, not the average of
the utterances' rates.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, NamedTuple, TypeVar, get_args

Unit = Literal["word", "character"]
Operation = Literal["equal", "substitute", "delete", "insert"]
T = TypeVar("T", bound=Hashable)


@dataclass(frozen=True)
class Errors:
    """Counts of edit operations and of reference units; `sum(utterances, Errors())` adds them up."""

    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0
    reference: int = 0

    def __post_init__(self) -> None:
        if min(self.substitutions, self.deletions, self.insertions, self.reference) < 0:
            raise ValueError(f"counts must be at least 0, got {self}")

    def __add__(self, other: "Errors") -> "Errors":
        if not isinstance(other, Errors):
            return NotImplemented
        return Errors(
            self.substitutions + other.substitutions,
            self.deletions + other.deletions,
            self.insertions + other.insertions,
            self.reference + other.reference,
        )

    @property
    def total(self) -> int:
        """Substitutions, deletions and insertions together."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self) -> float:
        """total / reference, which insertions can make greater than 1.

        An empty reference counts as one unit here: the rate is then the number of insertions, 0.0 if there
        are none.
        """
        return self.total / max(self.reference, 1)


class Edit(NamedTuple, Generic[T]):
    """One operation of an alignment; `reference` is None for an insertion, `hypothesis` for a deletion."""

    operation: Operation
    reference: T | None
    hypothesis: T | None


def errors(reference: str, hypothesis: str, *, unit: Unit = "word", spaces: bool = True) -> Errors:
    """The errors of one utterance.

    unit: "word": what white space separates; "character": code points, runs of white space being one space
        and none at the ends. Text that has more than one form (case, punctuation, decomposed letters) is to
        be normalised before.
    spaces: for characters, whether the spaces between words count as characters.

    Raises ValueError for another unit.
    """
    if unit not in get_args(Unit):
        raise ValueError(f"unit must be one of {', '.join(get_args(Unit))}, got {unit!r}")
    if unit == "word" and not spaces:
        raise ValueError("spaces=False is for unit='character': words have none")
    joint = " " if spaces else ""
    left: Sequence[str] = reference.split() if unit == "word" else joint.join(reference.split())
    right: Sequence[str] = hypothesis.split() if unit == "word" else joint.join(hypothesis.split())
    operations = _operations(left, right)
    return Errors(operations.count("substitute"), operations.count("delete"), operations.count("insert"), len(left))


def align(reference: Sequence[T], hypothesis: Sequence[T], /) -> list[Edit[T]]:
    """The edit operations, in order, of a cheapest way (all operations cost 1) from reference to hypothesis.

    Among equally cheap ways: a common beginning is matched, then a common end; of what is between, from its
    end backwards, deletions are taken where they are cheapest, then insertions if cheaper than going on
    with a match or a substitution. Counts of substitutions, deletions and insertions depend on such a rule,
    their sum does not.

    Memory: about len(reference) * len(hypothesis) / 4 bytes of what is between.
    """
    edits: list[Edit[T]] = []
    left, right = iter(reference), iter(hypothesis)
    for operation in _operations(reference, hypothesis):
        source = None if operation == "insert" else next(left)
        target = None if operation == "delete" else next(right)
        edits.append(Edit(operation, source, target))
    return edits


def _operations(reference: Sequence[T], hypothesis: Sequence[T]) -> list[Operation]:
    """The operations of `align` without their units."""
    start, left, right = 0, len(reference), len(hypothesis)
    while start < min(left, right) and reference[start] == hypothesis[start]:
        start += 1
    while start < min(left, right) and reference[left - 1] == hypothesis[right - 1]:
        left, right = left - 1, right - 1
    head: list[Operation] = ["equal"] * start
    tail: list[Operation] = ["equal"] * (len(reference) - left)
    return head + _middle(reference[start:left], hypothesis[start:right]) + tail


def _middle(reference: Sequence[T], hypothesis: Sequence[T]) -> list[Operation]:
    """Traces a cheapest path in the table D[i, j] (i reference units, j hypothesis units) from its end."""
    up, down = _differences(reference, hypothesis)
    i, j = len(reference), len(hypothesis)
    operations: list[Operation] = []
    while i and j:
        if up[j] >> (i - 1) & 1:  # D[i, j] = D[i - 1, j] + 1
            operations.append("delete")
            i -= 1
        elif down[j - 1] >> (i - 1) & 1:  # D[i, j] = D[i - 1, j - 1] = D[i, j - 1] + 1, diagonals never fall
            operations.append("insert")
            j -= 1
        else:
            i, j = i - 1, j - 1
            operations.append("equal" if reference[i] == hypothesis[j] else "substitute")
    operations.extend(["delete"] * i)
    operations.extend(["insert"] * j)
    return operations[::-1]


def _differences(reference: Sequence[T], hypothesis: Sequence[T]) -> tuple[list[int], list[int]]:
    """The vertical differences of D: bit i - 1 of up[j] says D[i, j] = D[i - 1, j] + 1, of down[j], - 1.

    A column at a time, all its rows being the bits of one integer (Myers 1999; Hyyrö 2003).
    """
    where: dict[T, int] = {}  # the rows in which a unit occurs
    for i, unit in enumerate(reference):
        where[unit] = where.get(unit, 0) | 1 << i
    rows = (1 << len(reference)) - 1
    positive, negative = rows, 0
    up, down = [positive], [negative]
    for unit in hypothesis:
        match = where.get(unit, 0)
        # Where D[i, j] = D[i - 1, j - 1]; where the row above rises or falls from the last column to this.
        diagonal = (((match & positive) + positive) ^ positive) | match | negative
        rises = (negative | ~(diagonal | positive)) << 1 | 1
        falls = (diagonal & positive) << 1
        positive = (falls | ~(diagonal | rises)) & rows
        negative = rises & diagonal & rows
        up.append(positive)
        down.append(negative)
    return up, down
