"""CTC decoding against brute force, the textbook beam search and a real model's output."""

import json
import math
import pickle
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_decoders import CtcBeam, CtcGreedy, Hypothesis, Vocabulary, ctc, ctc_align, ctc_score
from asr_decoders.interfaces import Word
from asr_decoders.native import loader
from asr_decoders.search import State
from asr_decoders.testing import check_decoder, every_labelling, full_expansion, random_posteriors

SHARED = Path(__file__).resolve().parents[3].parent / "shared" / "data"


BACKENDS = ["numpy", *(["native"] if loader.available() else [])]
BEAMS = [CtcBeam(backend=backend) for backend in BACKENDS]


@pytest.fixture(autouse=True, params=BACKENDS)
def backend(request, monkeypatch):
    """Every test with every search."""
    monkeypatch.setenv("ASR_DECODERS_BACKEND", request.param)
    return request.param


def random_log_probs(rng, frames, size, spread=2.0):
    logits = rng.normal(0, spread, (frames, size))
    return logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)


def by_tokens(hypotheses):
    return {hypothesis.tokens: hypothesis.score for hypothesis in hypotheses}


def assert_same(found, expected, tolerance=1e-9):
    assert by_tokens(found).keys() == by_tokens(expected).keys()
    for tokens, score in by_tokens(expected).items():
        assert by_tokens(found)[tokens] == pytest.approx(score, abs=tolerance)


