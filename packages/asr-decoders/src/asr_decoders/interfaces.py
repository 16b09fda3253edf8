"""What crosses the borders of this package. Nothing here must be imported to be satisfied.

Letters in shapes: T frames, V size of the vocabulary, B utterances, N = B * beam_size rows of a beam search.
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

LogProbs: TypeAlias = NDArray[np.floating[Any]]
S = TypeVar("S")


class Word(NamedTuple):
    """A word and where it is: frames first to last, the last not included."""

    text: str
    first: int
    last: int


@dataclass(frozen=True)
class Hypothesis:
    """One reading of an utterance.

    tokens: ids, without blank, begin and end.
    score: natural log, higher is better; the decoder says what it is the logarithm of.
    text: the tokens as text, where the decoder has a vocabulary.
    frames: where the decoder knows it, (first, last + 1) frame of each token; otherwise empty.
    finished: False for a hypothesis that is not whole: cut by an attention search before its end token, or
        asked for in the middle of a stream.
    acoustic, language, bonus: the parts of the score, which is their sum: that of the acoustic model, that of
        the language models with their weights, and what was added for words and hotwords. acoustic is None
        where a decoder does not tell them apart.
    words: the words of the text, where the decoder has a vocabulary with word boundaries and knows the frames.
    attention: attention search only, where it is asked for: the weights (U, T') of each token over the
        encoder's frames. Not compared.
    """

    tokens: tuple[int, ...]
    score: float
    text: str = ""
    frames: tuple[tuple[int, int], ...] = ()
    finished: bool = True
    acoustic: float | None = None
    language: float = 0.0
    bonus: float = 0.0
    words: tuple[Word, ...] = ()
    attention: NDArray[np.floating[Any]] | None = field(default=None, compare=False, repr=False)

    def seconds(self, frame_shift: float) -> list[tuple[str, float, float]]:
        """The words as (text, start, end) in seconds, for frames that are `frame_shift` seconds apart."""
        return [(word.text, word.first * frame_shift, word.last * frame_shift) for word in self.words]


class Decoder(Protocol):
    """Reads the log-probabilities of one utterance, e.g. `CtcBeam`."""

    def __call__(self, log_probs: LogProbs, /) -> list[Hypothesis]:
        """(T, V) natural log-probabilities -> hypotheses: best first, never empty, all different."""
        ...


class LanguageModel(Protocol[S]):
    """Scores a sequence token by token. A state is a value: a step leaves the old one as good as new."""

    def start(self) -> S:
        """The state before the first token."""
        ...

    def step(self, state: S, token: int, /) -> tuple[S, float]:
        """The state after the token, and the token's natural log-probability."""
        ...

    def finish(self, state: S, /) -> float:
        """The natural log-probability that the sequence ends here."""
        ...


class Step(Protocol):
    """One step of an autoregressive model for N rows; any callable of numpy, TensorFlow, JAX, PyTorch."""

    def __call__(self, tokens: NDArray[np.int32], state: Any, /) -> tuple[Any, Any]:
        """Last tokens (N,) int32, state -> natural log-probabilities (N, V) of the next, new state.

        The state is any nest of dicts, lists and tuples. The step must not write into the state that it was
        given.
        """
        ...
