"""CTC scores and best paths by the library, against those in numpy."""

import math

import numpy as np
import pytest

from asr_decoders import ctc_score, native
from asr_decoders.align import best_path
from asr_decoders.native import align as library
from asr_decoders.testing import random_posteriors

pytestmark = pytest.mark.skipif(not native.available(), reason=str(native.why_not()))


def case(seed):
    """Log-probabilities, many of them equal or impossible, and a labelling which may have no path."""
    rng = np.random.default_rng(seed)
    frames, size = int(rng.integers(0, 40)), int(rng.integers(2, 8))
    tokens = rng.integers(1, size, int(rng.integers(0, max(1, frames // 2)))).tolist()
    probs = rng.dirichlet(np.full(size, 0.3), frames).reshape(frames, size)
    log_probs = np.round(np.log(probs + 1e-30), int(rng.integers(0, 5))).clip(max=0)
    log_probs *= rng.choice([0, 1, 1, 1, 30])
    if seed % 3 == 0:
        log_probs[rng.random(log_probs.shape) < 0.2] = -np.inf
    return log_probs.astype(np.float32 if seed % 2 else np.float64), tokens


@pytest.mark.parametrize("seed", range(300))
def test_score(seed) -> None:
    log_probs, tokens = case(seed)
    expected = ctc_score(log_probs, tokens)
    assert library.ctc_score(log_probs, tokens, blank=0) == pytest.approx(expected, abs=1e-9, rel=1e-12)


def test_scores_of_any_size() -> None:
    """Those that plain numbers can hold, and those that need logarithms."""
    rng = np.random.default_rng(0)
    tokens = rng.integers(1, 12, 100).tolist()
    log_probs = random_posteriors(tokens, 500, 12, rng).astype(np.float64)
    for shift in (0.0, -0.5, -1.0, -2.0, -100.0):
        expected = ctc_score(log_probs + shift, tokens)
        assert library.ctc_score(log_probs + shift, tokens, blank=0) == pytest.approx(expected, abs=1e-8)
    certain = np.full((900, 3), -2000.0)
    certain[np.arange(900), np.arange(900) % 3] = 0.0
    for labels in ([1, 2] * 300, [1, 2] * 200, [2, 1] * 50, [1] * 300):
        expected = ctc_score(certain, labels)
        assert library.ctc_score(certain, labels, blank=0) == pytest.approx(expected, abs=1e-9)
    assert library.ctc_score(np.zeros((2000, 3)), [1, 2], blank=0) == pytest.approx(
        ctc_score(np.zeros((2000, 3)), [1, 2])
    )
    assert library.ctc_score(certain[:1], [1, 2], blank=0) == -math.inf


@pytest.mark.parametrize("seed", range(300))
def test_best_path_is_the_same_among_equal_ones(seed) -> None:
    log_probs, tokens = case(seed)
    for state in (None, 0, 1) if tokens else (None, 0):
        expected = best_path(log_probs, tokens, blank=0, state=state)
        np.testing.assert_array_equal(library.best_path(log_probs, tokens, blank=0, state=state), expected)


def test_best_path_of_an_utterance() -> None:
    rng = np.random.default_rng(0)
    tokens = rng.integers(1, 29, 300).tolist()
    log_probs = random_posteriors(tokens, 1500, 29, rng)
    np.testing.assert_array_equal(library.best_path(log_probs, tokens, blank=0), best_path(log_probs, tokens, blank=0))


@pytest.mark.parametrize("tokens", [[5], [-1], [1, 2**40], [-(2**62)]])
def test_what_is_no_token_is_refused(tokens) -> None:
    log_probs = np.log(np.full((20, 5), 0.2))
    for function in (library.ctc_score, library.best_path):
        with pytest.raises(ValueError, match="ids of the frames' vocabulary"):
            function(log_probs, tokens, blank=0)
        with pytest.raises(ValueError, match="ids of the frames' vocabulary"):
            function(log_probs, [1], blank=5)