@pytest.mark.parametrize("seed", range(40))
def test_n_best_is_the_textbook_beam_wherever_the_blank_is(seed) -> None:
    # test_exact.py has many more cases, of blank 0.
    rng = np.random.default_rng(1000 + seed)
    frames, size, beam_size = int(rng.integers(1, 30)), int(rng.integers(2, 24)), int(rng.integers(1, 12))
    blank = int(rng.integers(size))
    if seed % 3:
        log_probs = random_log_probs(rng, frames, size, spread=rng.uniform(0.5, 6))
    else:
        tokens = [int(t) for t in rng.integers(0, size, frames // 4) if t != blank]
        log_probs = random_posteriors(tokens, frames, size, rng, blank=blank)
    found = CtcBeam(blank=blank, beam_size=beam_size, n_best=beam_size)(log_probs)
    assert_same(found, full_expansion(log_probs, beam_size=beam_size, blank=blank))


@pytest.mark.parametrize("seed", range(40))
def test_beam_threshold_is_that_of_the_textbook_beam(seed) -> None:
    rng = np.random.default_rng(2000 + seed)
    log_probs = random_log_probs(rng, 20, 6, spread=3)
    threshold = float(rng.uniform(0, 8))
    found = CtcBeam(beam_size=8, n_best=8, beam_threshold=threshold)(log_probs)
    assert_same(found, full_expansion(log_probs, beam_size=8, beam_threshold=threshold))


@pytest.mark.parametrize("seed", range(40))
def test_pruned_tokens_are_impossible_tokens(seed) -> None:
    rng = np.random.default_rng(3000 + seed)
    log_probs = random_log_probs(rng, 15, 7, spread=3)
    least, k, cumulative = float(rng.uniform(-4, 0)), int(rng.integers(1, 8)), float(rng.uniform(0.3, 1))
    keep = np.zeros(log_probs.shape, dtype=bool)
    for frame, kept in zip(log_probs, keep, strict=True):
        best = sorted(range(7), key=lambda token: -frame[token])
        for rank, token in enumerate(best[:k]):
            better = sum(math.exp(frame[other]) for other in best[:rank])
            kept[token] = rank == 0 or (frame[token] >= least and better < cumulative)
    expected = full_expansion(np.where(keep, log_probs, -np.inf), beam_size=6)
    pruning = {"token_min_log_prob": least, "top_k": k, "cumulative": cumulative}
    assert_same(CtcBeam(beam_size=6, n_best=6, **pruning)(log_probs), expected)
    logits = log_probs + rng.normal(0, 50, (15, 1))
    assert_same(CtcBeam(beam_size=6, n_best=6, input="logits", **pruning)(logits), expected)


def test_pruning_keeps_equal_tokens() -> None:
    log_probs = np.log([[0.4, 0.2, 0.2, 0.2]])
    for pruning in ({"top_k": 2}, {"cumulative": 0.5}):
        assert len(CtcBeam(n_best=16, **pruning)(log_probs)) == 4
    for pruning in ({"top_k": 1}, {"cumulative": 0.3}, {"token_min_log_prob": -1.0}):
        assert len(CtcBeam(n_best=16, **pruning)(log_probs)) == 1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_logits_are_normalised(dtype) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (30, 9)).astype(dtype) + dtype(200)
    logits[3, 2] = -np.inf
    exact = logits.astype(np.float64)
    expected = CtcBeam(n_best=4)(exact - np.logaddexp.reduce(exact, axis=1, keepdims=True))
    found = CtcBeam(n_best=4, input="logits")(logits)
    assert_same(found, expected)
    assert [h.frames for h in found] == [h.frames for h in expected]
    for bad in (np.nan, np.inf):
        with pytest.raises(ValueError, match=f"logits expected, finite numbers or -inf, got {bad} at frame 7"):
            CtcBeam(input="logits")(np.where(np.arange(30)[:, None] == 7, bad, logits))
    with pytest.raises(ValueError, match="frame 7 of 30 is impossible"):
        CtcBeam(input="logits")(np.where(np.arange(30)[:, None] == 7, -np.inf, logits))


def test_equal_scores_stay_exact_with_a_full_beam() -> None:
    log_probs = np.full((5, 3), -math.log(3))
    found = CtcBeam(beam_size=500, n_best=500)(log_probs)
    assert by_tokens(found) == pytest.approx(every_labelling(log_probs), abs=1e-9)


def test_long_input() -> None:
    rng = np.random.default_rng(0)
    log_probs = random_posteriors(rng.integers(1, 12, 400).tolist(), 2000, 12, rng)
    found = CtcBeam(beam_size=6, n_best=6)(log_probs)
    assert_same(found, full_expansion(log_probs, beam_size=6), tolerance=1e-8)
    assert found[0].score <= ctc_score(log_probs, found[0].tokens) + 1e-9


def test_growing_masses_do_not_overflow() -> None:
    # All paths are about as probable as the best one, and ever more of them meet in a prefix.
    log_probs = np.tile(np.log([0.47, 0.53]), (3000, 1))
    found = CtcBeam(beam_size=3, n_best=3)(log_probs)
    assert_same(found, full_expansion(log_probs, beam_size=3), tolerance=1e-8)


def test_shrinking_masses_do_not_underflow() -> None:
    # With one place in the beam, (1,) is first a little better than (1, 2), then shares its mass with (1, 1).
    pair = np.log([[0.51 / 2.03, 0.52 / 2.03, 1 / 2.03], [1e-6, 1 - 2e-6, 1e-6]])
    log_probs = np.concatenate((np.log([[0.001, 0.998, 0.001]]), np.tile(pair, (1500, 1))))
    (found,) = CtcBeam(beam_size=1)(log_probs)
    assert found.tokens == (1,)
    assert_same([found], full_expansion(log_probs, beam_size=1), tolerance=1e-8)


@pytest.mark.parametrize("floor", [-80.0, -1000.0, -np.inf])
def test_certain_frames(floor) -> None:
    path = [0, 1, 1, 0, 1, 2, 2, 0] * 250
    log_probs = np.full((len(path), 3), floor, dtype=np.float32)
    log_probs[np.arange(len(path)), path] = 0.0
    expected = tuple(token for token, _ in groupby(path) if token)
    for decoder in (CtcBeam(beam_size=4, n_best=4), CtcGreedy()):
        best = decoder(log_probs)[0]
        assert best.tokens == expected
        assert best.score == pytest.approx(0.0, abs=1e-9)


def test_tiny_probabilities_do_not_underflow() -> None:
    rng = np.random.default_rng(5)
    log_probs = random_log_probs(rng, 60, 5)
    expected = CtcBeam(beam_size=5, n_best=5)(log_probs)
    found = CtcBeam(beam_size=5, n_best=5)(log_probs - 5000.0)
    assert_same(found, [Hypothesis(h.tokens, h.score - 60 * 5000.0) for h in expected], tolerance=1e-6)


def test_no_frames_are_the_empty_hypothesis() -> None:
    for decoder in (CtcGreedy(), CtcBeam(n_best=3)):
        (only,) = decoder(np.zeros((0, 4), dtype=np.float32))
        assert (only.tokens, only.score) == ((), 0.0)


def test_a_vocabulary_of_the_blank_alone() -> None:
    for decoder in (CtcGreedy(), CtcBeam(n_best=3)):
        (only,) = decoder(np.full((3, 1), -0.5))
        assert only.tokens == ()
        assert only.score == pytest.approx(-1.5)


@pytest.mark.parametrize("decoder", [CtcGreedy(), *BEAMS])
def test_wrong_input_is_refused(decoder) -> None:
    log_probs = random_log_probs(np.random.default_rng(0), 4, 3)
    with pytest.raises(ValueError, match=r"log-probabilities expected .* got 2\.5 at frame 1"):
        decoder(np.array([[-1.0, -1.0], [2.5, -3.0]]))
    with pytest.raises(ValueError, match=r"log-probabilities expected .* got nan at frame 2"):
        decoder(np.where(np.arange(4)[:, None] == 2, np.nan, log_probs))
    with pytest.raises(ValueError, match="frame 3 of 4 is impossible"):
        decoder(np.where(np.arange(4)[:, None] == 3, -np.inf, log_probs))
    with pytest.raises(ValueError, match=r"\(T, V\)"):
        decoder(log_probs[None])
    with pytest.raises(ValueError, match="complex128"):
        decoder(log_probs.astype(complex))
    with pytest.raises(ValueError, match="blank must be less than V = 3, got 3"):
        type(decoder)(blank=3)(log_probs)
    with pytest.raises(ValueError, match="V = 3 log-probabilities expected, got 2 pieces"):
        type(decoder)(vocabulary=Vocabulary(("", "a")))(log_probs)


@pytest.mark.parametrize(
    "options",
    [
        {"blank": -1},
        {"blank": 0.5},
        {"beam_size": 0},
        {"beam_size": True},
        {"n_best": 0},
        {"beam_size": 4, "n_best": 5},
        {"top_k": 0},
        {"token_min_log_prob": 0.1},
        {"token_min_log_prob": "-5"},
        {"beam_threshold": "10"},
        {"cumulative": True},
        {"beam_threshold": -1.0},
        {"beam_threshold": math.nan},
        {"cumulative": 0.0},
        {"cumulative": 1.1},
        {"input": "probs"},
        {"lm_level": "words"},
        {"lm_weight": -0.1},
        {"word_bonus": math.inf},
        {"unknown_log_prob": 1.0},
        {"unknown_log_prob": -math.inf},
        {"backend": "cuda"},
    ],
)
def test_wrong_options_are_refused(options) -> None:
    with pytest.raises(ValueError, match=next(reversed(options))):
        CtcBeam(**options)


def test_the_backend_is_chosen(monkeypatch) -> None:
    log_probs = np.log([[0.1, 0.9]])
    assert isinstance(CtcBeam(backend="numpy").start().beam, State)
    monkeypatch.setenv("ASR_DECODERS_BACKEND", "numpy")
    assert isinstance(CtcBeam().start().beam, State)
    monkeypatch.setenv("ASR_DECODERS_BACKEND", "abacus")
    with pytest.raises(ValueError, match="ASR_DECODERS_BACKEND must be one of auto, numpy, native, got 'abacus'"):
        CtcBeam()(log_probs)
    monkeypatch.delenv("ASR_DECODERS_BACKEND")
    monkeypatch.setattr(loader, "available", lambda: False)
    monkeypatch.setattr(ctc, "LARGE", 100)
    ctc._warn_of_numpy.cache_clear()
    assert isinstance(CtcBeam().start().beam, State)
    with pytest.warns(UserWarning, match="CtcBeam runs in numpy, which is slower"):
        CtcBeam()(np.repeat(log_probs, 7, axis=0))
    CtcBeam()(np.repeat(log_probs, 7, axis=0))  # once


@pytest.mark.parametrize("seed", range(20))
def test_hypotheses_are_aligned_and_have_words(seed) -> None:
    rng = np.random.default_rng(seed)
    vocabulary = Vocabulary(("", " ", *"abc"), special=(0,))
    log_probs = random_posteriors(rng.integers(1, 5, 15).tolist(), 60, 5, rng)
    for h in CtcBeam(n_best=5, vocabulary=vocabulary)(log_probs):
        assert h.frames == ctc_align(log_probs, h.tokens)
        assert [word.text for word in h.words] == h.text.split()
        assert h.words == vocabulary.words(h.tokens, h.frames)
        assert (h.acoustic, h.language, h.bonus) == (h.score, 0.0, 0.0)
    plain = CtcBeam(n_best=5, vocabulary=vocabulary, align=False)(log_probs)[0]
    assert (plain.frames, plain.words) == ((), ())


def test_seconds() -> None:
    h = Hypothesis((1, 2), -1.0, "a b", words=(Word("a", 0, 3), Word("b", 5, 6)))
    assert h.seconds(0.04) == [("a", 0.0, pytest.approx(0.12)), ("b", pytest.approx(0.2), pytest.approx(0.24))]
    assert Hypothesis((), 0.0, attention=np.ones(2)) == Hypothesis((), 0.0)


def test_a_decoder_pickles_and_is_a_value() -> None:
    decode = CtcBeam(n_best=2, vocabulary=Vocabulary(("", "a")))
    log_probs = np.log([[0.4, 0.6], [0.3, 0.7]])
    expected = decode(log_probs)
    again = pickle.loads(pickle.dumps(decode))
    assert again == decode and hash(again) == hash(decode)
    assert again(log_probs) == expected


def test_greedy_merges_repeats_and_drops_blanks() -> None:
    path = [0, 1, 1, 0, 1, 2, 0, 0]
    log_probs = np.log(np.full((8, 3), 0.1) + 0.7 * np.eye(3)[path])
    (only,) = CtcGreedy(vocabulary=Vocabulary(("", "a", "b")))(log_probs)
    assert only.tokens == (1, 1, 2)
    assert only.text == "aab"
    assert only.frames == ((1, 3), (4, 5), (5, 6))
    assert only.score == pytest.approx(8 * math.log(0.8))


@pytest.mark.parametrize("seed", range(50))
def test_greedy_is_the_best_path(seed) -> None:
    rng = np.random.default_rng(seed)
    log_probs, blank = random_log_probs(rng, 12, 4), int(rng.integers(4))
    (only,) = CtcGreedy(blank=blank)(log_probs)
    assert only.tokens == tuple(t for t, _ in groupby(log_probs.argmax(axis=1).tolist()) if t != blank)
    assert only.frames == ctc_align(log_probs, only.tokens, blank=blank)
    assert only.score <= ctc_score(log_probs, only.tokens, blank=blank)


def test_single_precision_integers_and_lists_are_welcome() -> None:
    log_probs = random_posteriors([1, 2, 3], 12, 5, np.random.default_rng(0))
    expected = CtcBeam()(log_probs)
    assert CtcBeam()(log_probs.astype(np.float64)) == expected
    assert CtcBeam()(log_probs.tolist()) == expected
    assert CtcBeam()(np.array([[0, -40], [-40, 0]]))[0].tokens == (1,)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 12), st.integers(1, 6), st.integers(1, 8))
