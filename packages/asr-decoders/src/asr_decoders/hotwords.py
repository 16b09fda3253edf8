"""Phrases that are more likely here than the models believe: names, products, addresses.

The text of a prefix (see `fusion.py`) is read from left to right. Where a word starts, the longest phrase that is
there, whole and with a boundary or the end of the utterance after it, counts with its weight, and the reading goes
on after that boundary; where there is none, at the next word. So a phrase inside of a longer one counts where the
longer one does not, phrases that overlap do not both count, and it does not matter how tokens spell them. (In a
vocabulary without word boundaries a phrase may start and end anywhere.)

So much for the end of the utterance. Before it the rest of the text may be the beginning of a phrase, or of a
longer one than there is. Then a share of the phrase is granted in advance, weight * letters spelt / letters (bytes
of UTF-8), or the weight of a phrase that is whole already: the greatest of these. What was granted in advance is
taken back as soon as the text goes on otherwise, so that the beam keeps a phrase from its first letters on, and the
final score knows whole phrases only. All of this is a finite automaton over bytes (after Aho and Corasick, 1975).
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from asr_decoders.fusion import Advance, Floats, Ints, Rows
from asr_decoders.vocabulary import Vocabulary

ROOT = 0  # where a word, or in a vocabulary without words a phrase, may start
INSIDE = 1  # inside of a word that no phrase starts with
MOST = 100.0


@dataclass(frozen=True)
class Hotwords:
    """Phrases and their weights in nats; negative ones make a phrase less likely.

    phrases: a mapping, or pairs, of words with single spaces between to weights from -100 to 100. Raises
    ValueError for others.
    """

    phrases: tuple[tuple[str, float], ...]

    def __init__(self, phrases: Mapping[str, float] | tuple[tuple[str, float], ...]) -> None:
        if not isinstance(phrases, Mapping | tuple):
            raise ValueError(f"hotwords must be a mapping of phrases to weights, got {type(phrases).__name__}")
        weights = dict(phrases)
        for phrase, weight in weights.items():
            if not isinstance(phrase, str) or not phrase or " ".join(phrase.split()) != phrase:
                raise ValueError(f"a hotword phrase is words with single spaces between, got {phrase!r}")
            if isinstance(weight, bool) or not isinstance(weight, int | float) or not -MOST <= weight <= MOST:
                raise ValueError(
                    f"the weight of a hotword is {-MOST:g} to {MOST:g} nats, got {weight!r} for {phrase!r}"
                )
        object.__setattr__(self, "phrases", tuple((phrase, float(weight)) for phrase, weight in weights.items()))


class Automaton(NamedTuple):
    """S states, A classes of bytes."""

    classes: NDArray[np.intp]  # (256,) of each byte
    next: NDArray[np.intp]  # (S, A)
    weight: Floats  # (S, A) what is added on the way there
    finish: Floats  # (S,) what is added where the text ends


def automaton(hotwords: Hotwords, *, spaced: bool) -> Automaton:
    """spaced: phrases are words, between boundaries, which are spaces.

    A state is a beginning u of phrases (with the boundary after them), which the rest of the text is; the rest
    being what comes after all that is decided. Where a byte does not lead to a longer u, u is decided as far as it
    must be, which leaves the state `fall` and what has counted, `gain`; and from there the byte leads on.
    """
    end = b" " if spaced else b""
    patterns = {phrase.encode() + end: weight for phrase, weight in hotwords.phrases}
    beginnings = {pattern[:i] for pattern in patterns for i in range(len(pattern))} - {b""}
    texts = [b"", *sorted(beginnings, key=lambda text: (len(text), text))]
    number = {text: i + (i > ROOT) for i, text in enumerate(texts)}  # INSIDE has no text
    alphabet = sorted({*b"".join(patterns), *end})
    classes = np.zeros(256, dtype=np.intp)  # 0: in no phrase
    classes[alphabet] = np.arange(1, len(alphabet) + 1)

    size = len(texts) + 1
    following = np.full((size, len(alphabet) + 1), INSIDE if spaced else ROOT)
    gain = np.zeros(following.shape)
    decided = np.zeros(size)  # what counts if no byte comes any more
    if spaced:
        following[[ROOT, INSIDE], classes[ord(" ")]] = ROOT
    for text in texts:
        state = number[text]
        if text:
            before, rest = _decide(text, patterns, spaced)
            fall = INSIDE if rest is None else ROOT
            for byte in classes[list(rest or b"")]:
                before += gain[fall, byte]
                fall = following[fall, byte]
            following[state], gain[state] = following[fall], before + gain[fall]
            decided[state] = before + decided[fall]
            if spaced and text.endswith(b" "):  # boundaries in a row are one
                following[state, classes[ord(" ")]], gain[state, classes[ord(" ")]] = state, 0.0
        for byte in alphabet:
            longer = text + bytes([byte])
            if longer in number:
                following[state, classes[byte]], gain[state, classes[byte]] = number[longer], 0.0
            elif longer in patterns:
                following[state, classes[byte]], gain[state, classes[byte]] = ROOT, patterns[longer]

    share = _shares(number, patterns, size, len(end))
    if spaced:
        space = classes[ord(" ")]
        decided = gain[:, space] + decided[following[:, space]]
    return Automaton(classes, following, gain + share[following] - share[:, None], decided - share)


def _decide(text: bytes, patterns: Mapping[bytes, float], spaced: bool) -> tuple[float, bytes | None]:
    """What counts at the beginning of a text that is no more to be the beginning of a longer phrase than is there.

    Its weight, and the text after it: None if that begins inside of a word.
    """
    for length in range(len(text), 0, -1):
        if text[:length] in patterns:
            return patterns[text[:length]], text[length:]
    if not spaced:
        return 0.0, text[1:]
    _, space, rest = text.partition(b" ")
    return 0.0, rest if space else None


def _shares(number: Mapping[bytes, int], patterns: Mapping[bytes, float], size: int, end: int) -> Floats:
    """(S,) what is granted in advance; `end` bytes of a pattern are not letters."""
    share = np.full(size, -np.inf)
    share[[ROOT, INSIDE]] = 0.0
    for pattern, weight in patterns.items():
        letters = len(pattern) - end
        for length in range(1, len(pattern)):
            state = number[pattern[:length]]
            share[state] = max(share[state], weight * min(length, letters) / letters)
    for text, state in number.items():
        whole = [patterns[text[:i]] for i in range(1, len(text) + 1) if text[:i] in patterns]
        share[state] = max([share[state], *whole])
    return share


class HotwordContext:
    """Hotwords as a context of the CTC search. A state is one of the automaton."""

    def __init__(self, vocabulary: Vocabulary, hotwords: Hotwords) -> None:
        spaced = vocabulary.boundary != "none"
        spellings = vocabulary.spellings
        _warn_of_unspellable(hotwords, set(spellings) - {b""}, spaced)
        self.automaton = automaton(hotwords, spaced=spaced)
        classes, following, weight, _ = self.automaton
        self._lengths = np.array([len(spelling) for spelling in spellings])
        self._spelt = np.zeros((len(spellings), max(self._lengths.max(), 1)), dtype=np.intp)  # classes of the bytes
        bounds: dict[bytes, float] = {}
        self.bound: Floats = np.zeros(len(spellings))
        for token, spelling in enumerate(spellings):
            spelt = classes[list(spelling)]
            self._spelt[token, : len(spelling)] = spelt
            if spelt.tobytes() not in bounds:
                state, total = np.arange(len(following)), np.zeros(len(following))
                for byte in spelt.tolist():
                    total += weight[state, byte]
                    state = following[state, byte]
                bounds[spelt.tobytes()] = float(total.max())
            self.bound[token] = bounds[spelt.tobytes()]

    def start(self) -> Rows:
        return np.full(1, ROOT)

    def step(self, states: Rows, parents: Ints, tokens: Ints, /) -> Advance:
        _, following, weight, _ = self.automaton
        state, length = states[parents], self._lengths[tokens]
        total = np.zeros(tokens.size)
        for i in range(length.max(initial=0)):
            rows = np.flatnonzero(length > i)
            byte = self._spelt[tokens[rows], i]
            total[rows] += weight[state[rows], byte]
            state[rows] = following[state[rows], byte]
        zeros = np.zeros(tokens.size)
        return Advance(state, zeros, total, zeros)

    def finish(self, states: Rows, /) -> tuple[Floats, Floats]:
        return np.zeros(len(states)), self.automaton.finish[states]


def _warn_of_unspellable(hotwords: Hotwords, spellings: set[bytes], spaced: bool) -> None:
    """Phrases that no sequence of tokens spells cannot be heard."""
    longest = max(map(len, spellings), default=0)
    lost = []
    for phrase, _ in hotwords.phrases:
        text = b" " * spaced + phrase.encode()
        reached = {0, int(spaced)}  # the first boundary may be missing
        for end in range(1, len(text) + 1):
            if any(text[start:end] in spellings for start in range(max(0, end - longest), end) if start in reached):
                reached.add(end)
        if len(text) not in reached:
            lost.append(phrase)
    if lost:
        names = ", ".join(map(repr, lost[:5])) + (" ..." if len(lost) > 5 else "")
        warnings.warn(f"{len(lost)} hotword phrases cannot be spelt with this vocabulary: {names}", stacklevel=4)
