"""The run of an attention beam search: the sequences that live, and those that have ended."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from asr_decoders.attention_rules import (
    Bools,
    Floats,
    Ints,
    LengthOptions,
    Lengths,
    Norm,
    Scores,
    check_attention,
    coverage,
    take_end,
)
from asr_decoders.beams import Places, ending, grow
from asr_decoders.ensemble import Ensemble
from asr_decoders.fusion import Fusion
from asr_decoders.interfaces import Hypothesis
from asr_decoders.vocabulary import Vocabulary


class Ended(NamedTuple):
    """A hypothesis: where its tokens are in the history, and the parts of its score."""

    length: int
    row: int
    score: float
    acoustic: float
    language: float
    bonus: float
    finished: bool


@dataclass(frozen=True)
class Rules:
    """What of the options of `AttentionBeam` the run needs; `falls`: no sequence's score ever rises as it grows."""

    options: LengthOptions
    n_best: int
    norm: Norm
    coverage_penalty: float
    patience: float
    falls: bool
    keep_attention: bool
    vocabulary: Vocabulary | None


class Search:
    """The run. `step` once for every length, as long as it is True; then `hypotheses`."""

    def __init__(self, rules: Rules, model: Ensemble, fusion: Fusion | None, lengths: Lengths, beam_size: int) -> None:
        batch = lengths.most.size
        self._rules, self._model, self._fusion, self._lengths = rules, model, fusion, lengths
        self._places = Places.empty(batch, beam_size, fusion)
        self._tokens = np.full(batch * beam_size, rules.options.begin, dtype=np.int32)
        self._history: list[tuple[Ints, NDArray[np.int32], Scores | None]] = []  # parents, tokens, parents' attention
        self._attended: Any = 0.0  # (N, T'), summed over the steps
        self._found: list[list[Ended]] = [[] for _ in range(batch)]
        self._ended = np.zeros(batch, dtype=np.intp)  # how many
        self._least = np.full(batch, -np.inf)  # score of the last of the n best
        self._greatest = rules.norm(lengths.most + 1)
        self._nothing: Floats = np.zeros((batch, beam_size))

    def step(self, length: int) -> bool:
        """From sequences of `length` tokens to those of one more. False when all utterances are done."""
        rules, places = self._rules, self._places
        used = places.score > -np.inf
        said = self._model.step(self._tokens, used, length)
        attention = self._attend(said.attention, used)
        spoken = None if said.language is None else said.language[:, :, rules.options.end]
        ends = take_end(said.values, said.said, self._lengths, rules.options, length)
        grown = grow(places, said.values, said.language, self._fusion, rules.options.end)
        self._end(ends, spoken, grown.rank, length)
        done = self._done(grown.places.best())
        if np.count_nonzero(done):
            for b in np.flatnonzero(done & used[:, 0]).tolist():
                self._found[b] = self._found[b] or self._unfinished(b, length)
            grown.places.score[done] = -np.inf
        self._places, self._tokens = grown.places, grown.tokens
        if np.count_nonzero(done) == done.size:
            return False
        self._history.append((grown.parents, grown.tokens, attention))
        if said.attention is not None:
            self._attended = self._attended[grown.parents]
        self._model.reorder(grown.parents)
        return True

    def _done(self, best: Floats) -> Bools:
        """Whether nothing better comes, (B,): best, (B,), is that of the sequences that live, -inf for none."""
        if self._rules.falls:
            done: Bools = self._least >= best / self._greatest
        else:
            done = best == -np.inf
        if self._rules.patience < np.inf:
            done |= self._ended >= self._rules.patience * self._places.score.shape[1]
        return done

    def _end(self, ends: Floats, spoken: Scores | None, grown: Floats, length: int) -> None:
        """Collects the sequences that end, being among the best of their utterance.

        ends, spoken: (B, K), what the step functions give the end, and what of it is of language models.
        """
        places, rules = self._places, self._rules
        heard: Floats = places.score + ends
        score, language, bonus = heard, self._nothing, self._nothing
        if self._fusion is not None and places.weights is not None:
            asked, added = self._fusion.finish(places.weights)
            language = (places.weights.language + asked).reshape(ends.shape)
            bonus = (places.weights.bonus + added).reshape(ends.shape)
            score = heard + language + bonus
        for b, k in ending(score, grown):
            said = float(places.language[b, k] + (0.0 if spoken is None else spoken[b, k]))
            parts = (float(heard[b, k]) - said, said + float(language[b, k]), float(bonus[b, k]))
            row = b * ends.shape[1] + k
            found = [*self._found[b], self._scored(length, row, length + 1, parts, finished=True)]
            self._found[b] = sorted(found, key=lambda ended: ended.score, reverse=True)[: rules.n_best]
            self._ended[b] += 1
            if len(self._found[b]) == rules.n_best:
                self._least[b] = self._found[b][-1].score

    def _unfinished(self, b: int, length: int) -> list[Ended]:
        """The best sequences as they are, where none could end."""
        places = self._places
        size = places.score.shape[1]
        found = []
        for k in np.flatnonzero(places.score[b] > -np.inf).tolist():
            row = b * size + k
            language, bonus = float(places.language[b, k]), 0.0
            acoustic = float(places.score[b, k]) - language
            if places.weights is not None:
                language += float(places.weights.language[row])
                bonus = float(places.weights.bonus[row])
            found.append(self._scored(length, row, max(length, 1), (acoustic, language, bonus), finished=False))
        return sorted(found, key=lambda ended: ended.score, reverse=True)[: self._rules.n_best]

    def _scored(
        self, length: int, row: int, counted: int, parts: tuple[float, float, float], *, finished: bool
    ) -> Ended:
        rules = self._rules
        acoustic, language, bonus = (part / float(rules.norm(counted)) for part in parts)
        if rules.coverage_penalty:
            frames = self._frames(row)
            bonus += rules.coverage_penalty * coverage(self._attended[row, :frames])
        return Ended(length, row, acoustic + language + bonus, acoustic, language, bonus, finished)

    def _attend(self, attention: Scores | None, used: Bools) -> Scores | None:
        """Sums the attention up, and checks it; returns what of it is to be kept."""
        if attention is None:
            return None
        before = self._attended.shape[1] if self._history else None
        check_attention(attention, used, before, self._lengths.frames)
        self._attended = self._attended + attention
        return attention if self._rules.keep_attention else None

    def _frames(self, row: int) -> int | None:
        """How many frames the memory of the row's utterance has, if that is known."""
        frames = self._lengths.frames
        return None if frames is None else int(frames[row // self._places.score.shape[1]])

    def hypotheses(self) -> list[list[Hypothesis]]:
        """The n best of each utterance, best first."""
        return [[self._hypothesis(ended) for ended in found] for found in self._found]

    def _hypothesis(self, ended: Ended) -> Hypothesis:
        row, tokens, attended = ended.row, [], []
        for parents, chosen, attention in reversed(self._history[: ended.length]):
            tokens.append(int(chosen[row]))
            row = int(parents[row])
            if attention is not None:
                attended.append(attention[row])
        tokens.reverse()
        kept = None
        if self._rules.keep_attention:
            frames = self._frames(ended.row)
            width = self._attended.shape[1]
            kept = np.array(attended[::-1]).reshape(len(tokens), width)[:, :frames]
        vocabulary = self._rules.vocabulary
        return Hypothesis(
            tokens=tuple(tokens),
            score=ended.score,
            text="" if vocabulary is None else vocabulary.text(tokens),
            finished=ended.finished,
            acoustic=ended.acoustic,
            language=ended.language,
            bonus=ended.bonus,
            attention=kept,
        )