def test_hypotheses_are_different_and_in_order(seed, frames, size, beam_size) -> None:
    rng = np.random.default_rng(seed)
    log_probs = np.round(random_log_probs(rng, frames, size), int(rng.integers(0, 3))).clip(max=0)  # many ties
    found = CtcBeam(beam_size=beam_size, n_best=beam_size)(log_probs)
    scores = [h.score for h in found]
    assert 1 <= len(found) <= beam_size
    assert len(by_tokens(found)) == len(found)
    assert scores == sorted(scores, reverse=True)
    for hypothesis in found:
        assert hypothesis.score <= ctc_score(log_probs, hypothesis.tokens) + 1e-9


@pytest.mark.parametrize("decoder", [CtcGreedy(), CtcBeam(n_best=8), CtcBeam(blank=28, beam_size=1)])
def test_keeps_the_promises_of_a_decoder(decoder) -> None:
    check_decoder(decoder)


def test_real_model() -> None:
    path = SHARED / "fixtures" / "ctc" / "libri_logits.json"
    if not path.is_file():
        pytest.skip("needs ../shared/data")
    log_probs = np.array(json.loads(path.read_text()), dtype=np.float32)
    vocabulary = Vocabulary((*" abcdefghijklmnopqrstuvwxyz'", "<blank>"))
    greedy = CtcGreedy(blank=28, vocabulary=vocabulary)(log_probs)[0]
    beam = CtcBeam(blank=28, beam_size=8, vocabulary=vocabulary)(log_probs)
    expected = (
        "i have a good deal of will you remember and what i have set my mind upon no doubt i shall some day achieve"
    )
    assert greedy.text == beam[0].text == expected
    # The file's numbers are rounded, many are equal; made different, the whole beam is the textbook's.
    untied = log_probs.astype(np.float64) - np.random.default_rng(0).uniform(0, 1e-3, log_probs.shape)
    beam = CtcBeam(blank=28, beam_size=8, n_best=8)(untied)
    assert_same(beam, full_expansion(untied, beam_size=8, blank=28), tolerance=1e-8)
