"""CTC decoding: best path (Graves et al. 2006) and prefix beam search (Hannun et al. 2014; see `search.py`)."""

import warnings
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from functools import cache, cached_property
from itertools import pairwise
from typing import Any, Literal, get_args

import numpy as np

from asr_decoders import checks, stream
from asr_decoders.contexts import Level, fusion
from asr_decoders.frames import Input, Preparation
from asr_decoders.fusion import Fusion
from asr_decoders.hotwords import Hotwords
from asr_decoders.interfaces import Hypothesis, LanguageModel, LogProbs
from asr_decoders.language import Scale
from asr_decoders.native import loader
from asr_decoders.native.models import supports
from asr_decoders.native.search import NativeSearch
from asr_decoders.ngram import NGram
from asr_decoders.search import RANGE, Backend, NumpySearch, Path
from asr_decoders.stream import Aligned, Stream
from asr_decoders.vocabulary import Vocabulary

BackendName = Literal["auto", "numpy", "native"]

LARGE = 1_000_000  # frames times beam_size in one call: worth a word about the library that is not there


@dataclass(frozen=True, kw_only=True)
class CtcGreedy:
    """The most probable token of every frame, repeats merged, blanks dropped.

    The score is the natural logarithm of the probability of that one path, at most that of the labelling
    (`ctc_score`). `frames` are the runs of the tokens in it. Returns one hypothesis.
    """

    blank: int = 0
    vocabulary: Vocabulary | None = None

    def __post_init__(self) -> None:
        checks.integer("blank", self.blank, least=0)

    def __call__(self, log_probs: LogProbs, /) -> list[Hypothesis]:
        """(T, V) natural log-probabilities, float32 or float64 -> the one hypothesis.

        Raises ValueError for anything else, and for a frame in which every token is impossible.
        """
        array = checks.ctc_log_probs(log_probs, blank=self.blank, possible=True)
        checks.vocabulary_size(self.vocabulary, array.shape[1])
        path = array.argmax(axis=1)
        edges = np.flatnonzero(np.diff(path, prepend=-1, append=-1)).tolist()  # where runs begin; last, T
        runs = [run for run in pairwise(edges) if path[run[0]] != self.blank]
        score = float(array.max(axis=1).sum(dtype=np.float64))
        best = Path(tuple(int(path[start]) for start, _ in runs), score, 0.0, 0.0)
        return [_hypothesis(best, tuple(runs), self.vocabulary)]


