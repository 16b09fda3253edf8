"""The rules of `fusion.py` and `hotwords.py`, applied to a whole prefix at a time, from its beginning."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol, TypeVar

from asr_decoders.interfaces import LanguageModel
from asr_decoders.vocabulary import Vocabulary

S = TypeVar("S")

# (prefix, whether the utterance ends with it) -> language, bonus, lookahead: all that was added to the prefix
Weights = Callable[[tuple[int, ...], bool], tuple[float, float, float]]


class Scorer(Protocol):
    """An n-gram model: its words, and the natural log-probability of a sequence of them."""

    @property
    def vocabulary(self) -> Sequence[str]: ...

    def score(self, words: Sequence[str], /, *, bos: bool = True, eos: bool = True) -> float: ...


def word_weights(
    vocabulary: Vocabulary,
    lm: Scorer,
    *,
    lm_weight: float = 0.5,
    word_bonus: float = 0.0,
    unknown_log_prob: float = -10.0,
    sentence_boundaries: bool = True,
    hotwords: Iterable[str] = (),
) -> Weights:
    """`lm_level="word"`; hotwords: the phrases, whose words are known."""
    known = {word.encode() for phrase in (" ".join(hotwords), *lm.vocabulary) for word in phrase.split()}

    def weigh(prefix: tuple[int, ...], final: bool) -> tuple[float, float, float]:
        words, unfinished = _words(_spelt(vocabulary, prefix))
        if final and unfinished:
            words.append(unfinished)
        names = [word.decode(errors="replace") for word in words]
        log_prob = lm.score(names, bos=sentence_boundaries, eos=final and sentence_boundaries)
        bonus = word_bonus * len(words) + unknown_log_prob * sum(word not in known for word in words)
        lookahead = 0.0
        if unfinished and not final and not any(word.startswith(unfinished) for word in known):
            characters = sum(not 0x80 <= byte < 0xC0 for byte in unfinished)
            lookahead = max(unknown_log_prob * max(1.0, characters / 6), -300.0)
        return lm_weight * log_prob, bonus, lookahead

    return weigh


def token_weights(
    vocabulary: Vocabulary,
    lm: Scorer,
    *,
    lm_weight: float = 0.5,
    word_bonus: float = 0.0,
    unknown_log_prob: float = -10.0,
    sentence_boundaries: bool = True,
) -> Weights:
    """`lm_level="token"` with an n-gram model of the vocabulary's pieces."""
    space = next((name for name in ("\u2581", "|", "<space>") if name in lm.vocabulary), " ")

    def weigh(prefix: tuple[int, ...], final: bool) -> tuple[float, float, float]:
        names = [space if vocabulary.piece(token) == " " else vocabulary.piece(token) for token in prefix]
        log_prob = lm.score(names, bos=sentence_boundaries, eos=final and sentence_boundaries)
        unknown = sum(name not in lm.vocabulary for name in names)
        return lm_weight * log_prob, word_bonus * len(names) + unknown_log_prob * unknown, 0.0

    return weigh


def model_weights(
    lm: LanguageModel[S], *, lm_weight: float = 0.5, word_bonus: float = 0.0, sentence_boundaries: bool = True
) -> Weights:
    """`lm_level="token"` with a model of one's own."""

    def weigh(prefix: tuple[int, ...], final: bool) -> tuple[float, float, float]:
        state, total = lm.start(), 0.0
        for token in prefix:
            state, log_prob = lm.step(state, token)
            total += log_prob
        if final and sentence_boundaries:
            total += lm.finish(state)
        return lm_weight * total, word_bonus * len(prefix), 0.0

    return weigh


def hotword_weights(vocabulary: Vocabulary, phrases: Mapping[str, float]) -> Weights:
    """The text is read from left to right. Where a word starts, the longest phrase there counts and the
    reading goes on after it; where there is none, at the next word. While the rest of the text may still
    become a phrase, or a longer one, a share of that stands in for it.
    """
    spaced = vocabulary.boundary != "none"
    # A phrase is spelled whole with the boundary after it.
    patterns = {(phrase + " " if spaced else phrase).encode(): weight for phrase, weight in phrases.items()}

    def share(rest: bytes) -> float:
        shares = []
        for pattern, weight in patterns.items():
            length = len(pattern) - spaced
            if pattern.startswith(rest):
                shares.append(weight * min(len(rest), length) / length)
            elif rest.startswith(pattern):
                shares.append(weight)
        return max(shares)

    def weigh(prefix: tuple[int, ...], final: bool) -> tuple[float, float, float]:
        rest, total = _spelt(vocabulary, prefix), 0.0
        if spaced:
            words, unfinished = _words(rest)
            rest = b"".join(word + b" " for word in words) + unfinished
            rest += b" " if final and unfinished else b""
        while rest:
            if not final and any(pattern.startswith(rest) and pattern != rest for pattern in patterns):
                return 0.0, total + share(rest), 0.0
            there = [pattern for pattern in patterns if rest.startswith(pattern)]
            if there:
                longest = max(there, key=len)
                total += patterns[longest]
                rest = rest[len(longest) :]
            elif spaced:
                rest = rest.partition(b" ")[2]  # nothing, inside of a word that is no phrase
            else:
                rest = rest[1:]
        return 0.0, total, 0.0

    return weigh


def _spelt(vocabulary: Vocabulary, prefix: Iterable[int]) -> bytes:
    """The text of the prefix, every boundary as a space."""
    pieces = [vocabulary.piece(token) for token in prefix if token not in vocabulary.special]
    if vocabulary.boundary != "sentencepiece":
        return "".join(pieces).encode()
    byte = {f"<0x{i:02X}>": bytes([i]) for i in range(256)}
    return b"".join(byte.get(piece, piece.replace("\u2581", " ").encode()) for piece in pieces)


def _words(text: bytes) -> tuple[list[bytes], bytes]:
    """The words that have ended, and the unfinished one."""
    *ended, unfinished = text.split(b" ")
    return [word for word in ended if word], unfinished
