"""What may be chosen when in an attention search, and the checks of what a step function gives."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from asr_decoders import checks, nest
from asr_decoders.interfaces import Step
from asr_decoders.vocabulary import Vocabulary

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
Bools = NDArray[np.bool_]
Scores = NDArray[np.floating[Any]]
Counts = int | Sequence[int] | NDArray[Any]
LengthNorm = Literal["none", "gnmt", "power"]

LEAST_ATTENTION = 1e-6  # a frame that is attended to less counts as this: a zero would forbid a hypothesis


class AttendingStep(Protocol):
    """A `Step` that gives its attention, too."""

    def __call__(self, tokens: NDArray[np.int32], state: Any, /) -> tuple[Any, Any, Any]:
        """As of a `Step`, and with log-probabilities and state the attention: weights (N, T') over the encoder's
        frames, with which the log-probabilities were made."""
        ...


class Said(NamedTuple):
    """What a step gives."""

    log_probs: Scores  # (N, V), the caller's to write into
    state: Any
    attention: Scores | None  # (N, T'), where it was asked for


@dataclass(frozen=True)
class Lengths:
    """How many tokens, without the end, each utterance may have, (B,), and how many frames its memory has."""

    least: Ints
    most: Ints
    frames: Ints | None

    @cached_property
    def free(self) -> range:
        """The lengths at which every utterance may end and may go on."""
        return range(int(self.least.max()), int(self.most.min()))


@dataclass(frozen=True)
class Norm:
    """What a log-probability is divided by."""

    kind: LengthNorm
    exponent: float

    def __call__(self, length: Any) -> Any:
        """length: of the tokens and the end, a number or an array of them."""
        if self.kind == "gnmt":
            return ((5 + length) / 6) ** self.exponent
        return length**self.exponent  # "none": the exponent is 0


class LengthOptions(Protocol):
    """The options of a search that bound its hypotheses."""

    @property
    def begin(self) -> int: ...
    @property
    def end(self) -> int: ...
    @property
    def min_length(self) -> int: ...
    @property
    def min_length_ratio(self) -> float: ...
    @property
    def max_length_ratio(self) -> float | None: ...
    @property
    def end_threshold(self) -> float | None: ...


def check_options(options: LengthOptions) -> None:
    """Raises ValueError where an option is not valid."""
    checks.integer("begin", options.begin, least=0)
    checks.integer("end", options.end, least=0)
    checks.integer("min_length", options.min_length, least=0)
    checks.between("min_length_ratio", options.min_length_ratio, 0.0, 100.0)
    if options.max_length_ratio is not None:
        checks.between("max_length_ratio", options.max_length_ratio, 0.0, 100.0)
    if options.end_threshold is not None:
        checks.between("end_threshold", options.end_threshold, 1e-6, 1e6)


def lengths(options: LengthOptions, batch: int, max_lengths: Counts | None, memory_lengths: Counts | None) -> Lengths:
    """The bounds for each utterance; raises ValueError where they are not given, or no length is within them."""
    checks.integer("batch", batch, least=1)
    frames = None if memory_lengths is None else _counts("memory_lengths", memory_lengths, batch)
    if frames is None and (options.min_length_ratio or options.max_length_ratio is not None):
        raise ValueError("min_length_ratio and max_length_ratio are of the memory's frames: give memory_lengths")
    if max_lengths is None and options.max_length_ratio is None:
        raise ValueError("nothing bounds the tokens: give max_lengths, or max_length_ratio and memory_lengths")
    least = np.full(batch, options.min_length)
    most = [] if max_lengths is None else [_counts("max_lengths", max_lengths, batch)]
    if frames is not None:
        least = np.maximum(least, np.floor(frames * options.min_length_ratio).astype(np.intp))
        if options.max_length_ratio is not None:
            most.append(np.ceil(frames * options.max_length_ratio).astype(np.intp))
    bounds = Lengths(least, np.min(most, axis=0), frames)
    for b in np.flatnonzero(bounds.most < least).tolist():
        raise ValueError(f"max_lengths must be at least min_length = {least[b]}, got {bounds.most[b]} (utterance {b})")
    return bounds


def _counts(name: str, counts: Counts, batch: int) -> Ints:
    """One count for each utterance, (B,)."""
    array = np.asarray(counts)
    if array.shape not in ((), (batch,)) or not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"{name} must be one integer or {batch}, got {array.dtype} of shape {array.shape}")
    if array.min() < 0:
        raise ValueError(f"{name} must be at least 0, got {array.min()}")
    return np.broadcast_to(array.astype(np.intp), (batch,))


@dataclass(frozen=True)
class Reader:
    """Asks a step function, and checks its answer.

    name: of the step function, for messages. vocabulary: one piece for each of its tokens.
    """

    name: str
    end: int
    vocabulary: Vocabulary | None = None
    attention: bool = False

    def __call__(self, step: Step | AttendingStep, tokens: NDArray[np.int32], state: Any) -> Said:
        """The answer. Raises ValueError where it is not of the right kind and shape."""
        answer = step(tokens, state)
        if not isinstance(answer, (tuple, list)) or len(answer) not in (2, 3):
            got = f"{len(answer)} values" if isinstance(answer, tuple | list) else type(answer).__name__
            raise ValueError(f"log-probabilities, state and perhaps attention expected of {self.name}, got {got}")
        log_probs = self._floats(answer[0], "log-probabilities")
        size = log_probs.shape[-1] if log_probs.ndim == 2 else 0
        if len(log_probs.shape) != 2 or len(log_probs) != tokens.size or self.end >= size:
            raise ValueError(
                f"log-probabilities ({tokens.size}, V) with V > end = {self.end} expected of {self.name}, "
                f"got shape {log_probs.shape}"
            )
        checks.vocabulary_size(self.vocabulary, size)
        if not self.attention:
            return Said(log_probs, answer[1], None)
        if len(answer) == 2:
            raise ValueError(f"log-probabilities, state and attention expected of {self.name}, got no attention")
        attention = self._floats(answer[2], "attention")
        if attention.ndim != 2 or len(attention) != tokens.size:
            raise ValueError(f"attention ({tokens.size}, T') expected of {self.name}, got shape {attention.shape}")
        return Said(log_probs, answer[1], attention)

    def _floats(self, array: Any, what: str) -> Scores:
        try:
            return nest.to_numpy(array)
        except ValueError as error:
            raise ValueError(f"{what} of {self.name}: {error}") from None


def check_log_probs(name: str, log_probs: Scores, used: Bools, length: int) -> None:
    """Raises ValueError where a row (N, V) that is in use, of used (N,), holds something else than that."""
    if log_probs.max() <= checks.ROUNDING:  # not so where there is a NaN
        return
    peaks = log_probs.max(axis=1)
    bad = used & ~(peaks <= checks.ROUNDING)
    if bad.any():
        raise ValueError(
            f"log-probabilities expected of {name} (natural log, at most 0), got {peaks[bad][0]:.6g} "
            f"after {length} tokens: apply log_softmax to logits"
        )


def check_attention(attention: Scores, used: Bools, before: int | None, frames: Ints | None) -> None:
    """Raises ValueError where attention (N, T') is not over as many frames as before, or is none in rows in use.

    frames: (B,), of each memory.
    """
    width = attention.shape[1]
    if before is not None and width != before:
        raise ValueError(f"attention over T' = {before} frames expected of the step, as before, got {width}")
    if frames is not None and frames.max() > width:
        raise ValueError(
            f"attention over the {frames.max()} frames of memory_lengths expected of the step, got {width}"
        )
    if not np.isfinite(attention[used.ravel()]).all():
        raise ValueError("attention of finite weights expected of the step, got one that is not")


def take_end(values: Scores, said: Scores, bounds: Lengths, options: LengthOptions, length: int) -> Floats:
    """What the end is worth, (B, K), -inf where it must not follow `length` tokens.

    values: (B, K, V) of the tokens; the end, the begin and all that must not follow become -inf here.
    said: (N, V), what the step function itself says of them.
    """
    end, begin = options.end, options.begin
    ends = values[:, :, end].astype(np.float64)
    if options.end_threshold is not None:  # first: the values may be what was said, in other shape
        others = np.where(np.arange(said.shape[1]) == end, -np.inf, said)
        if begin < said.shape[1]:
            others[:, begin] = -np.inf
        likely = said[:, end] > options.end_threshold * others.max(axis=1)
        ends[~likely.reshape(ends.shape) & (bounds.most > length)[:, None]] = -np.inf
    values[:, :, end] = -np.inf
    if begin < values.shape[2]:
        values[:, :, begin] = -np.inf
    if length not in bounds.free:
        ends[bounds.least > length] = -np.inf
        values[bounds.most <= length] = -np.inf
    return ends


def coverage(attended: Scores) -> float:
    """sum of ln min(a, 1) over the frames, a being what they were attended to in all (Wu et al. 2016, eq. 14)."""
    return float(np.log(np.clip(attended, LEAST_ATTENTION, 1.0), dtype=np.float64).sum())


def weighted(weight: float, log_probs: Scores) -> Scores:
    """weight * log_probs, of the same dtype; 0 where the weight is 0, whatever they are."""
    return log_probs * weight if weight else np.zeros_like(log_probs)
