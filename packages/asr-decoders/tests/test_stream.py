"""Streams: any pieces give what all frames at once give, to the last bit, and memory stays bounded."""

import itertools
import pickle
import tracemalloc

import numpy as np
import pytest

from asr_decoders import CtcBeam, Vocabulary, ctc_align, stream
from asr_decoders.native import loader
from asr_decoders.ngram import estimate
from asr_decoders.testing import random_posteriors

BACKENDS = ["numpy", *(["native"] if loader.available() else [])]
VOCABULARY = Vocabulary(("", " ", *"abcdefgh"), special=(0,))
SIZE = len(VOCABULARY)
SENTENCES = ["a bad cab", "he had a bag", "a hedge", "bad bee", "he fed a bee", "cab had bag"] * 3
LM = estimate(SENTENCES, order=2, discount_fallback=(0.5, 1.0, 1.5))


class Parity:
    """A language model whose state is not a number."""

    def start(self):
        return {"sum": 0}

    def step(self, state, token):
        total = state["sum"] + token
        return {"sum": total}, -0.3 if total % 2 else -1.4

    def finish(self, state):
        return -0.5


OPTIONS = {
    "plain": {},
    "logits": {"input": "logits"},
    "pruned": {"token_min_log_prob": -6.0, "top_k": 5, "beam_threshold": 9.0, "cumulative": 0.999},
    "words": {"lm": LM, "word_bonus": 1.0},
    "words and hotwords": {"lm": LM, "hotwords": {"dead": 4.0, "bad bee": 3.0}, "beam_threshold": 20.0},
    "model": {"lm": Parity(), "lm_level": "token", "word_bonus": 0.5},
}


