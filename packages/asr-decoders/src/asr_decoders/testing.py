"""Slow truth to test decoders against, data to test them with, and checks for anyone's own decoders.

Everything here is written for the reader, not for speed, and shares no code with the decoders.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from asr_decoders.interfaces import Decoder, Hypothesis, LanguageModel, LogProbs, Step

S = TypeVar("S")


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
    log_probs: LogProbs, /, *, beam_size: int, blank: int = 0, beam_threshold: float = math.inf
) -> list[Hypothesis]:
    """Textbook CTC prefix beam search, every prefix by every token, in float64 logarithms: the last beam.

    Prefixes more than `beam_threshold` nats under the best leave the beam.
    """
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
        ranked = sorted(grown.items(), key=lambda item: -_log_add(*item[1]))[:beam_size]
        least = _log_add(*ranked[0][1]) - beam_threshold
        beam = {prefix: (masses[0], masses[1]) for prefix, masses in ranked if _log_add(*masses) >= least}
    scores = [(prefix, _log_add(*masses)) for prefix, masses in beam.items()]
    return [Hypothesis(tokens=prefix, score=score) for prefix, score in scores if score > -math.inf]


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


def random_posteriors(
    tokens: Sequence[int], num_frames: int, vocab_size: int, rng: np.random.Generator, *, blank: int = 0
) -> NDArray[np.float32]:
    """(T, V) log-probabilities as a trained CTC model gives them for the tokens.

    Mostly confident blanks; a spike for each token at increasing places, a blank between equal ones; every
    token has rivals that come close, and one spike in twelve is won by a rival; spikes leak into the next
    frame; correlated noise. Raises ValueError where the tokens do not fit into the frames.
    """
    least = [1 + (u > 0 and tokens[u - 1] == token) for u, token in enumerate(tokens)]
    if sum(least) > num_frames:
        raise ValueError(f"{len(tokens)} tokens need {sum(least)} frames, got {num_frames}")
    logits = rng.normal(0, 1.5, (num_frames, vocab_size))
    logits[1:] += 0.7 * logits[:-1]
    logits[:, blank] = rng.normal(12, 2, num_frames)
    slack = np.sort(rng.integers(0, num_frames - sum(least) + 1, len(tokens)))
    places = np.cumsum(least, dtype=np.intp) - 1 + slack
    labels = [token for token in range(vocab_size) if token != blank]
    rivals = {token: rng.choice(labels, min(4, len(labels)), replace=False) for token in set(tokens)}
    for token, place in zip(tokens, places.tolist(), strict=True):
        logits[place, blank] = rng.normal(9, 2)
        logits[place, rivals[token]] = rng.normal(8, 2, len(rivals[token]))
        spike = rng.normal(15, 1.5)
        logits[place, token] = spike
        if rng.random() < 1 / 12:
            logits[place, rng.choice(rivals[token])] = spike + 0.5
        if place + 1 < num_frames and place + 1 not in places:
            logits[place + 1, token] = logits[place + 1, blank] - rng.gamma(2, 2)
    top = logits.max(axis=1, keepdims=True)
    log_probs: NDArray[np.float64] = logits - top - np.log(np.exp(logits - top).sum(axis=1, keepdims=True))
    return log_probs.astype(np.float32)


def check_decoder(decoder: Decoder, /, *, vocab_size: int = 29, seed: int = 0) -> None:
    """Raises AssertionError unless the decoder keeps the promises of the interface.

    vocab_size: V of the log-probabilities that it is tried with; pieces for as many, if it has a vocabulary.
    """
    rng = np.random.default_rng(seed)
    noise = rng.gumbel(size=(20, vocab_size))
    spoken = random_posteriors([1 % vocab_size] * 3 if vocab_size > 1 else [], 30, vocab_size, rng)
    hard = spoken.copy()
    hard[hard < -12] = -np.inf
    cases = {
        "no frames": np.zeros((0, vocab_size), dtype=np.float32),
        "one frame": np.full((1, vocab_size), -math.log(vocab_size)),
        "noise": noise - np.log(np.exp(noise).sum(axis=1, keepdims=True)),
        "posteriors": spoken,
        "posteriors with -inf": hard,
    }
    for name, log_probs in cases.items():
        before = log_probs.copy()
        hypotheses = decoder(log_probs)
        scores = [hypothesis.score for hypothesis in hypotheses]
        tokens = [hypothesis.tokens for hypothesis in hypotheses]
        _require(len(hypotheses) > 0, f"{name}: at least one hypothesis expected, got none")
        _require(len(set(tokens)) == len(tokens), f"{name}: the hypotheses must be all different, got {tokens}")
        _require(all(map(math.isfinite, scores)), f"{name}: finite scores expected, got {scores}")
        _require(scores == sorted(scores, reverse=True), f"{name}: best first expected, got scores {scores}")
        valid = all(type(t) is int and 0 <= t < vocab_size for sequence in tokens for t in sequence)
        _require(valid, f"{name}: tokens of 0 to {vocab_size - 1} as int expected, got {tokens}")
        for hypothesis in hypotheses:
            _check_frames(hypothesis, len(log_probs), name)
        _require(np.array_equal(log_probs, before), f"{name}: the decoder wrote into its argument")
        _require(decoder(log_probs) == hypotheses, f"{name}: the same input gave another output")


def check_language_model(model: LanguageModel[S], tokens: Sequence[int], /) -> None:
    """Raises AssertionError unless the model keeps the promises of the interface on these tokens.

    Its scores are log-probabilities, and a step leaves the state that it was given as it was: at every
    token the search tries all the others first, as a beam search does, and the scores must not change.
    """

    def score(rivals: Sequence[int]) -> list[float]:
        state, scores = model.start(), []
        for token in tokens:
            for rival in rivals:
                model.finish(model.step(state, rival)[0])
            state, log_prob = model.step(state, token)
            scores.append(log_prob)
        return [*scores, model.finish(state)]

    alone = score([])
    good = all(not math.isnan(value) and value <= 1e-3 for value in alone)
    _require(good, f"log-probabilities (natural log, at most 0) expected, got {alone}")
    _require(score([]) == alone, "the same tokens got other scores the second time")
    _require(
        score(sorted(set(tokens))) == alone,
        "a step changed the state that it was given: scores differ after it",
    )


def _check_frames(hypothesis: Hypothesis, num_frames: int, name: str) -> None:
    frames = hypothesis.frames
    if frames:
        _require(
            len(frames) == len(hypothesis.tokens),
            f"{name}: frames for each token or none expected, got {frames}",
        )
        flat = [edge for pair in frames for edge in pair]
        rising = flat == sorted(flat) and all(start < end for start, end in frames)
        inside = flat[0] >= 0 and flat[-1] <= num_frames
        _require(
            rising and inside,
            f"{name}: rising frames (first, last + 1) up to {num_frames} expected, got {frames}",
        )


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise AssertionError(message)


def _log_add(a: float, b: float) -> float:
    high, low = max(a, b), min(a, b)
    return high if low == -math.inf else high + math.log1p(math.exp(low - high))


def _add(grown: dict[tuple[int, ...], list[float]], prefix: tuple[int, ...], part: int, mass: float) -> None:
    masses = grown.setdefault(prefix, [-math.inf, -math.inf])
    masses[part] = _log_add(masses[part], mass)
