"""A manifest against a recogniser: summed errors, and a table of utterances."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asr_decoders import Errors, errors
from asr_train.manifest import Utterance, read_audio
from asr_train.plan import plan
from asr_train.recognizer import Recognizer


@dataclass(frozen=True)
class Scored:
    """One utterance and what was heard in it."""

    utterance: Utterance
    hypothesis: str
    words: Errors
    characters: Errors


@dataclass(frozen=True)
class Evaluation:
    """Scores of a set; rates are all errors over all reference units, not the mean of utterances' rates."""

    scored: tuple[Scored, ...]
    seconds: float
    """Of audio."""
    spent: float
    """Seconds of computing."""

    @property
    def words(self) -> Errors:
        """Summed word errors."""
        return sum((one.words for one in self.scored), Errors())

    @property
    def characters(self) -> Errors:
        """Summed character errors, spaces included."""
        return sum((one.characters for one in self.scored), Errors())

    @property
    def exact(self) -> float:
        """The share of utterances without an error."""
        return sum(one.words.total == 0 for one in self.scored) / max(len(self.scored), 1)

    def summary(self) -> dict[str, Any]:
        """What `evaluate --json` prints."""
        return {
            "utterances": len(self.scored),
            "seconds": round(self.seconds, 3),
            "wer": counts(self.words),
            "cer": counts(self.characters),
            "exact": self.exact,
            "real_time_factor": self.spent / self.seconds if self.seconds else 0.0,
        }


def counts(found: Errors) -> dict[str, float]:
    """Errors as plain values."""
    return {
        "rate": found.rate,
        "errors": found.total,
        "reference": found.reference,
        "substitutions": found.substitutions,
        "deletions": found.deletions,
        "insertions": found.insertions,
    }


def evaluate(
    recognizer: Recognizer,
    utterances: Sequence[Utterance],
    *,
    batch_seconds: float = 240.0,
    progress: Callable[[int], None] = lambda _: None,
) -> Evaluation:
    """Recognise and score utterances whose `seconds` are known; `progress` is told of each batch's size.

    Raises:
        UserError: an audio file that cannot be read, with its manifest row.
    """
    started, scored, rate = time.perf_counter(), {}, recognizer.frontend.sample_rate
    for rows in plan([u.seconds or 0.0 for u in utterances], batch_seconds=batch_seconds):
        features = [recognizer.features(read_audio(utterances[row], rate)) for row in rows]
        for row, hypotheses in zip(rows, recognizer.search(features), strict=True):
            reference, hypothesis = utterances[row].text, hypotheses[0].text
            scored[int(row)] = Scored(
                utterances[row],
                hypothesis,
                errors(reference, hypothesis, unit="word"),
                errors(reference, hypothesis, unit="character"),
            )
        progress(len(rows))
    seconds = sum(u.seconds or 0.0 for u in utterances)
    return Evaluation(tuple(scored[n] for n in range(len(utterances))), seconds, time.perf_counter() - started)


def write_table(evaluation: Evaluation, path: Path) -> None:
    """One line an utterance: id, reference, hypothesis, and the counts of its word errors."""
    lines = ["Id\tReference\tHypothesis\tWords\tSubstitutions\tDeletions\tInsertions"]
    for one in evaluation.scored:
        w = one.words
        numbers = (w.reference, w.substitutions, w.deletions, w.insertions)
        lines.append("\t".join([one.utterance.id, one.utterance.text, one.hypothesis, *map(str, numbers)]))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
