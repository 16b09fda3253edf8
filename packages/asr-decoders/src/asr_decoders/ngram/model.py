"""The n-gram model."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from asr_decoders.ngram import arpa, kenlm
from asr_decoders.ngram.build import Order
from asr_decoders.ngram.layout import Layout, Probing
from asr_decoders.ngram.lexicon import Lexicon
from asr_decoders.ngram.query import Ints, States, query
from asr_decoders.ngram.words import UNKNOWN, Words, word_hashes

Sentence = str | Sequence[str]  # a text of words between spaces, or the words


@dataclass(frozen=True, eq=False)
class NGram:
    """A back-off n-gram model of words: ln p(word | the words before it), as many as order - 1.

    It is read from a file (`NGram.read`) or estimated from text (`estimate`). Sentences are strings of words
    between spaces, or sequences of words. All scores are natural logarithms. Words that are not in the model
    are <unk>, and score as it does.

    Searches use the numbers of words (`word_ids`; <unk> is 0) and states, which are what is left of a history:
    many at a time with `initial` and `query`, one by one as a `LanguageModel` over these numbers.

    layout: the arrays, for which see `ngram/layout.py`; the native search reads the same.
    """

    layout: Layout
    words: Words
    strings: tuple[str, ...] | NDArray[np.uint8] = field(repr=False)  # by number; or each ended by a 0 byte
    name: str = ""  # of the file, for messages
    orders: tuple[Order, ...] = field(default=(), repr=False)  # the n-grams themselves, where there is no file

    @classmethod
    def read(cls, path: str | Path, *, words: Sequence[str] | None = None) -> "NGram":
        """Reads an ARPA file, plain or gzipped, or opens a binary file of KenLM's (any kind but rest costs).

        A binary file is mapped: it opens at once, whatever its size, and must stay as it is while it is in use.
        An ARPA file without <unk> gives it a log10 probability of -100, as KenLM does.

        words: all words of the model, in any order, for a binary file that was built without them
            (build_binary -v); only `vocabulary` and `lexicon` need them.
        Raises FileNotFoundError; ValueError, in one line, for a file that is none of these, is cut or damaged.
        """
        with open(path, "rb") as file:
            start = file.read(64)
        if not kenlm.is_binary(start):
            if words is not None:
                raise ValueError(f"{path}: words are for a KenLM file that was built without them, got an ARPA file")
            read = arpa.read(path)
            return cls(read.layout, read.table, tuple(read.words), str(path))
        binary = kenlm.read(path)
        if words is None:
            return cls(binary.layout, binary.words, binary.strings, str(path))
        return cls(binary.layout, binary.words, _sorted(path, words, binary), str(path))

    def write(self, path: str | Path) -> None:
        """Writes an estimated model as an ARPA file, gzipped where its name ends in .gz."""
        if not self.orders:
            raise ValueError(f"a model that was estimated expected, got the one of {self.name}: copy the file")
        arpa.write(path, self.vocabulary, self.orders)

    @property
    def order(self) -> int:
        """The greatest length of n-grams."""
        return self.layout.order

    def __len__(self) -> int:
        """How many words there are, <unk> included."""
        return len(self.layout.unigrams) - (not isinstance(self.layout, Probing))

    @cached_property
    def vocabulary(self) -> tuple[str, ...]:
        """The words by number, <unk> first; <s> and </s> are among them. Read from a binary file when asked for.

        Raises ValueError for a binary file that was built without its words.
        """
        if isinstance(self.strings, tuple):
            return self.strings
        if not self.strings.size:
            raise ValueError(f"{self.name}: this KenLM file was built without its words (-v): give them to NGram.read")
        try:
            words = self.strings.tobytes().decode().split("\0")[:-1]
        except UnicodeDecodeError as error:
            raise ValueError(f"{self.name}: words in UTF-8 expected at the end of the file: {error}") from None
        if len(words) != len(self) or (self.word_ids(words) != np.arange(len(self))).any():
            raise ValueError(f"{self.name}: {len(self)} words expected at its end, got others: it is cut or damaged")
        return tuple(words)

    @cached_property
    def lexicon(self) -> Lexicon:
        """The beginnings of the words, for a search that spells them."""
        return Lexicon.of(self.vocabulary)

    @cached_property
    def begin(self) -> int:
        """The number of <s>, 0 where the model has none."""
        return int(self.word_ids(["<s>"])[0])

    @cached_property
    def end(self) -> int:
        """The number of </s>, 0 where the model has none."""
        return int(self.word_ids(["</s>"])[0])

    def word_ids(self, words: Sequence[str]) -> NDArray[np.int32]:
        """The numbers (n,) of words; 0, that of <unk>, where one is not in the model."""
        ids = self.words.find(word_hashes(words))
        if (ids >= len(self)).any():
            raise ValueError(f"{self.name}: numbers of words below {len(self)} expected, got others: it is damaged")
        return ids.astype(np.int32)

    def initial(self, *, bos: bool = True) -> States:
        """The state (1, 2 (order - 1)) before the first word: after <s>, or after nothing."""
        history, backoffs = np.full(self.order - 1, -1, dtype=np.int32), np.zeros(self.order - 1, dtype=np.float32)
        if bos and self.order > 1:
            history[0] = self.begin
            backoffs[0] = self.layout.unigrams["backoff"][self.begin]
        return np.concatenate((history, backoffs.view(np.int32)))[None]

    def query(self, states: States, words: NDArray[np.integer]) -> tuple[NDArray[np.float64], States]:
        """ln p (n,) of words (n,), by number, each after the history of its state; and the states after them.

        States (n, 2 (order - 1)) are rows of int32 which come from `initial` and `query`, to be taken,
        compared and kept as they are: equal rows have equal futures.
        Raises ValueError for numbers that are not words, and where the file turns out to be damaged.
        """
        numbers: Ints = np.asarray(words, dtype=np.intp)
        if states.shape != (numbers.size, 2 * (self.order - 1)) or states.dtype != np.int32:
            expected = (numbers.size, 2 * (self.order - 1))
            raise ValueError(f"states {expected} of int32 expected, got {states.shape} of {states.dtype}")
        if numbers.size and not 0 <= numbers.min() <= numbers.max() < len(self):
            raise ValueError(f"numbers of words in [0, {len(self)}) expected, got {numbers.min()} ... {numbers.max()}")
        with np.errstate(invalid="ignore", over="ignore"):
            log_probs, states = query(self.layout, states, numbers)
        if not np.isfinite(log_probs).all():
            raise ValueError(f"{self.name}: probabilities expected, got what is not a number: the file is damaged")
        return log_probs, states

    def score(self, words: Sentence, *, bos: bool = True, eos: bool = True) -> float:
        """ln p of a sentence: bos puts <s> before it, eos adds the probability that it ends there."""
        return float(self.log_probs([words], bos=bos, eos=eos)[0])

    def log_probs(self, sentences: Iterable[Sentence], *, bos: bool = True, eos: bool = True) -> NDArray[np.float64]:
        """ln p (S,) of sentences; see `score`. Many at once cost much less than one by one."""
        rows = [_words(sentence) for sentence in sentences]
        lengths = np.array([len(row) for row in rows], dtype=np.intp)
        ids = self.word_ids([word for row in rows for word in row])
        order = np.argsort(-lengths, kind="stable")  # the longest first: those that go on are a beginning
        first = (np.cumsum(lengths) - lengths)[order]
        totals = np.zeros(len(rows))
        states = self.initial(bos=bos).repeat(len(rows), axis=0)
        for at in range(lengths.max(initial=0)):
            n = int((lengths > at).sum())
            log_prob, states[:n] = self.query(states[:n], ids[first[:n] + at])
            totals[:n] += log_prob
        if eos:
            totals += self.query(states, np.full(len(rows), self.end))[0]
        result = np.empty(len(rows))
        result[order] = totals
        return result

    def perplexity(self, sentences: Iterable[Sentence]) -> float:
        """exp of the mean of -ln p over all words and sentence ends; unknown words count as what <unk> is."""
        rows = [_words(sentence) for sentence in sentences]
        if not rows:
            raise ValueError("at least one sentence expected, got none")
        return float(np.exp(-self.log_probs(rows).sum() / sum(len(row) + 1 for row in rows)))

    def start(self) -> bytes:
        """The state after <s>: as a `LanguageModel`, whose tokens are the numbers of words."""
        return self.initial().tobytes()

    def step(self, state: bytes, token: int, /) -> tuple[bytes, float]:
        """The state after a word, and the word's natural log-probability."""
        log_prob, states = self.query(np.frombuffer(state, dtype=np.int32)[None], np.array([token]))
        return states.tobytes(), float(log_prob[0])

    def finish(self, state: bytes, /) -> float:
        """The natural log-probability of </s>."""
        return self.step(state, self.end)[1]


def _words(sentence: Sentence) -> Sequence[str]:
    return sentence.split() if isinstance(sentence, str) else sentence


def _sorted(path: str | Path, words: Sequence[str], binary: kenlm.Binary) -> tuple[str, ...]:
    """The words by number; raises ValueError where they are not those of the file."""
    known = [word for word in words if word not in UNKNOWN]
    ids = binary.words.find(word_hashes(known))
    if sorted(ids.tolist()) != list(range(1, binary.size)):
        strange = [word for word, number in zip(known, ids.tolist(), strict=True) if not number]
        example = f"{strange[0]!r}, which is not one" if strange else f"{len(set(known))} words besides <unk>"
        raise ValueError(f"{path}: its {binary.size - 1} words besides <unk>, each once, expected, got {example}")
    by_number = [""] * binary.size
    by_number[0] = UNKNOWN[0]
    for word, number in zip(known, ids.tolist(), strict=True):
        by_number[number] = word
    return tuple(by_number)
