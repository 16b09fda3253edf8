"""What is added to the acoustic score of a CTC hypothesis: language models, words, hotwords.

The score of a prefix l (a sequence of tokens) is

    ln(sum over its CTC paths) + W(l),        W(l) = sum of w over its steps,

where w(k, c), the weight of the step from the prefix k to k + c, is determined by these two alone, whatever
the frames. So W multiplies the mass of l as a constant: the beam search stays the one of `search.py`. At the
end of the utterance the weight `finish` of every prefix is added. Weights come in two parts, which are kept
apart to the end: *language* (logarithms of a language model's probabilities, times lm_weight) and *bonus* (all
else). A *lookahead* a(l) <= 0, determined by l alone, is used to rank l in the beam, by mass * exp(a), and
is never part of its score.

The rules, of which `testing.full_expansion` with `testing.word_weights` and its like is the literal form:

Text      Tokens spell bytes of UTF-8 (`Vocabulary.spellings`), the boundary between words as one space.
          Boundaries in a row are one; one at the start or the end of the text separates nothing. Special
          tokens spell nothing.
Word      A word ends with the token that spells the boundary after it, or with the utterance. The *unfinished
          word* of a prefix is what follows the last boundary. For a word-level model no token may spell a
          boundary after its first byte.
Words     `lm_level="word"`: at a word's end, language = lm_weight ln p(word | words before), and bonus =
          word_bonus, and unknown_log_prob more where the word is unknown: in neither the model, which then gives
          the probability of <unk>, nor a hotword phrase. At the end of the utterance the unfinished word ends,
          and with sentence_boundaries lm_weight ln p(</s>) is added. The first word's history is <s> with
          sentence_boundaries, otherwise empty.
          Lookahead: where no known word begins with the unfinished word, of n > 0 characters,
          max(unknown_log_prob * max(1, n / 6), -300); otherwise 0.
Tokens    `lm_level="token"`: the same with tokens for words, without lookahead: each token ends at once. In
          an n-gram model they are named by their pieces (a space by the first of U+2581, "|", "<space>" that
          the model has). A model of one's own (`LanguageModel`) takes ids; none is unknown to it.
Hotwords  See `hotwords.py`; all of it is bonus.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
Rows = NDArray[Any]  # states of prefixes, (n, ...); what is in a row is the context's own


class Advance(NamedTuple):
    """What one token does to each of e prefixes."""

    states: Rows  # (e, ...) of the longer prefixes
    language: Floats  # (e,)
    bonus: Floats  # (e,)
    lookahead: Floats  # (e,) of the longer prefixes, at most 0


class Context(Protocol):
    """Something that weighs prefixes. Its state of a prefix is a row of an array: rows are taken and joined by
    the search, so that nothing grows with the length of the utterance, and pickle as they are.
    """

    @property
    def bound(self) -> Floats:
        """(V,) at least language + bonus + lookahead of any step by each token; () if the same for all."""
        ...

    def start(self) -> Rows:
        """(1, ...), the state of the empty prefix."""
        ...

    def step(self, states: Rows, parents: Ints, tokens: Ints, /) -> Advance:
        """Prefixes (e,) one token longer than those of the rows `parents` (e,) of states (n, ...)."""
        ...

    def finish(self, states: Rows, /) -> tuple[Floats, Floats]:
        """Language and bonus (n,) of ending here."""
        ...


class Weights(NamedTuple):
    """Of the n prefixes in the beam."""

    values: Floats  # (4, n), as named below
    states: tuple[Rows, ...]  # of each context

    @property
    def gain(self) -> Floats:
        """(n,) exp of the weight of the last step to the prefix."""
        gain: Floats = self.values[0]
        return gain

    @property
    def factor(self) -> Floats:
        """(n,) exp of the lookahead."""
        factor: Floats = self.values[1]
        return factor

    @property
    def language(self) -> Floats:
        """(n,) the sum over all steps."""
        language: Floats = self.values[2]
        return language

    @property
    def bonus(self) -> Floats:
        """(n,) the sum over all steps."""
        bonus: Floats = self.values[3]
        return bonus

    def take(self, rows: Ints) -> "Weights":
        return Weights(self.values.take(rows, axis=1), tuple(state.take(rows, axis=0) for state in self.states))

    def join(self, other: "Weights") -> "Weights":
        states = tuple(np.concatenate(pair) for pair in zip(self.states, other.states, strict=True))
        return Weights(np.concatenate((self.values, other.values), axis=1), states)


class Fusion:
    """Several contexts as one: what they add is added up."""

    def __init__(self, contexts: Sequence[Context]) -> None:
        self._contexts = tuple(contexts)
        self._bounds = [context.bound for context in contexts]

    def bound(self, vocab_size: int) -> Floats:
        """(V,) at least the weight and lookahead of any step by each token."""
        return np.broadcast_to(sum(self._bounds), vocab_size)

    def start(self) -> Weights:
        """Those of the empty prefix."""
        return Weights(np.array([[1.0], [1.0], [0.0], [0.0]]), tuple(context.start() for context in self._contexts))

    def step(self, weights: Weights, parents: Ints, tokens: Ints) -> Weights:
        """Of the prefixes (e,) one token longer than the rows `parents` (e,)."""
        steps = [
            context.step(states, parents, tokens)
            for context, states in zip(self._contexts, weights.states, strict=True)
        ]
        _, language, bonus, lookahead = steps[0]
        for step in steps[1:]:
            language, bonus, lookahead = language + step.language, bonus + step.bonus, lookahead + step.lookahead
        values = weights.values.take(parents, axis=1)
        np.exp(language + bonus, out=values[0])
        np.exp(lookahead, out=values[1])
        values[2] += language
        values[3] += bonus
        return Weights(values, tuple(step.states for step in steps))

    def finish(self, weights: Weights) -> tuple[Floats, Floats]:
        """Language and bonus (n,) of ending here."""
        ends = [context.finish(states) for context, states in zip(self._contexts, weights.states, strict=True)]
        language, bonus = (sum(column) for column in zip(*ends, strict=True))
        return language, bonus
