"""The weight of a language model and the bonus for words, chosen by the errors that they leave."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import NamedTuple, get_args

from asr_decoders import checks
from asr_decoders.ctc import CtcBeam
from asr_decoders.interfaces import LogProbs
from asr_decoders.score import Errors, Unit, errors


class Trial(NamedTuple):
    """One pair of options and the errors of all utterances with it."""

    lm_weight: float
    word_bonus: float
    errors: Errors


@dataclass(frozen=True)
class Tuning:
    """What `tune` found.

    decoder: the one that was given, with the best options.
    best: those options and their errors; of equally good ones the first.
    trials: every pair that was tried, in their order.
    """

    decoder: CtcBeam
    best: Trial
    trials: tuple[Trial, ...]

    def __str__(self) -> str:
        """A table of error rates in percent: a row a weight, a column a bonus, the best marked by a star."""
        bonuses = list(dict.fromkeys(trial.word_bonus for trial in self.trials))
        lines = ["lm_weight \\ word_bonus" + "".join(f"{bonus:>9g}" for bonus in bonuses)]
        for start in range(0, len(self.trials), len(bonuses)):
            row = self.trials[start : start + len(bonuses)]
            rates = (f"{trial.errors.rate:>8.2%}{'*' if trial is self.best else ' '}" for trial in row)
            lines.append(f"{row[0].lm_weight:>22g}" + "".join(rates))
        return "\n".join(line.rstrip() for line in lines)


def tune(
    decoder: CtcBeam,
    posteriors: Sequence[LogProbs],
    references: Sequence[str],
    *,
    lm_weights: Sequence[float],
    word_bonuses: Sequence[float],
    unit: Unit = "word",
    threads: int = 1,
) -> Tuning:
    """Tries all pairs of the weights and the bonuses, and takes the one with the fewest errors.

    It is the utterances' total that counts: use a development set, some hundred utterances that are in neither
    the training nor the test data. A best pair at the edge of the table asks for a wider one.

    decoder: with a language model and a vocabulary; its other options stay as they are.
    posteriors: what the decoder takes, (T, V) of each utterance; references: their texts.
    unit: "word" or "character", as in `errors`.
    threads: as in `CtcBeam.batch`.
    Raises ValueError for a decoder without a language model or vocabulary, for no utterances, no weights or no
    bonuses, and where there are not as many references as posteriors.
    """
    if decoder.lm is None or decoder.vocabulary is None:
        missing = "language model (lm)" if decoder.lm is None else "vocabulary"
        raise ValueError(f"a decoder with a language model and a vocabulary expected, got one without a {missing}")
    if len(posteriors) != len(references) or not references:
        raise ValueError(
            f"a reference for each of the posteriors expected, and at least one, got {len(references)} references "
            f"and {len(posteriors)} posteriors"
        )
    if not len(lm_weights) or not len(word_bonuses):
        raise ValueError(f"weights and bonuses to try expected, got {list(lm_weights)} and {list(word_bonuses)}")
    checks.one_of("unit", unit, get_args(Unit))
    # All pairs are checked before the first is tried; the alignment of frames makes no difference to a text.
    decoders = [
        replace(decoder, lm_weight=weight, word_bonus=bonus, n_best=1, align=False)
        for weight, bonus in product(lm_weights, word_bonuses)
    ]
    trials = []
    for trial in decoders:
        texts = [hypotheses[0].text for hypotheses in trial.batch(posteriors, threads=threads)]
        counts = [errors(reference, text, unit=unit) for reference, text in zip(references, texts, strict=True)]
        trials.append(Trial(trial.lm_weight, trial.word_bonus, sum(counts, Errors())))
    best = min(trials, key=lambda trial: trial.errors.total)
    return Tuning(replace(decoder, lm_weight=best.lm_weight, word_bonus=best.word_bonus), best, tuple(trials))
