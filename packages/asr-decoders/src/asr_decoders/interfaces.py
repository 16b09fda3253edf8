"""What crosses the borders of this package. Nothing here must be imported to be satisfied.

Letters in shapes: T frames, V size of the vocabulary, B utterances, N = B * beam_size rows of a beam search.
"""

from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

LogProbs: TypeAlias = NDArray[np.floating[Any]]
S = TypeVar("S")


@dataclass(frozen=True)
class Hypothesis:
    """One reading of an utterance.

    tokens: ids, without blank, begin and end.
    score: natural log, higher is better; the decoder says what it is the logarithm of.
    text: the tokens as text, where the decoder has a vocabulary.
    frames: where the decoder knows it, (first, last + 1) frame of each token; otherwise empty.
    finished: False for an attention hypothesis that had to be cut before the end token.
    """

    tokens: tuple[int, ...]
    score: float
    text: str = ""
    frames: tuple[tuple[int, int], ...] = ()
    finished: bool = True


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
