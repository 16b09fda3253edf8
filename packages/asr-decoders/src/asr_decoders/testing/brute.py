"""Decoding by brute force: every path, every sequence, and the textbook beam search."""

import itertools
import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asr_decoders.interfaces import Hypothesis, LogProbs, Step
from asr_decoders.testing.weights import Weights


def every_labelling(log_probs: LogProbs, /, *, blank: int = 0) -> dict[tuple[int, ...], float]:
    """The score of every possible labelling, by summing over all V ** T paths: for small T and V only."""
    frames, size = log_probs.shape
    scores: dict[tuple[int, ...], float] = {}
    for path in itertools.product(range(size), repeat=frames):
        labelling = tuple(token for token, _ in itertools.groupby(path) if token != blank)
        score = float(np.sum(log_probs[np.arange(frames), list(path)], dtype=np.float64))
        if score > -math.inf:
            scores[labelling] = float(np.logaddexp(scores.get(labelling, -math.inf), score))
    return scores


def full_expansion(
    log_probs: LogProbs,
    /,
    *,
    beam_size: int,
    blank: int = 0,
    beam_threshold: float = math.inf,
    weights: Sequence[Weights] = (),
) -> list[Hypothesis]:
    """Textbook CTC prefix beam search, every prefix by every token, in float64 logarithms: the last beam.

    Prefixes more than `beam_threshold` nats under the best leave the beam. weights: what is added to the
    logarithm of a prefix's mass, here always computed from the whole prefix: to rank it with the lookahead,
    to score it at the end without. Best first; of prefixes that are worth nothing, none.
    """
    weights = [cache(weigh) for weigh in weights]
    # prefix -> log mass of its paths that end in a blank, and in its last token
    beam: dict[tuple[int, ...], tuple[float, float]] = {(): (0.0, -math.inf)}
    for frame in np.asarray(log_probs, dtype=np.float64).tolist():
        grown: dict[tuple[int, ...], list[float]] = {}
        for prefix, (blank_mass, label_mass) in beam.items():
            total = _log_add(blank_mass, label_mass)
            for token, log_prob in enumerate(frame):
                if token == blank:
                    _add(grown, prefix, 0, total + log_prob)
                elif prefix and token == prefix[-1]:
                    _add(grown, prefix, 1, label_mass + log_prob)
                    _add(grown, (*prefix, token), 1, blank_mass + log_prob)
                else:
                    _add(grown, (*prefix, token), 1, total + log_prob)
        rank = {
            prefix: _log_add(*masses) + sum(sum(weigh(prefix, False)) for weigh in weights)
            for prefix, masses in grown.items()
        }
        ranked = sorted(grown, key=lambda prefix: -rank[prefix])[:beam_size]
        least = rank[ranked[0]] - beam_threshold
        beam = {prefix: (grown[prefix][0], grown[prefix][1]) for prefix in ranked if rank[prefix] >= least}
    found = []
    for prefix, masses in beam.items():
        acoustic = _log_add(*masses)
        parts = [weigh(prefix, True) for weigh in weights]
        language, bonus = sum(part[0] for part in parts), sum(part[1] for part in parts)
        score = acoustic + language + bonus
        found.append(Hypothesis(prefix, score, acoustic=acoustic, language=language, bonus=bonus))
    return sorted((hyp for hyp in found if hyp.score > -math.inf), key=lambda hyp: -hyp.score)


def every_sequence(step: Step, state: Any, /, *, begin: int, end: int, max_length: int) -> dict[tuple[int, ...], float]:
    """The log-probability of every sequence of at most `max_length` tokens and the end, by brute force.

    state: of one row, for one utterance. The begin token is not walked through, unless it is the end token.
    """
    scores: dict[tuple[int, ...], float] = {}

    def walk(prefix: tuple[int, ...], last: int, score: float, state: Any) -> None:
        output, state = step(np.array([last], dtype=np.int32), state)
        for token, log_prob in enumerate(np.asarray(output, dtype=np.float64)[0].tolist()):
            if log_prob == -math.inf:
                continue
            if token == end:
                scores[prefix] = score + log_prob
            elif token != begin and len(prefix) < max_length:
                walk((*prefix, token), token, score + log_prob, state)

    walk((), begin, 0.0, state)
    return scores


def table_step(table: LogProbs, /) -> Step:
    """A step whose next token depends on the last alone: row i of the table (V, V) holds what follows i."""

    def step(tokens: NDArray[np.int32], state: Any, /) -> tuple[LogProbs, Any]:
        return table[tokens], state

    return step


def _log_add(a: float, b: float) -> float:
    high, low = max(a, b), min(a, b)
    return high if low == -math.inf else high + math.log1p(math.exp(low - high))


def _add(grown: dict[tuple[int, ...], list[float]], prefix: tuple[int, ...], part: int, mass: float) -> None:
    masses = grown.setdefault(prefix, [-math.inf, -math.inf])
    masses[part] = _log_add(masses[part], mass)
