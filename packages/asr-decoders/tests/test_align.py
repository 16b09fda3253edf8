"""The exact score and the best alignment against brute force over all paths."""

import itertools

import numpy as np
import pytest

from asr_decoders import CtcBeam, ctc_align, ctc_score
from asr_decoders.align import best_path
from asr_decoders.testing import every_labelling, random_posteriors


def random_log_probs(rng, frames, size):
    logits = rng.normal(0, 2, (frames, size))
    return logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)


@pytest.mark.parametrize("seed", range(60))
def test_score_is_the_sum_over_all_paths(seed) -> None:
    rng = np.random.default_rng(seed)
    frames, size = int(rng.integers(0, 6)), int(rng.integers(1, 5))
    blank = int(rng.integers(size))
    log_probs = random_log_probs(rng, frames, size)
    for tokens, score in every_labelling(log_probs, blank=blank).items():
        assert ctc_score(log_probs, tokens, blank=blank) == pytest.approx(score, abs=1e-9)


def runs(path, blank):
    """(first, last + 1) of every run of a token."""
    frames, start = [], 0
    for token, run in itertools.groupby(path):
        end = start + len(list(run))
        if token != blank:
            frames.append((start, end))
        start = end
    return tuple(frames)


@pytest.mark.parametrize("seed", range(40))
def test_alignment_is_that_of_the_best_path(seed) -> None:
    rng = np.random.default_rng(seed)
    frames, size = int(rng.integers(1, 6)), int(rng.integers(2, 4))
    blank = int(rng.integers(size))
    log_probs = random_log_probs(rng, frames, size)
    best = {}
    for path in itertools.product(range(size), repeat=frames):
        tokens = tuple(token for token, _ in itertools.groupby(path) if token != blank)
        score = log_probs[np.arange(frames), list(path)].sum()
        if tokens not in best or score > best[tokens][0]:
            best[tokens] = score, path
    for tokens, (_, path) in best.items():
        assert ctc_align(log_probs, tokens, blank=blank) == runs(path, blank)


def test_nothing_to_align() -> None:
    assert ctc_align(np.zeros((0, 3)), ()) == ()
    with pytest.raises(ValueError, match="no path of 1 tokens"):
        ctc_align(np.zeros((0, 3)), (1,))
    assert ctc_align(np.full((2, 3), -1.0), ()) == ()
    assert ctc_score(np.zeros((0, 3)), ()) == 0.0


def test_too_few_frames() -> None:
    log_probs = np.full((2, 3), -1.0)
    assert ctc_score(log_probs, (1, 1)) == -np.inf  # equal tokens need a blank between
    assert ctc_score(log_probs, (1, 2)) == pytest.approx(-2.0)
    with pytest.raises(ValueError, match=r"2 tokens .* 2 frames"):
        ctc_align(log_probs, (1, 1))


@pytest.mark.parametrize("function", [ctc_score, ctc_align])
def test_wrong_tokens_are_refused(function) -> None:
    log_probs = np.full((4, 3), -1.0)
    for token in (0, 3, -1):
        with pytest.raises(ValueError, match=f"not the blank 0, got {token}"):
            function(log_probs, (1, token))
    with pytest.raises(ValueError, match="log-probabilities expected"):
        function(-log_probs, (1,))


@pytest.mark.parametrize("seed", range(40))
def test_best_path_from_a_state(seed) -> None:
    rng = np.random.default_rng(seed)
    log_probs = random_log_probs(rng, int(rng.integers(3, 7)), 3)
    tokens = [(1, 2), (1, 1), (2,)][seed % 3]
    states = [0, *(state for token in tokens for state in (token, 0))]
    for first in (0, 1):
        best = max(
            (
                (log_probs[np.arange(len(path)), [states[s] for s in path]].sum(), path)
                for path in itertools.product(range(len(states)), repeat=len(log_probs))
                if path[0] == first and path[-1] >= len(states) - 2 and all(map(follows(states), path, path[1:]))
            ),
            default=None,
        )
        if best is not None:
            assert best_path(log_probs, tokens, blank=0, state=first).tolist() == list(best[1])


def follows(states):
    """Whether a path may go from one state to the other."""
    return lambda a, b: b - a in (0, 1) or (b - a == 2 and states[b] != 0 and states[b] != states[a])


def test_impossible_steps_are_improbable_steps() -> None:
    log_probs = np.log([[0.5, 0.5, 1e-9], [1.0, 1e-9, 1e-9]])
    log_probs[log_probs < -10] = -np.inf
    assert best_path(log_probs, (1, 2), blank=0).tolist() == [1, 3]
    assert best_path(log_probs, (1, 1), blank=0).tolist() == [1, 3]  # without the blank between


def test_a_long_alignment_is_the_best_one() -> None:
    rng = np.random.default_rng(0)
    log_probs = random_posteriors(rng.integers(1, 29, 500).tolist(), 2000, 29, rng)
    tokens = CtcBeam(align=False)(log_probs)[0].tokens
    spans = ctc_align(log_probs, tokens)  # looks at all states
    path = best_path(log_probs, tokens, blank=0)  # looks at those near the best one
    assert [
        (int(f[0]), int(f[-1]) + 1) for f in (np.flatnonzero(path == 2 * u + 1) for u in range(len(tokens)))
    ] == list(spans)


@pytest.mark.parametrize("tokens", [None, "ab", 3, [1.5], [True], [0], [9], [-1]])
def test_labels_that_cannot_be_are_refused_in_one_line(tokens):
    log_probs = np.log(np.full((6, 3), 1 / 3))
    for function in (ctc_score, ctc_align):
        with pytest.raises(ValueError, match=r"^tokens .*, got ") as error:
            function(log_probs, tokens)
        assert "\n" not in str(error.value)
