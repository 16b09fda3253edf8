"""Errors as counts that add up, of one utterance or of a corpus."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from asr_decoders.native import edits
from asr_decoders.score.alignment import WEIGHTS, Edit, Weights, check_weights, count

Unit = Literal["word", "character"]
UNITS = get_args(Unit)

# Characters of both texts from which on the library is quicker than Python, for what it takes to call it.
SHORT = 160


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
    _check_texts(text)
    return _units(text, unit, spaces)


def _units(text: str, unit: Unit, spaces: bool) -> Sequence[str]:
    if unit == "word" and spaces:
        return text.split()
    return ("" if _kind(unit, spaces) == "letters" else " ").join(text.split())


def _check_texts(*texts: str) -> None:
    for text in texts:
        if not isinstance(text, str):
            raise ValueError(f"a text expected, got {type(text).__name__} {text!r:.60}: align() compares sequences")


def _kind(unit: Unit, spaces: bool) -> edits.Kind:
    if unit not in UNITS:
        raise ValueError(f"unit must be one of {', '.join(UNITS)}, got {unit!r}")
    if unit == "word":
        if not spaces:
            raise ValueError("spaces=False is for unit='character': words have none")
        return "words"
    return "characters" if spaces else "letters"


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
    _check_texts(reference, hypothesis)
    if len(reference) + len(hypothesis) > SHORT and edits.wanted():
        check_weights(weights)
        return Errors(*edits.counts((reference, hypothesis), _kind(unit, spaces), WEIGHTS[weights]))
    left, right = _units(reference, unit, spaces), _units(hypothesis, unit, spaces)
    return Errors(*count(left, right, weights=weights), len(left))


def corpus_errors(
    references: Sequence[str],
    hypotheses: Sequence[str],
    *,
    unit: Unit = "word",
    spaces: bool = True,
    weights: Weights = "equal",
) -> list[Errors]:
    """The errors of each utterance, as of `errors`, all in one call of the native library, where there is one.

    references, hypotheses: as many texts, in the same order; `read_pairs` brings them together by their ids.

    Raises ValueError as `errors`, and where there are not as many of one as of the other.
    """
    if isinstance(references, str) or isinstance(hypotheses, str):
        raise ValueError("lists of texts expected, got a text: errors() compares two texts")
    if len(references) != len(hypotheses):
        raise ValueError(f"a hypothesis for each of {len(references)} references expected, got {len(hypotheses)}")
    kind = _kind(unit, spaces)
    check_weights(weights)
    texts = [text for pair in zip(references, hypotheses, strict=True) for text in pair]
    _check_texts(*texts)
    if edits.wanted():
        found = edits.counts(texts, kind, WEIGHTS[weights])
        return list(map(Errors, *(found[n::4] for n in range(4))))
    counted = []
    for reference, hypothesis in zip(references, hypotheses, strict=True):
        left, right = _units(reference, unit, spaces), _units(hypothesis, unit, spaces)
        counted.append(Errors(*count(left, right, weights=weights), len(left)))
    return counted
