"""Decoding of autoregressive models, such as listen, attend and spell, through a step function.

Both searches look for a sequence of tokens followed by the end token, no longer than `max_lengths` tokens without
the end. At that length the end is the only choice left. The begin token, unless it is the end token too, is
never chosen. A step function may return its attention as a third value, see `AttendingStep`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from asr_decoders import checks
from asr_decoders.attention_rules import (
    AttendingStep,
    Counts,
    LengthNorm,
    Lengths,
    Norm,
    Reader,
    Scores,
    check_attention,
    check_log_probs,
    check_options,
    lengths,
    take_end,
)
from asr_decoders.attention_search import Rules, Search
from asr_decoders.contexts import Level, fusion
from asr_decoders.ensemble import Ensemble, Scorer
from asr_decoders.fusion import Fusion
from asr_decoders.hotwords import Hotwords
from asr_decoders.interfaces import Hypothesis, LanguageModel, LogProbs, Step
from asr_decoders.joint import CtcPrefix
from asr_decoders.language import Scale
from asr_decoders.ngram import NGram
from asr_decoders.vocabulary import Vocabulary


@dataclass(frozen=True, kw_only=True)
class AttentionGreedy:
    """The most probable token at every step, until the end token.

    The score is the natural logarithm of the probability of the tokens and the end. All options are those of
    `AttentionBeam`.
    """

    begin: int
    end: int
    min_length: int = 0
    min_length_ratio: float = 0.0
    max_length_ratio: float | None = None
    end_threshold: float | None = None
    keep_attention: bool = False
    vocabulary: Vocabulary | None = None

    def __post_init__(self) -> None:
        check_options(self)

    def __call__(
        self,
        step: Step | AttendingStep,
        state: Any,
        *,
        batch: int,
        max_lengths: Counts | None = None,
        memory_lengths: Counts | None = None,
    ) -> list[list[Hypothesis]]:
        """One hypothesis in a list for each of the B = `batch` utterances.

        step: called with tokens (B,) int32 and the state; row b is utterance b.
        max_lengths, memory_lengths: as of `AttentionBeam`.

        A hypothesis is not `finished` where neither the end nor, under max_lengths, another token was
        possible. Raises ValueError where the step does not return log-probabilities.
        """
        bounds = lengths(self, batch, max_lengths, memory_lengths)
        read = Reader("the step", self.end, self.vocabulary, self.keep_attention)
        last = np.full(batch, self.begin, dtype=np.int32)
        scores, live = np.zeros(batch), np.ones(batch, dtype=np.bool_)
        history: list[tuple[NDArray[np.int32], Scores | None]] = []  # tokens, and the attention that chose them
        found: list[list[Hypothesis]] = [[] for _ in range(batch)]
        width: int | None = None
        for length in range(int(bounds.most.max()) + 1):
            log_probs, state, attention = read(step, last, state)
            check_log_probs(read.name, log_probs, live, length)
            if attention is not None:
                check_attention(attention, live, width, bounds.frames)
                width = attention.shape[1]
            ends = take_end(log_probs[:, None], log_probs, bounds, self, length)[:, 0]
            gains = log_probs.max(axis=1)
            for b in np.flatnonzero(live & ~(gains > ends)).tolist():
                live[b], finished = False, bool(ends[b] > -np.inf)
                score = float(scores[b] + ends[b]) if finished else float(scores[b])
                found[b] = [self._hypothesis(b, history, bounds, width, score, finished)]
            if not live.any():
                break
            last = np.where(live, log_probs.argmax(axis=1), self.end).astype(np.int32)
            scores += np.where(live, gains, 0.0)
            history.append((last, attention))
        return found

    def _hypothesis(
        self,
        b: int,
        history: list[tuple[NDArray[np.int32], Scores | None]],
        bounds: Lengths,
        width: int | None,
        score: float,
        finished: bool,
    ) -> Hypothesis:
        tokens = tuple(int(chosen[b]) for chosen, _ in history)
        kept = None
        if width is not None:
            rows = [attention[b] for _, attention in history if attention is not None]
            kept = np.array(rows).reshape(len(rows), width)[:, : None if bounds.frames is None else bounds.frames[b]]
        text = "" if self.vocabulary is None else self.vocabulary.text(tokens)
        return Hypothesis(tokens, score, text, finished=finished, acoustic=score, attention=kept)


@dataclass(frozen=True, kw_only=True)
class AttentionBeam:
    """Beam search over the sequences that a step function makes, for a batch of utterances at once.

    At each step the `beam_size` best unfinished sequences of every utterance live on, ranked by their
    log-probability and what language models and hotwords add. One that ends, with a rank among the `beam_size`
    best of all candidates, is finished: it leaves the beam once and for all. Hypotheses are ranked by

        score = (ln p + language + bonus) / norm(length) + coverage_penalty * coverage

    with length counting the tokens and the end, and coverage = sum over the frames of ln(min(attention to the frame
    in all steps, 1)), not less than ln(1e-6) each (Wu et al. 2016, equation 14). The parts of the score in a
    hypothesis are divided by the norm, too, and `bonus` has the coverage.

    n_best: how many hypotheses are returned for each utterance, at most; they are all different.
    length_norm: "none": 1; "gnmt": ((5 + length) / 6) ** length_penalty (Wu et al. 2016); "power": length **
        length_penalty.
    length_penalty: the exponent, at least 0; greater favours longer hypotheses.
    coverage_penalty: at least 0; greater favours hypotheses that have attended to all frames. The step must return
        its attention.
    min_length: tokens before which the end is not a candidate.
    min_length_ratio, max_length_ratio: tokens for each frame of the memory, rounded down and up, which bound the
        length besides min_length and max_lengths.
    end_threshold: the end is a candidate only where its log-probability is above end_threshold times that of the
        best other token (Hannun et al. 2019, who take 1.5), by the step function alone; or where nothing else is.
    patience: an utterance is done, too, when patience * beam_size hypotheses are finished (Kasai et al. 2022).
    ctc_weight: between 0 and 1, of CTC in the search: ln p = ctc_weight * ctc + (1 - ctc_weight) * attention, with
        CTC's probabilities of prefixes, see `CtcPrefix`.
    blank: of CTC.
    lm, lm_level, lm_weight, word_bonus, unknown_log_prob, sentence_boundaries, hotwords: as of `CtcBeam`; the end
        token is the end of the sentence. A neural language model is a `Scorer`.
    keep_attention: whether hypotheses have the attention of their tokens, which the step must return.

    An utterance is done when no unfinished sequence can enter its n best any more. A log-probability only
    falls as the sequence grows, and dividing by the norm of the greatest length makes the most of it, so that

        ln p and language of the best unfinished sequence / norm(max_length + 1)

    is a bound that no later hypothesis exceeds: stopping by it changes no result. Under a positive word_bonus, or
    with hotwords, scores may rise, there is no such bound, and the search goes on to the greatest length or until
    `patience` ends it.
    """

    begin: int
    end: int
    beam_size: int
    n_best: int = 1
    length_norm: LengthNorm = "none"
    length_penalty: float = 0.0
    coverage_penalty: float = 0.0
    min_length: int = 0
    min_length_ratio: float = 0.0
    max_length_ratio: float | None = None
    end_threshold: float | None = None
    patience: float | None = None
    ctc_weight: float = 0.0
    blank: int = 0
    vocabulary: Vocabulary | None = None
    lm: NGram | LanguageModel[Any] | None = None
    lm_level: Level = "word"
    lm_weight: float = 0.5
    word_bonus: float = 0.0
    unknown_log_prob: float = -10.0
    sentence_boundaries: bool = True
    hotwords: Mapping[str, float] | Hotwords | None = None
    keep_attention: bool = False

    def __post_init__(self) -> None:
        check_options(self)
        checks.n_best(self.n_best, self.beam_size)
        checks.one_of("length_norm", self.length_norm, get_args(LengthNorm))
        checks.between("length_penalty", self.length_penalty, 0.0, 100.0)
        if self.length_norm == "none" and self.length_penalty:
            raise ValueError(f"length_penalty {self.length_penalty} needs a length_norm: choose gnmt or power")
        checks.between("coverage_penalty", self.coverage_penalty, 0.0, 100.0)
        if self.patience is not None:
            checks.between("patience", self.patience, 1e-6, 1e6)
        checks.between("ctc_weight", self.ctc_weight, 0.0, 1.0)
        checks.integer("blank", self.blank, least=0)
        checks.one_of("lm_level", self.lm_level, get_args(Level))
        checks.between("lm_weight", self.lm_weight, 0.0, 100.0)
        checks.between("word_bonus", self.word_bonus, -100.0, 100.0)
        checks.between("unknown_log_prob", self.unknown_log_prob, -100.0, 0.0)
        if self.hotwords is not None and not isinstance(self.hotwords, Hotwords):
            object.__setattr__(self, "hotwords", Hotwords(self.hotwords))
        if self.lm is not None or self.hotwords is not None:
            _ = self._fusion  # raises where the vocabulary will not do

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def __call__(
        self,
        step: Step | AttendingStep,
        state: Any,
        *,
        batch: int,
        max_lengths: Counts | None = None,
        memory_lengths: Counts | None = None,
        scorers: Sequence[Scorer] = (),
        ctc: Sequence[LogProbs] | None = None,
    ) -> list[list[Hypothesis]]:
        """The n best hypotheses of each of the B = `batch` utterances, best first, all different.

        step: called with tokens (N,) int32 and the state, N = B * beam_size; row b * beam_size + k is beam k
            of utterance b.
        state: of N rows (`repeat` makes them of B). After each step its leaves with the leading dimension N
            are put in the order of the new beams; others, e.g. an encoder's output (B, T', D) shared by the
            beams, are left alone. An array whose leading dimension is N by chance must not be in the state:
            let the step close over it.
        max_lengths: the most tokens, without the end; one integer or (B,).
        memory_lengths: frames of each utterance's memory, one integer or (B,): for ratios, and to leave the padding
            out of coverage and attention. Without it all T' frames of the attention count.
        scorers: other step functions, whose log-probabilities are added.
        ctc: (T, V) log-probabilities of each utterance, for ctc_weight.

        Where no sequence of the beam could end (every end had the probability 0), the best unfinished ones
        are returned, with `finished` False and a score without the end. Raises ValueError where the step
        does not return log-probabilities.
        """
        bounds = lengths(self, batch, max_lengths, memory_lengths)
        attentive = self.keep_attention or self.coverage_penalty > 0
        read = Reader("the step", self.end, self.vocabulary, attentive)
        model = Ensemble(step, state, read, scorers, self._ctc(ctc, batch), self.ctc_weight, self.beam_size)
        search = Search(self._rules(), model, self._fusion, bounds, self.beam_size)
        for length in range(int(bounds.most.max()) + 1):
            if not search.step(length):
                break
        return search.hypotheses()

    def _ctc(self, log_probs: Sequence[LogProbs] | None, batch: int) -> CtcPrefix | None:
        if (log_probs is not None) != (self.ctc_weight > 0):
            got = "none" if log_probs is None else f"them and ctc_weight {self.ctc_weight}"
            raise ValueError(f"ctc log-probabilities expected where there is a ctc_weight, and only there, got {got}")
        if log_probs is None:
            return None
        if len(log_probs) != batch:
            raise ValueError(
                f"ctc log-probabilities (T, V) of each of {batch} utterances expected, got {len(log_probs)}"
            )
        return CtcPrefix(log_probs, end=self.end, blank=self.blank)

    def _rules(self) -> Rules:
        return Rules(
            options=self,
            n_best=self.n_best,
            norm=Norm(self.length_norm, self.length_penalty),
            coverage_penalty=self.coverage_penalty,
            patience=np.inf if self.patience is None else self.patience,
            falls=not self.hotwords and (self.lm is None or self.word_bonus <= 0),
            keep_attention=self.keep_attention,
            vocabulary=self.vocabulary,
        )

    @cached_property
    def _fusion(self) -> Fusion | None:
        scale = Scale(
            lm_weight=self.lm_weight,
            word_bonus=self.word_bonus,
            unknown_log_prob=self.unknown_log_prob,
            sentence_boundaries=self.sentence_boundaries,
        )
        phrases = self.hotwords if isinstance(self.hotwords, Hotwords) else None
        return fusion(self.vocabulary, self.lm, self.lm_level, scale, phrases)