@dataclass(frozen=True, kw_only=True)
class CtcBeam:
    """Prefix beam search: the most probable labellings, each summed over its paths through the beam.

    The acoustic score of a hypothesis is the natural logarithm of that sum: exact where the beam holds every
    prefix, otherwise a lower bound of `ctc_score`. Language models and hotwords add to it (`fusion.py` says what,
    exactly): score = acoustic + language + bonus. The beam holds the `beam_size` best prefixes after every frame,
    whatever their last frame (blank or token); which of equal ones at its edge is not defined. What cannot enter it
    is not computed, so the pruning below is for those who want another search rather than a faster one.

    n_best: how many hypotheses are returned, at most; there may be fewer prefixes.
    vocabulary: for texts and words; word-level language models and hotwords need one.
    input: "logits" takes unnormalised scores and applies log_softmax.
    token_min_log_prob: in every frame, tokens below it are impossible; the frame's best token always stays.
    top_k: in every frame, only the k best tokens, blank included (and those equal to the k-th), are possible.
    cumulative: in every frame, only the best tokens whose probabilities add up to it are possible (and those equal
        to the last of them); 0 to 1.
    beam_threshold: prefixes so many nats under the best leave the beam. None, and all above 500, means 500.
    lm: an n-gram model (`NGram`), or a `LanguageModel` of your own over token ids.
    lm_level: what an n-gram model's words are: words of the text, or tokens. "token" for a model of your own.
    lm_weight: what its logarithms are multiplied by.
    word_bonus: nats for every word (for lm_level "token", every token).
    unknown_log_prob: nats for every word that the model does not know, -100 to 0.
    sentence_boundaries: whether an utterance begins and ends as a sentence does in the model.
    hotwords: phrases with weights in nats, see `hotwords.py`.
    align: whether hypotheses have frames, by exact alignment (`ctc_align`), and words.
    backend: "native" is compiled, "numpy" always there, of equal results; "auto" takes the first that is there
        and can, or what the environment variable ASR_DECODERS_BACKEND says.
    """

    blank: int = 0
    beam_size: int = 16
    n_best: int = 1
    vocabulary: Vocabulary | None = None
    input: Input = "log_probs"
    token_min_log_prob: float | None = None
    top_k: int | None = None
    cumulative: float | None = None
    beam_threshold: float | None = None
    lm: NGram | LanguageModel[Any] | None = None
    lm_level: Level = "word"
    lm_weight: float = 0.5
    word_bonus: float = 0.0
    unknown_log_prob: float = -10.0
    sentence_boundaries: bool = True
    hotwords: Mapping[str, float] | Hotwords | None = None
    align: bool = True
    backend: BackendName = "auto"

    def __post_init__(self) -> None:
        checks.integer("blank", self.blank, least=0)
        checks.n_best(self.n_best, self.beam_size)
        if self.top_k is not None:
            checks.integer("top_k", self.top_k, least=1)
        for name in ("token_min_log_prob", "cumulative", "beam_threshold"):
            if getattr(self, name) is not None:
                checks.number(name, getattr(self, name))
        if self.token_min_log_prob is not None and not self.token_min_log_prob <= 0:
            raise ValueError(f"token_min_log_prob must be a log-probability, <= 0, got {self.token_min_log_prob}")
        if self.cumulative is not None and not 0 < self.cumulative <= 1:
            raise ValueError(f"cumulative must be a probability above 0, at most 1, got {self.cumulative}")
        if self.beam_threshold is not None and not self.beam_threshold >= 0:
            raise ValueError(f"beam_threshold must be at least 0 nats, got {self.beam_threshold}")
        checks.one_of("input", self.input, get_args(Input))
        checks.one_of("lm_level", self.lm_level, get_args(Level))
        checks.one_of("backend", self.backend, get_args(BackendName))
        checks.between("lm_weight", self.lm_weight, 0.0, 10.0)
        checks.between("word_bonus", self.word_bonus, -100.0, 100.0)
        checks.between("unknown_log_prob", self.unknown_log_prob, -100.0, 0.0)
        if self.hotwords is not None and not isinstance(self.hotwords, Hotwords):
            object.__setattr__(self, "hotwords", Hotwords(self.hotwords))
        _ = self._fusion  # raises where the vocabulary will not do

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def __call__(self, log_probs: LogProbs, /) -> list[Hypothesis]:
        """(T, V) natural log-probabilities, float32 or float64 -> at most n_best hypotheses, best first.

        No frames at all give the empty hypothesis. Raises ValueError for anything but log-probabilities (for
        input="logits", for what is not finite or -inf), for a frame in which every token is impossible, and where
        a language model gives every hypothesis in the beam the probability 0.
        """
        return self.finish(self._read(self.start(), log_probs, copy=False))

    def batch(self, utterances: Iterable[LogProbs], /, *, threads: int = 1) -> list[list[Hypothesis]]:
        """The hypotheses of each of the utterances, in their order.

        threads: how many are decoded at the same time. The native search needs the interpreter little, and gains
        by as much as there are processors; numpy gains nothing.
        """
        checks.integer("threads", threads, least=1)
        if threads == 1:
            return [self(log_probs) for log_probs in utterances]
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(self, utterances))

    def start(self) -> Stream:
        """The state before the first frame of an utterance that comes in pieces, of a stream.

        Its hypotheses, after steps of any size, are those of the call on all frames at once, to the last bit. A
        state is a value: it can be kept, pickled, and gone on from in several ways, but not in several threads.
        """
        return Stream(self._search.start(), aligned=Aligned() if self.align else None)

    def step(self, state: Stream, log_probs: LogProbs, /) -> Stream:
        """The state after (T, V) frames more. Raises ValueError as the call does."""
        return self._read(state, log_probs, copy=True)

    def partial(self, state: Stream, /, *, after: int = 0) -> Hypothesis:
        """The best hypothesis so far, unfinished: without frames, and with no score for its end.

        after: leaves out so many tokens at its beginning, those that were `settled` before.
        """
        checks.integer("after", after, least=0)
        (best,) = self._search.paths(state.beam, 1, final=False)
        return replace(self._hypothesis(state, best, after=after), finished=False)

    def settled(self, state: Stream, /) -> int:
        """How many tokens are the same in all hypotheses of the beam: they will not change any more."""
        _, tokens = self._search.settle(state.beam, ())
        return len(state.settled) + len(tokens)

    def finish(self, state: Stream, /) -> list[Hypothesis]:
        """The hypotheses, at most n_best, where the utterance ends here."""
        paths = self._search.paths(state.beam, self.n_best, final=True)
        if not paths:
            raise ValueError("no hypothesis in the beam is possible: the language model gives -inf to all of them")
        frames: list[tuple[stream.Span, ...]] = [()] * len(paths)
        if self.align:
            frames = stream.frames(state, self._search, [path.tokens for path in paths])
        return [self._hypothesis(state, *found) for found in zip(paths, frames, strict=True)]

    def _read(self, state: Stream, log_probs: LogProbs, *, copy: bool) -> Stream:
        array = checks.ctc_log_probs(log_probs, blank=self.blank, logits=self.input == "logits", possible=True)
        checks.vocabulary_size(self.vocabulary, array.shape[1])
        if state.vocab_size not in (0, array.shape[1]):
            raise ValueError(f"frames (T, {state.vocab_size}) expected as before in this stream, got {array.shape}")
        if copy and state.aligned is not None:
            array = array.copy()  # it is kept, and the caller's to change
        if len(array) * self.beam_size >= LARGE and loader.wanted(self.backend) == "auto":
            _warn_of_numpy()
        state = replace(state, vocab_size=array.shape[1])
        return stream.step(state, self._search, array)

    def _hypothesis(
        self, state: Stream, path: Path, frames: tuple[stream.Span, ...] = (), after: int = 0
    ) -> Hypothesis:
        settled = state.settled[after:].tolist()
        tokens = (*settled, *path.tokens[max(0, after - len(state.settled)) :])
        return _hypothesis(path._replace(tokens=tokens), frames, self.vocabulary)

    @cached_property
    def _search(self) -> Backend[Any]:
        reference = NumpySearch(
            blank=self.blank,
            beam_size=self.beam_size,
            beam_threshold=RANGE if self.beam_threshold is None else min(self.beam_threshold, RANGE),
            prepare=Preparation(
                input=self.input,
                token_min_log_prob=self.token_min_log_prob,
                top_k=self.top_k,
                cumulative=self.cumulative,
            ),
            fusion=self._fusion,
        )
        wanted = loader.wanted(self.backend)
        if wanted == "numpy":
            return reference
        if supports(reference.fusion) and (wanted == "native" or loader.available()):
            return NativeSearch(**{field.name: getattr(reference, field.name) for field in fields(reference)})
        if wanted == "native":
            raise ValueError('backend "native" cannot ask a language model of your own, use "numpy" or "auto"')
        return reference

    @cached_property
    def _fusion(self) -> Fusion | None:
        scale = Scale(
            lm_weight=self.lm_weight,
            word_bonus=self.word_bonus,
            unknown_log_prob=self.unknown_log_prob,
            sentence_boundaries=self.sentence_boundaries,
        )
        hotwords = self.hotwords if isinstance(self.hotwords, Hotwords) else None
        return fusion(self.vocabulary, self.lm, self.lm_level, scale, hotwords)


@cache
def _warn_of_numpy() -> None:
    """Once."""
    if not loader.available():
        warnings.warn(f"CtcBeam runs in numpy, which is slower: {loader.why_not()}", stacklevel=4)


def _hypothesis(path: Path, frames: tuple[stream.Span, ...], vocabulary: Vocabulary | None) -> Hypothesis:
    tokens, acoustic, language, bonus = path
    return Hypothesis(
        tokens=tokens,
        score=acoustic + language + bonus,
        text="" if vocabulary is None else vocabulary.text(tokens),
        frames=frames,
        acoustic=acoustic,
        language=language,
        bonus=bonus,
        words=vocabulary.words(tokens, frames) if vocabulary is not None and frames else (),
    )
