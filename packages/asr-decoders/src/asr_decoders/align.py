"""CTC for a labelling that is known: its exact score and best alignment (Graves et al. 2006, section 4.1).

Both walk the labelling with blanks between, before and after its tokens, S = 2 U + 1 states for U tokens.
From one frame to the next, a path stays in its state, goes to the next, or passes over a blank between two
different tokens.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from asr_decoders import checks
from asr_decoders.interfaces import LogProbs


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
    best = _start(states.size)
    # How many states the best path into a state advanced to it.
    steps = np.zeros((len(array), states.size), dtype=np.int8)
    for t, frame in enumerate(array):
        ways = np.full((3, states.size), -np.inf)
        ways[0] = best
        ways[1, 1:] = best[:-1]
        ways[2, 2:] = np.where(skips, best[:-2], -np.inf)
        steps[t] = ways.argmax(axis=0)
        best = ways.max(axis=0) + frame[states]
    state = int(best[-2:].argmax()) + max(states.size - 2, 0)
    if np.isneginf(best[state]):
        raise ValueError(f"no path of {len(tokens)} tokens has a probability above 0 in {len(array)} frames")
    path = np.zeros(len(array), dtype=np.intp)
    for t in reversed(range(len(array))):
        path[t] = state
        state -= int(steps[t, state])
    frames = [np.flatnonzero(path == 2 * u + 1) for u in range(len(tokens))]
    return tuple((int(run[0]), int(run[-1]) + 1) for run in frames)


def _states(
    log_probs: LogProbs, tokens: Sequence[int], blank: int
) -> tuple[NDArray[np.float64], NDArray[np.intp], NDArray[np.bool_]]:
    """The log-probabilities, the states' ids (S,), and which may be entered from two before (S - 2,)."""
    checks.integer("blank", blank, least=0)
    array = checks.ctc_log_probs(log_probs, blank=blank).astype(np.float64)
    for token in tokens:
        if not 0 <= token < array.shape[1] or token == blank:
            raise ValueError(f"tokens are ids under V = {array.shape[1]} and not the blank {blank}, got {token}")
    states = np.full(2 * len(tokens) + 1, blank, dtype=np.intp)
    states[1::2] = tokens
    return array, states, (states[2:] != blank) & (states[2:] != states[:-2])


def _start(size: int) -> NDArray[np.float64]:
    """Before the first frame a path is in the first blank: it goes on to that blank or the first token."""
    start = np.full(size, -np.inf)
    start[0] = 0.0
    return start
