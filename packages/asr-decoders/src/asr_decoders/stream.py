"""A CTC beam search over frames that come in pieces, in bounded memory, and the alignment of what it finds.

Every SETTLE frames, counted from the beginning whatever the pieces are, what all hypotheses of the beam have in
common is *settled*: it is taken out of the beam, and what there was besides is forgotten. That loses nothing. For
the time stamps the recent frames are kept, from SETTLE frames on before the first token that is not settled. What
comes later is aligned from the state in which the best hypothesis's path is there.

Two hypotheses that differ early and agree ever after would stand side by side for ever. So every DECIDE frames those
leave the beam that contradict what the best one said both then and DECIDE frames before: utterances of less than
2 DECIDE = 8192 frames are decoded as though there were no such rule.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asr_decoders.search import Backend
from asr_decoders.trie import shared

SETTLE = 2048
DECIDE = 2 * SETTLE
ALL = 1 << 31  # hypotheses
LARGE = 256  # frames; larger pieces are not joined

Array = NDArray[Any]
Span = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Aligned:
    """What is decided about the alignment, and what is needed to go on."""

    spans: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 2), dtype=np.int64))  # of the first tokens
    recent: tuple[Array, ...] = ()  # the frames after those that are no longer needed, in pieces
    state: int | None = None  # of the path in the first of them: 0 blank, 1 in the first token without a span
    opened: int = 0  # in which frame it came into state 1


@dataclass(frozen=True, eq=False)
class Stream:
    """What a `CtcBeam` knows between two frames. A value: a step leaves it as it was, and it pickles."""

    beam: Any  # the backend's state
    frames: int = 0  # how many there were
    vocab_size: int = 0  # V, from the first frames on
    settled: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, dtype=np.int32))  # tokens
    leader: tuple[int, ...] = ()  # what the best hypothesis said after these when it was last asked
    aligned: Aligned | None = None  # None where no one wants to know


def step(stream: Stream, backend: Backend[Any], array: Array) -> Stream:
    """The stream after (T, V) checked frames more, which are not copied."""
    while len(array):
        count = SETTLE - stream.frames % SETTLE
        piece, array = array[:count], array[count:]
        aligned = stream.aligned
        if aligned is not None:
            aligned = replace(aligned, recent=_append(aligned.recent, piece))
        stream = replace(
            stream, beam=backend.step(stream.beam, piece), frames=stream.frames + len(piece), aligned=aligned
        )
        if stream.frames % SETTLE == 0:
            stream = _settle(stream, backend)
    return stream


def frames(stream: Stream, backend: Backend[Any], endings: Iterable[Sequence[int]]) -> list[tuple[Span, ...]]:
    """(first, last + 1) frame of every token of hypotheses, of which the tokens after the settled ones are given."""
    aligned = stream.aligned
    if aligned is None:
        raise ValueError("this stream was started by a decoder with align=False, which kept no frames")
    settled: list[Span] = [(first, end) for first, end in aligned.spans.tolist()]
    pending = stream.settled[len(settled) :].tolist()
    recent = _joined(aligned.recent) if aligned.recent else np.zeros((0, stream.vocab_size))
    found = []
    for tokens in endings:
        path = backend.best_path(recent, (*pending, *tokens), aligned.state)
        spans = _spans(aligned, path, len(pending) + len(tokens), stream.frames)
        found.append((*settled, *((first, end) for first, end in spans.tolist())))
    return found


def _settle(stream: Stream, backend: Backend[Any]) -> Stream:
    required: Sequence[int] = ()
    leader = stream.leader
    if stream.frames % DECIDE == 0:
        best = backend.paths(stream.beam, 1, final=False)[0].tokens
        required, leader = best[: shared(best, leader)], best
    beam, tokens = backend.settle(stream.beam, required)
    leader = leader[len(tokens) :] if leader[: len(tokens)] == tokens else ()
    settled = np.concatenate((stream.settled, np.array(tokens, dtype=np.int32)))
    stream = replace(stream, beam=beam, settled=settled, leader=leader)
    if stream.aligned is None:
        return stream
    paths = [path.tokens for path in backend.paths(beam, ALL, final=False)]
    return replace(stream, aligned=_forget(stream.aligned, stream, paths, backend))


def _forget(aligned: Aligned, stream: Stream, paths: Sequence[tuple[int, ...]], backend: Backend[Any]) -> Aligned:
    """The alignment without the frames that are no longer needed. paths: the beam, the best first."""
    recent = _joined(aligned.recent)
    pending = stream.settled[len(aligned.spans) :].tolist()
    if len(recent) <= SETTLE:
        return aligned
    path = backend.best_path(recent, (*pending, *paths[0]), aligned.state)
    # The hypotheses may be aligned otherwise about where they differ, but hardly long before.
    differ = int(np.searchsorted(path, 2 * len(pending) + 1))  # the first frame of a token that is not settled
    cut = min(differ - SETTLE, len(recent) - max(map(len, paths)))  # there must be a frame for every token
    if cut <= 0:
        return aligned
    done, state = divmod(int(path[cut]), 2)  # tokens, and whether the path is in the next one
    spans = _spans(aligned, path, done + state, stream.frames)
    return Aligned(
        spans=np.concatenate((aligned.spans, spans[:done])),
        recent=(recent[cut:].copy(),),
        state=state,
        opened=int(spans[done, 0]) if state else 0,
    )


def _spans(aligned: Aligned, path: Array, count: int, end: int) -> NDArray[np.int64]:
    """(count, 2) frames of the first tokens of a path which ends before the frame `end`. It never goes back."""
    edges = np.searchsorted(path, np.arange(1, 2 * count + 1)).astype(np.int64) + (end - len(path))
    if aligned.state == 1:
        edges[:1] = aligned.opened
    return edges.reshape(count, 2)


def _append(pieces: tuple[Array, ...], piece: Array) -> tuple[Array, ...]:
    """The pieces and one more, joined like a binary counter's: few, and each frame is copied a few times only."""
    while pieces and len(pieces[-1]) <= min(len(piece), LARGE):
        piece = np.concatenate((pieces[-1], piece))
        pieces = pieces[:-1]
    return (*pieces, piece)


def _joined(pieces: tuple[Array, ...]) -> Array:
    return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
