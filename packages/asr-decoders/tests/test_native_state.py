"""States of the native search: values, which go on as the search itself does, and do no harm when damaged."""

import copy
import random

import numpy as np
import pytest

from asr_decoders import CtcBeam, Vocabulary, native
from asr_decoders.ngram import estimate
from asr_decoders.testing import random_posteriors

pytestmark = pytest.mark.skipif(not native.available(), reason=str(native.why_not()))

SPACED = Vocabulary(("", " ", "a", "b", "c"), special=(0,))
MODEL = estimate(["a cab", "a bac", "bab a cab", "abc"] * 3, order=3, discount_fallback=(0.5, 1.0, 1.5))
SEARCHES = {
    "plain": CtcBeam(beam_size=12, n_best=12, backend="native"),
    "pruned": CtcBeam(beam_size=12, n_best=12, top_k=3, beam_threshold=8.0, input="logits", backend="native"),
    "words": CtcBeam(beam_size=12, n_best=12, vocabulary=SPACED, lm=MODEL, hotwords={"bac": 3.0}, backend="native"),
    "tokens": CtcBeam(beam_size=12, n_best=12, vocabulary=SPACED, lm=MODEL, lm_level="token", backend="native"),
}


@pytest.fixture(params=SEARCHES)
def search(request):
    return SEARCHES[request.param]._search


def frames_of(rng, count):
    return random_posteriors(rng.integers(1, 5, count // 3).tolist(), count, 5, rng)


def beams(search, state):
    return search.paths(state, 12, final=True), search.paths(state, 12, final=False)


@pytest.mark.parametrize("seed", range(10))
def test_any_chunks_are_bit_identical(search, seed) -> None:
    rng = np.random.default_rng(seed)
    frames = frames_of(rng, int(rng.integers(1, 80)))
    whole = search.step(search.start(), frames)
    state, at = search.start(), 0
    while at < len(frames):
        count = int(rng.integers(0, 7))
        state = search.step(state, frames[at : at + count])
        at += count
    assert beams(search, state) == beams(search, whole)


def test_a_state_is_a_value(search) -> None:
    rng = np.random.default_rng(0)
    first, one, other = (frames_of(rng, 30) for _ in range(3))
    state = search.step(search.start(), first)
    kept = copy.deepcopy(state)
    left, right = search.step(state, one), search.step(state, other)
    assert state == kept
    assert beams(search, search.step(kept, one)) == beams(search, left) != beams(search, right)


@pytest.mark.parametrize("seed", range(6))
def test_settling_changes_nothing_but_the_beginning(search, seed) -> None:
    rng = np.random.default_rng(seed)
    state = search.step(search.start(), frames_of(rng, 60))
    settled, tokens = search.settle(state, ())
    assert [(*tokens, *path.tokens) for path in search.paths(settled, 12, final=True)] == [
        path.tokens for path in search.paths(state, 12, final=True)
    ]
    assert len(settled) <= len(state)
    more = frames_of(rng, 40)
    expected, found = (beams(search, search.step(beam, more)) for beam in (state, settled))
    for left, right in zip(expected, found, strict=True):
        assert [path.tokens for path in left] == [(*tokens, *path.tokens) for path in right]
        assert [path[1:] for path in left] == [path[1:] for path in right]


def test_settling_on_a_prefix_leaves_those_that_begin_with_it(search) -> None:
    state = search.step(search.start(), frames_of(np.random.default_rng(3), 60))
    paths = search.paths(state, 12, final=False)
    required = paths[3].tokens
    settled, tokens = search.settle(state, required)
    left = {(*tokens, *path.tokens) for path in search.paths(settled, 12, final=False)}
    assert left == {path.tokens for path in paths if path.tokens[: len(required)] == required}
    with pytest.raises(ValueError, match="no hypothesis in the beam begins"):
        search.settle(state, (4,) * 50)


def test_states_of_another_search_are_refused(search) -> None:
    state = search.step(search.start(), frames_of(np.random.default_rng(0), 30))
    for wrong in (b"", b"state", state[:-1], state + b"\0", None, "state", object()):
        with pytest.raises(ValueError, match="state"):
            search.step(wrong, np.zeros((0, 5)))
    with pytest.raises(ValueError, match="state"):
        search.step(state, np.log(np.full((1, 2), 0.5)))
    for other in SEARCHES.values():
        if (other._search.fusion is None) != (search.fusion is None):
            with pytest.raises(ValueError, match="state"):
                other._search.step(state, np.zeros((0, 5)))


def test_damaged_states_do_no_harm(search) -> None:
    """They are refused, or are those of another beam, which can be searched on."""
    rng, choose = np.random.default_rng(0), random.Random(0)
    state = search.step(search.start(), frames_of(rng, 40))
    more = frames_of(rng, 20)
    refused = 0
    for _ in range(400):
        damaged = bytearray(state)
        for _ in range(choose.randint(1, 3)):
            at = choose.randrange(len(damaged))
            damaged[at : at + 4] = choose.choice(
                (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", choose.randbytes(4))
            )
        try:
            beams(search, search.step(bytes(damaged), more))
        except ValueError as error:
            assert "\n" not in str(error)
            refused += 1
    assert refused > 50
    for size in range(0, len(state), max(1, len(state) // 200)):
        with pytest.raises(ValueError, match="damaged"):
            search.step(state[:size], more)
