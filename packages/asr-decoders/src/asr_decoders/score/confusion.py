"""Which units are taken for which: the errors of alignments, counted by their units."""

from collections import Counter
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from asr_decoders.score.alignment import Edit

T = TypeVar("T", bound=Hashable)


@dataclass(frozen=True)
class Confusions(Generic[T]):
    """Units and how often they were wrong, most frequent first, of equal counts the one that came first."""

    substitutions: tuple[tuple[T, T, int], ...]
    """(reference, hypothesis, how often)"""
    deletions: tuple[tuple[T, int], ...]
    insertions: tuple[tuple[T, int], ...]


def confusions(alignments: Iterable[Iterable[Edit[T]]]) -> Confusions[T]:
    """Those of a corpus: `confusions(align(reference, hypothesis) for reference, hypothesis in pairs)`."""
    substitutions: Counter[tuple[T, T]] = Counter()
    deletions: Counter[T] = Counter()
    insertions: Counter[T] = Counter()
    for edits in alignments:
        for _, reference, hypothesis in edits:
            if reference is not None and hypothesis is not None:
                if reference != hypothesis:
                    substitutions[reference, hypothesis] += 1
            elif reference is not None:
                deletions[reference] += 1
            elif hypothesis is not None:
                insertions[hypothesis] += 1
    return Confusions(
        tuple((*pair, times) for pair, times in substitutions.most_common()),
        tuple(deletions.most_common()),
        tuple(insertions.most_common()),
    )
