"""Errors as counts that add up, of one utterance or of a corpus."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from asr_decoders.score.alignment import Edit, Weights, count

Unit = Literal["word", "character"]
UNITS = get_args(Unit)


@dataclass(frozen=True, slots=True)
class Errors:
    """Counts of edit operations and of reference units; `sum(utterances, Errors())` adds them up."""

    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0
    reference: int = 0

    def __post_init__(self) -> None:
        if self.substitutions < 0 or self.deletions < 0 or self.insertions < 0 or self.reference < 0:
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

    @classmethod
    def of(cls, edits: Iterable[Edit[Any]]) -> "Errors":
        """Those of an alignment."""
        operations = [edit.operation for edit in edits]
        insertions = operations.count("insert")
        return cls(operations.count("substitute"), operations.count("delete"), insertions, len(operations) - insertions)

    @property
    def total(self) -> int:
        """Substitutions, deletions and insertions together."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def correct(self) -> int:
        """Reference units that were recognised."""
        return self.reference - self.substitutions - self.deletions

    @property
    def rate(self) -> float:
        """total / reference, which insertions can make greater than 1.

        An empty reference counts as one unit here: the rate is then the number of insertions, 0.0 if there
        are none.
        """
        return self.total / max(self.reference, 1)


def units(text: str, unit: Unit = "word", *, spaces: bool = True) -> Sequence[str]:
    """The words or the characters of a text: what `errors` compares, and what to give to `align`.

    unit: "word": what white space separates; "character": code points, runs of white space being one space
        and none at the ends.
    spaces: for characters, whether the spaces between words count as characters.

    Raises ValueError for another unit, and for a text that is no str.
    """
    if not isinstance(text, str):
        raise ValueError(f"a text expected, got {type(text).__name__} {text!r:.60}: align() compares sequences")
    if unit == "word" and spaces:
        return text.split()
    if unit not in UNITS:
        raise ValueError(f"unit must be one of {', '.join(UNITS)}, got {unit!r}")
    if unit == "word":
        raise ValueError("spaces=False is for unit='character': words have none")
    return (" " if spaces else "").join(text.split())


def errors(
    reference: str, hypothesis: str, *, unit: Unit = "word", spaces: bool = True, weights: Weights = "equal"
) -> Errors:
    """The errors of one utterance.

    Text that has more than one form (case, punctuation, decomposed letters) is to be normalised before, see
    `asr_decoders.text`.

    unit, spaces: as for `units`.
    weights: as for `align`, of which these are the counts.

    Raises ValueError for another unit, other weights, and for texts that are no str.
    """
    left, right = units(reference, unit, spaces=spaces), units(hypothesis, unit, spaces=spaces)
    return Errors(*count(left, right, weights=weights), len(left))
