"""Checks for anyone's own decoders and language models."""

import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from asr_decoders.interfaces import Decoder, Hypothesis, LanguageModel
from asr_decoders.testing.posteriors import random_posteriors

S = TypeVar("S")


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
            _check_parts(hypothesis, name)
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


def _check_parts(hypothesis: Hypothesis, name: str) -> None:
    if hypothesis.acoustic is not None:
        parts = hypothesis.acoustic, hypothesis.language, hypothesis.bonus
        same = math.isclose(sum(parts), hypothesis.score, rel_tol=1e-9, abs_tol=1e-9)
        _require(same, f"{name}: a score that is the sum of its parts expected, got {hypothesis.score} of {parts}")


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
