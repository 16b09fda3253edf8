"""Language models as contexts of the CTC search: the rules "Words" and "Tokens" of `fusion.py`."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asr_decoders import checks
from asr_decoders.fusion import Advance, Floats, Ints, Rows
from asr_decoders.interfaces import LanguageModel
from asr_decoders.ngram import NGram
from asr_decoders.ngram.lexicon import Lexicon, pieces
from asr_decoders.vocabulary import Vocabulary

Hashes = NDArray[np.int64]

SPACES = ("\u2581", "|", "<space>")  # how models of tokens name the space
DEEPEST = -300.0  # the least lookahead
LONG = 20_000  # characters, at which it is reached

# The lexicon's mix consists of steps that can be undone: a product by the inverse factor, x ^= x >> 32 by itself.
UNMIX = np.uint64(pow(0xD6E8FEB86659FD93, -1, 1 << 64))
HALF = np.uint64(32)


@dataclass(frozen=True, kw_only=True)
class Scale:
    """What a language model's probabilities count for; the options of `CtcBeam` of the same names."""

    lm_weight: float
    word_bonus: float
    unknown_log_prob: float
    sentence_boundaries: bool


class WordContext:
    """An n-gram model of words.

    A state is a row of integers: the hash and the number of characters of the unfinished word, the model's state
    before it. There is an unfinished word where the hash is not that of the empty text, 0; it may have no characters,
    where its bytes only go on with one.
    """

    def __init__(self, vocabulary: Vocabulary, lm: NGram, scale: Scale, hotwords: Iterable[str] = ()) -> None:
        if vocabulary.boundary == "none":
            raise ValueError('lm_level "word" needs word boundaries, got a vocabulary of boundary "none": use "token"')
        letters = [spelling.lstrip(b" ") for spelling in vocabulary.spellings]
        inside = [piece for piece, text in zip(vocabulary.pieces, letters, strict=True) if b" " in text]
        if inside:
            raise ValueError(f'lm_level "word" needs pieces of one word, got {inside[0]!r}: use "token"')
        self._lm = lm
        self._scale = scale
        hot = sorted({word for phrase in hotwords for word in phrase.split()})
        self._hotwords, self._hot = Lexicon.of(hot), bool(hot)
        self._starts = np.array([spelling[:1] == b" " for spelling in vocabulary.spellings])
        self._factor, self._hash = pieces(letters)
        # Bytes 10xxxxxx go on with a character.
        self._characters = np.array([sum(byte & 0xC0 != 0x80 for byte in text) for text in letters])
        # The hash and the characters after each token: those before times `_times` and `_keeps`, plus the token's own.
        self._times = np.where(self._starts, 0, self._factor.view(np.int64))
        self._plus = self._hash.view(np.int64)
        self._keeps = np.where(self._starts, 0, 1)
        self._penalty = scale.unknown_log_prob * np.maximum(np.arange(LONG) / 6, 1.0)
        self._penalty = np.maximum(self._penalty, DEEPEST)
        self.bound: Floats = np.where(self._starts, max(scale.word_bonus, 0.0) + _slack(scale), 0.0)

    def start(self) -> Rows:
        history = self._lm.initial(bos=self._scale.sentence_boundaries)
        return np.concatenate((np.zeros((1, 2), dtype=np.int64), history), axis=1)

    def step(self, states: Rows, parents: Ints, tokens: Ints, /) -> Advance:
        grown = states.take(parents, axis=0)
        hashes, characters = grown[:, 0], grown[:, 1]
        language, bonus = np.zeros((2, tokens.size))
        ends = (self._starts[tokens] & (hashes != 0)).nonzero()[0]
        if ends.size:
            ended = np.zeros(len(states), dtype=np.bool_)  # the same word ends for many tokens
            ended[parents[ends]] = True
            place = ended.cumsum()[parents[ends]] - 1
            word_language, word_bonus, history = self._end(states[ended])
            language[ends], bonus[ends], grown[ends, 2:] = word_language[place], word_bonus[place], history[place]
        grown[:, 0] = hashes = hashes * self._times[tokens] + self._plus[tokens]  # modulo 2^64
        grown[:, 1] = characters = characters * self._keeps[tokens] + self._characters[tokens]
        dead = (self._find(hashes) == -2) & (hashes != 0)
        return Advance(grown, language, bonus, np.where(dead, self._penalty[np.minimum(characters, LONG - 1)], 0.0))

    def finish(self, states: Rows, /) -> tuple[Floats, Floats]:
        language, bonus = np.zeros((2, len(states)))
        history = states[:, 2:].copy()
        last = np.flatnonzero(states[:, 0])
        language[last], bonus[last], history[last] = self._end(states[last])
        return language + _end(self._lm, history, self._scale), bonus

    def _end(self, states: Rows) -> tuple[Floats, Floats, Rows]:
        """Language and bonus of the unfinished word, and the model's state after it."""
        numbers = self._find(states[:, 0].copy())
        log_prob, history = self._lm.query(states[:, 2:].astype(np.int32), np.maximum(numbers, 0))
        bonus = self._scale.word_bonus + np.where(numbers < 0, self._scale.unknown_log_prob, 0.0)
        return self._scale.lm_weight * log_prob, bonus, history

    def _find(self, hashes: Hashes) -> Ints:
        """The numbers of words; 0, that of <unk>, for one of a hotword phrase, -1 for a beginning, -2 for neither."""
        found = _find(self._lm.lexicon, hashes)
        if self._hot:
            hot = _find(self._hotwords, hashes)
            found = np.where(found >= 0, found, np.maximum(found, np.minimum(hot, 0)))
        return found


