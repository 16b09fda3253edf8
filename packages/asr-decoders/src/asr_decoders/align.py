"""CTC for a labelling that is known: its exact score and best alignment (Graves et al. 2006, section 4.1).

Both walk the labelling with blanks between, before and after its tokens, S = 2 U + 1 states for U tokens.
From one frame to the next, a path stays in its state, goes to the next, or passes over a blank between two
different tokens.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asr_decoders import checks
from asr_decoders.interfaces import LogProbs

BAND = 1000.0  # nats
BLOCK = 64  # frames, in which a path can go on by two states each
IMPOSSIBLE = -1e15  # instead of -inf, which would not say how many impossible steps a path takes


def ctc_score(log_probs: LogProbs, tokens: Sequence[int], /, *, blank: int = 0) -> float:
    """The natural logarithm of the probability of the labelling, summed over all its paths.

    log_probs: (T, V) natural log-probabilities. tokens: U ids without blanks.
    -inf where there is no possible path, e.g. too few frames. Raises ValueError for wrong arguments.
    """
    array, states, skips = _states(log_probs, tokens, blank)
    alpha = _start(states.size)  # (S,) log mass of the paths that are in each state
    for frame in array:
        coming = alpha.copy()
        coming[1:] = np.logaddexp(coming[1:], alpha[:-1])
        coming[2:] = np.logaddexp(coming[2:], np.where(skips, alpha[:-2], -np.inf))
        alpha = coming + frame[states]
    return float(np.logaddexp.reduce(alpha[-2:]))  # the last token or the blank after it


def ctc_align(log_probs: LogProbs, tokens: Sequence[int], /, *, blank: int = 0) -> tuple[tuple[int, int], ...]:
    """(first, last + 1) frame of each token on the most probable path of the labelling (Viterbi).

    log_probs: (T, V) natural log-probabilities. tokens: U ids without blanks.
    Raises ValueError where there is no possible path, e.g. too few frames, and for wrong arguments.
    """
    array, states, skips = _states(log_probs, tokens, blank)
    path, score = _best_path(array, states, skips, None, math.inf)
    if score < IMPOSSIBLE / 2:
        raise ValueError(f"no path of {len(tokens)} tokens has a probability above 0 in {len(array)} frames")
    edges = np.searchsorted(path, np.arange(1, 2 * len(tokens) + 1)).tolist()  # a path never goes back
    return tuple(zip(edges[::2], edges[1::2], strict=True))


def best_path(
    array: NDArray[np.floating[Any]], tokens: Sequence[int], /, *, blank: int, state: int | None = None
) -> NDArray[np.intp]:
    """The most probable path of the labelling through (T, V) log-probabilities or logits: the state in each frame.

    States are 2 u + 1 for token u, 2 u for the blank before it. state: that of the first frame, where it is known.
    There is a path wherever there are as many frames as tokens: what is impossible is only very improbable here.
    Paths that are at some time 1000 nats under the best are not gone on with, as in the search at 500.
    """
    states, skips = _lattice(tokens, blank)
    path, score = _best_path(array, states, skips, state, BAND)
    return path if score > -math.inf else _best_path(array, states, skips, state, math.inf)[0]


def _best_path(
    array: NDArray[np.floating[Any]],
    states: NDArray[np.intp],
    skips: NDArray[np.bool_],
    first: int | None,
    band: float,
) -> tuple[NDArray[np.intp], float]:
    """The best path (T,) of the states (S,), from state `first` or either of the first two, and its score.

    Of equally good ways into a state the shortest is taken: rather stay than go on, rather go on than jump.
    """
    T, S = len(array), states.size
    if not T:
        return np.zeros(0, dtype=np.intp), 0.0 if S == 1 else -math.inf
    toll = np.full(S, -np.inf)  # for a jump
    toll[3::2] = np.where(skips[1::2], 0.0, IMPOSSIBLE)
    padded = np.full(S + 2, -np.inf)
    scores = padded[2:]
    scores[slice(0, 2) if first is None else slice(first, first + 1)] = 0.0
    ways = []  # of each block of frames: the first state that is looked at, and how each state was come to
    for start in range(0, T, BLOCK):
        alive = (scores >= scores.max() - band).nonzero()[0]
        low, high = int(alive[0]), int(alive[-1]) + 1
        scores[:low] = scores[high:] = -np.inf
        high = min(S, high + 2 * BLOCK)
        emissions = np.maximum(array[start : start + BLOCK, states[low:high]].astype(np.float64), IMPOSSIBLE)
        ways.append((low, *_advance(padded[low : high + 2], toll[low:high], emissions, fixed=start == 0)))
    last = max(S - 2, 0)
    state = last + int(scores[last:].argmax())  # the last token or the blank after it
    score = float(scores[state])
    backwards = []
    for low, went, jumped in reversed(ways):
        for t in reversed(range(len(went))):
            backwards.append(state)
            state -= 2 if jumped[t, state - low] else int(went[t, state - low])
    return np.array(backwards[::-1], dtype=np.intp), score


def _advance(
    padded: NDArray[np.float64], toll: NDArray[np.float64], emissions: NDArray[np.float64], *, fixed: bool
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Goes on, in place, with the scores `padded` (2 + S,) through emissions (T, S); fixed: not in the first frame.

    Which states (T, S) were come to from the one before, and over a blank from the one before that.
    """
    went = np.zeros(emissions.shape, dtype=np.bool_)
    jumped = np.zeros(emissions.shape, dtype=np.bool_)
    jump, go, stay = padded[:-2], padded[1:-1], padded[2:]
    best, over = np.empty((2, toll.size))
    for t, emission in enumerate(emissions):
        if t or not fixed:
            np.greater(go, stay, out=went[t])
            np.maximum(go, stay, out=best)
            np.add(jump, toll, out=over)
            np.greater(over, best, out=jumped[t])
            np.maximum(over, best, out=stay)
        stay += emission
    return went, jumped


def _states(
    log_probs: LogProbs, tokens: Sequence[int], blank: int
) -> tuple[NDArray[np.float64], NDArray[np.intp], NDArray[np.bool_]]:
    """The log-probabilities, the states' ids (S,), and which may be entered from two before (S - 2,)."""
    checks.integer("blank", blank, least=0)
    array = checks.ctc_log_probs(log_probs, blank=blank).astype(np.float64)
    checks.ids(tokens, array.shape[1], blank=blank)
    return array, *_lattice(tokens, blank)


def _lattice(tokens: Sequence[int], blank: int) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    states = np.full(2 * len(tokens) + 1, blank, dtype=np.intp)
    states[1::2] = tokens
    return states, (states[2:] != blank) & (states[2:] != states[:-2])


def _start(size: int) -> NDArray[np.float64]:
    """Before the first frame a path is in the first blank: it goes on to that blank or the first token."""
    start = np.full(size, -np.inf)
    start[0] = 0.0
    return start