def spoken(seed, frames):
    rng = np.random.default_rng(seed)
    return random_posteriors(rng.integers(1, SIZE, frames // 5).tolist(), frames, SIZE, rng)


def pieces(log_probs, rng, longest):
    """The frames in random pieces, empty ones among them."""
    start = 0
    while start < len(log_probs):
        size = int(rng.integers(0, longest + 1))
        yield log_probs[start : start + size]
        start += size


def streamed(decode, chunks):
    state = decode.start()
    for chunk in chunks:
        state = decode.step(state, chunk)
    return decode.finish(state)


def cases(names):
    return [(name, backend) for name in names for backend in BACKENDS if (name, backend) != ("model", "native")]


@pytest.fixture
def settles_early(monkeypatch):
    """What happens after thousands of frames happens after tens."""
    monkeypatch.setattr(stream, "SETTLE", 16)
    monkeypatch.setattr(stream, "DECIDE", 64)


@pytest.mark.parametrize(("name", "backend"), cases(OPTIONS))
@pytest.mark.parametrize("early", [False, True])
def test_pieces_give_the_same_to_the_last_bit(name, backend, early, request) -> None:
    if early:
        request.getfixturevalue("settles_early")
    decode = CtcBeam(beam_size=8, n_best=5, vocabulary=VOCABULARY, backend=backend, **OPTIONS[name])
    for seed, dtype in enumerate((np.float32, np.float64)):
        log_probs = spoken(seed, 150).astype(dtype)
        expected = decode(log_probs)
        rng = np.random.default_rng(seed)
        for longest in (1, 7, 60):
            assert streamed(decode, pieces(log_probs, rng, longest)) == expected


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["plain", "words and hotwords"])
def test_settling_loses_nothing(name, backend, monkeypatch) -> None:
    decode = CtcBeam(beam_size=6, n_best=6, vocabulary=VOCABULARY, backend=backend, **OPTIONS[name])
    for seed in range(6):
        log_probs = spoken(seed, 600)
        if seed % 2:  # long tokens, of frames that are not quite equal: no two paths are
            log_probs = spoken(seed, 120).repeat(5, axis=0) - np.random.default_rng(seed).uniform(0, 0.01, (600, SIZE))
        monkeypatch.setattr(stream, "SETTLE", 10**9)
        expected = decode(log_probs)
        monkeypatch.setattr(stream, "SETTLE", 96)
        monkeypatch.setattr(stream, "DECIDE", 10**9)
        found = decode(log_probs)
        assert found == expected
        for hypothesis in found:
            assert hypothesis.frames == ctc_align(log_probs, hypothesis.tokens)


@pytest.mark.parametrize(("name", "backend"), cases(["plain", "words and hotwords", "model"]))
def test_states_are_values(name, backend, settles_early) -> None:
    decode = CtcBeam(beam_size=5, n_best=3, vocabulary=VOCABULARY, backend=backend, **OPTIONS[name])
    first, one, other = spoken(0, 70), spoken(1, 50), spoken(2, 50)
    state = decode.step(decode.start(), first)
    stored = pickle.dumps(state)
    before = decode.partial(state)
    assert decode.finish(decode.step(state, one)) == decode(np.concatenate((first, one)))
    assert decode.finish(decode.step(state, other)) == decode(np.concatenate((first, other)))
    assert decode.finish(state) == decode(first)
    assert decode.partial(state) == before
    again = pickle.loads(stored)
    assert pickle.loads(pickle.dumps(decode)).finish(decode.step(again, one)) == decode(np.concatenate((first, one)))


def test_frames_are_the_callers_to_change() -> None:
    decode = CtcBeam(beam_size=4)
    log_probs = spoken(3, 40)
    expected = decode(log_probs)
    state = decode.start()
    buffer = np.empty_like(log_probs[:10])
    for start in range(0, 40, 10):
        buffer[:] = log_probs[start : start + 10]
        state = decode.step(state, buffer)
    buffer[:] = -1.0
    assert decode.finish(state) == expected


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_is_settled_stays(backend, settles_early) -> None:
    decode = CtcBeam(beam_size=8, n_best=8, vocabulary=VOCABULARY, backend=backend)
    log_probs = spoken(4, 300)
    final = decode(log_probs)
    state, settled, lengths = decode.start(), (), []
    for start in range(0, 300, 9):
        state = decode.step(state, log_probs[start : start + 9])
        partial = decode.partial(state)
        count = decode.settled(state)
        assert partial.tokens[: len(settled)] == settled
        assert not partial.finished and partial.text == VOCABULARY.text(partial.tokens)
        settled = partial.tokens[:count]
        assert all(hypothesis.tokens[:count] == settled for hypothesis in final)
        lengths.append(count)
    assert lengths == sorted(lengths) and lengths[-1] > 40


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_the_best_says_for_long_is_decided(backend, settles_early) -> None:
    # Tokens 1 and 2 are as 6 to 4 in the second frame, and everything after it is certain.
    log_probs = np.log(np.full((200, 4), 1e-30))
    log_probs[:, 0] = 0.0
    log_probs[1] = np.log([1e-30, 0.6, 0.4, 1e-30])
    log_probs[5::6] = log_probs[0, [3, 1, 2, 0]]
    decode = CtcBeam(beam_size=2, n_best=2, backend=backend)
    assert [h.tokens[0] for h in decode(log_probs[:127])] == [1, 2]
    assert decode(log_probs[:128])[0].tokens[0] == 1
    assert all(h.tokens[0] == 1 for h in decode(log_probs[:128]))
    best = decode(log_probs)[0]
    assert best.frames == ctc_align(log_probs, best.tokens)


@pytest.mark.parametrize("backend", BACKENDS)
def test_memory_is_bounded(backend, monkeypatch) -> None:
    """Talk, silence, noise: what is kept for them grows by their tokens alone."""
    monkeypatch.setattr(stream, "SETTLE", 128)
    monkeypatch.setattr(stream, "DECIDE", 512)
    rng = np.random.default_rng(0)
    talk = random_posteriors(rng.integers(1, SIZE, 80).tolist(), 512, SIZE, rng)
    silence = np.full((512, SIZE), -12.0, dtype=np.float32)
    silence[:, 0] = -1e-4
    noise = rng.normal(0, 1, (512, SIZE))
    noise = (noise - np.logaddexp.reduce(noise, axis=1, keepdims=True)).astype(np.float32)
    decode = CtcBeam(beam_size=4, backend=backend)
    for block in (talk, silence, noise):
        state = decode.step(decode.step(decode.start(), block), block)
        size, tokens = len(pickle.dumps(state)), len(decode.partial(state).tokens)
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(6):
            state = decode.step(state, block)
        grown = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        new = len(decode.partial(state).tokens) - tokens
        assert len(pickle.dumps(state)) - size < 24 * new + 5_000  # a token, its first and last frame
        assert grown < 100 * new + 100_000
        assert len(decode.finish(state)[0].frames) == tokens + new


def test_frames_of_another_vocabulary_are_refused() -> None:
    decode = CtcBeam()
    state = decode.step(decode.start(), spoken(0, 5))
    with pytest.raises(ValueError, match=r"frames \(T, 10\) expected as before in this stream, got \(5, 9\)"):
        decode.step(state, spoken(0, 5)[:, :9] - 1.0)


def test_a_batch_is_its_utterances() -> None:
    decode = CtcBeam(beam_size=4, n_best=2, vocabulary=VOCABULARY, lm=LM)
    utterances = [spoken(seed, frames) for seed, frames in enumerate((30, 0, 60, 5))]
    expected = [decode(log_probs) for log_probs in utterances]
    assert decode.batch(utterances) == expected
    assert decode.batch(iter(utterances), threads=2) == expected
    with pytest.raises(ValueError, match="threads must be an integer of at least 1, got 0"):
        decode.batch(utterances, threads=0)


def test_pieces_are_kept_like_numbers_of_a_binary_counter() -> None:
    kept = ()
    for i in range(1000):
        kept = stream._append(kept, np.full((1, 2), i))
    assert len(kept) <= 10 + 1000 // stream.LARGE
    assert np.concatenate(kept)[:, 0].tolist() == list(range(1000))
    assert all(len(a) > len(b) or len(a) > stream.LARGE for a, b in itertools.pairwise(kept))