class TokenContext:
    """An n-gram model of the vocabulary's pieces. A state is the model's."""

    def __init__(self, vocabulary: Vocabulary, lm: NGram, scale: Scale) -> None:
        self._lm = lm
        self._scale = scale
        numbers = _numbers(lm, vocabulary.pieces)
        spaces = _numbers(lm, SPACES)
        space = next((number for number in spaces.tolist() if number >= 0), -1)
        numbers = np.where(np.array(vocabulary.pieces) == " ", space, numbers)
        self._numbers = np.maximum(numbers, 0)  # 0 is <unk>
        self._bonus = scale.word_bonus + np.where(numbers < 0, scale.unknown_log_prob, 0.0)
        self.bound: Floats = self._bonus + _slack(scale)

    def start(self) -> Rows:
        return self._lm.initial(bos=self._scale.sentence_boundaries)

    def step(self, states: Rows, parents: Ints, tokens: Ints, /) -> Advance:
        log_prob, history = self._lm.query(states[parents], self._numbers[tokens])
        return Advance(history, self._scale.lm_weight * log_prob, self._bonus[tokens], np.zeros(tokens.size))

    def finish(self, states: Rows, /) -> tuple[Floats, Floats]:
        return _end(self._lm, states, self._scale), np.zeros(len(states))


@dataclass(frozen=True, eq=False)
class _Node:
    """A state of a model of one's own, and what is known of the states after it."""

    state: Any
    children: dict[int, tuple["_Node", float]] = field(default_factory=dict)  # by token, with ln p(token)

    def __reduce__(self) -> tuple[type["_Node"], tuple[Any]]:
        return _Node, (self.state,)


class ModelContext:
    """A model of one's own, of tokens. A state is a `_Node`; a step that was asked for once is remembered."""

    def __init__(self, lm: LanguageModel[Any], scale: Scale) -> None:
        self._lm = lm
        self._scale = scale
        self.bound: Floats = np.array(scale.word_bonus + _slack(scale))

    def start(self) -> Rows:
        return _objects([_Node(self._lm.start())])

    def step(self, states: Rows, parents: Ints, tokens: Ints, /) -> Advance:
        nodes, log_probs = [], np.empty(tokens.size)
        for i, (node, token) in enumerate(zip(states[parents].tolist(), tokens.tolist(), strict=True)):
            if token not in node.children:
                state, log_prob = self._lm.step(node.state, token)
                node.children[token] = _Node(state), _checked(log_prob)
            child, log_probs[i] = node.children[token]
            nodes.append(child)
        bonus = np.full(tokens.size, self._scale.word_bonus)
        return Advance(_objects(nodes), _weighted(self._scale, log_probs), bonus, np.zeros(tokens.size))

    def finish(self, states: Rows, /) -> tuple[Floats, Floats]:
        log_probs = np.zeros(len(states))
        if self._scale.sentence_boundaries:
            log_probs[:] = [_checked(self._lm.finish(node.state)) for node in states.tolist()]
        return _weighted(self._scale, log_probs), np.zeros(len(states))


@lru_cache(maxsize=4)
def _in_order(lexicon: Lexicon) -> tuple[Hashes, Ints]:
    """The hashes in a lexicon and their numbers, -1 for a beginning: numpy bisects faster than it probes."""
    table = lexicon.table[lexicon.table["key"] != 0]
    hashes, numbers = _unmixed(table["key"]).view(np.int64), table["id"].astype(np.int32)
    order = np.argsort(hashes)
    return hashes[order], numbers[order].astype(np.intp)


def _find(lexicon: Lexicon, hashes: Hashes) -> Ints:
    """What `Lexicon.find` finds."""
    known, numbers = _in_order(lexicon)
    if not known.size:
        return np.full(hashes.size, -2)
    places = known.searchsorted(hashes)
    places[places == known.size] = 0
    found = numbers[places]
    found[known[places] != hashes] = -2
    return found


def _unmixed(keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The hashes whose `lexicon.mix` these are."""
    x = keys ^ (keys >> HALF)
    for _ in range(2):
        x *= UNMIX
        x ^= x >> HALF
    return x


def _numbers(lm: NGram, names: Sequence[str]) -> Ints:
    """The numbers of words in the model, negative where there are none."""
    return lm.lexicon.find(pieces([name.encode() for name in names]).hash)


def _end(lm: NGram, histories: Rows, scale: Scale) -> Floats:
    """Language (n,) of the end of the utterance."""
    if not scale.sentence_boundaries:
        return np.zeros(len(histories))
    log_prob, _ = lm.query(histories.astype(np.int32), np.full(len(histories), lm.end))
    return scale.lm_weight * log_prob


def _slack(scale: Scale) -> float:
    """How far above 0 rounding may lift what a model says, weighted."""
    return scale.lm_weight * checks.ROUNDING


def _weighted(scale: Scale, log_probs: Floats) -> Floats:
    return scale.lm_weight * log_probs if scale.lm_weight else np.zeros(log_probs.size)  # 0 * -inf is NaN


def _checked(log_prob: float) -> float:
    if not log_prob <= checks.ROUNDING:
        raise ValueError(f"log-probability expected of the language model (natural log, at most 0), got {log_prob}")
    return log_prob


def _objects(values: list[Any]) -> Rows:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array
