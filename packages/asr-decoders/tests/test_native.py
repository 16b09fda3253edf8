"""The native search, without language models, against the one in numpy: equal to 1e-9 on everything."""

import math

import numpy as np
import pytest

from asr_decoders import CtcBeam, native
from asr_decoders.frames import Preparation
from asr_decoders.native import loader
from asr_decoders.native.search import NativeSearch
from asr_decoders.search import RANGE, NumpySearch
from asr_decoders.testing import every_labelling, full_expansion, random_posteriors

pytestmark = pytest.mark.skipif(not native.available(), reason=str(native.why_not()))


def random_log_probs(rng, frames, size, spread=2.0):
    logits = rng.normal(0, spread, (frames, size))
    return logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)


def both(*, blank=0, beam_size=8, beam_threshold=RANGE, **preparation):
    options = {"blank": blank, "beam_size": beam_size, "beam_threshold": beam_threshold, "fusion": None}
    prepare = Preparation(**preparation)
    return NumpySearch(prepare=prepare, **options), NativeSearch(prepare=prepare, **options)


def beam(search, log_probs, final=True):
    """The whole beam: tokens -> acoustic score."""
    paths = search.paths(search.step(search.start(), log_probs), 10**6, final=final)
    assert all(path.language == path.bonus == 0 for path in paths)
    return {path.tokens: path.acoustic for path in paths}


def assert_equal(log_probs, tolerance=1e-9, **options):
    expected, found = (beam(search, log_probs) for search in both(**options))
    assert found.keys() == expected.keys()
    assert found == pytest.approx(expected, abs=tolerance)
    assert list(found.values()) == sorted(found.values(), reverse=True)


@pytest.mark.parametrize("seed", range(250))
def test_random_shapes_and_options(seed) -> None:
    rng = np.random.default_rng(seed)
    frames, size = int(rng.integers(0, 60)), int(rng.integers(1, 40))
    blank = int(rng.integers(size))
    options = {"blank": blank, "beam_size": int(rng.integers(1, 30))}
    if seed % 3 and size > 1:
        log_probs = random_log_probs(rng, frames, size, spread=rng.uniform(0.5, 6))
    else:
        tokens = [int(token) for token in rng.integers(0, size, frames // 4) if token != blank]
        log_probs = random_posteriors(tokens, frames, size, rng, blank=blank)
    if seed % 5 == 0:
        log_probs = log_probs.copy()
        log_probs[(rng.random(log_probs.shape) < 0.3) & (log_probs < log_probs.max(axis=1, keepdims=True))] = -np.inf
    if seed % 7 == 0:
        log_probs, options["input"] = 1.7 * log_probs + 3, "logits"
    if seed % 4 == 1:
        options["beam_threshold"] = float(rng.uniform(0, 10))
    if seed % 4 == 2:
        options |= {"token_min_log_prob": float(rng.uniform(-6, 0)), "top_k": int(rng.integers(1, 10))}
    if seed % 4 == 3:
        options["cumulative"] = float(rng.uniform(0.3, 1))
    assert_equal(log_probs, **options)


@pytest.mark.parametrize("seed", range(150))
def test_full_beam_is_brute_force(seed) -> None:
    rng = np.random.default_rng(seed)
    frames, size = int(rng.integers(0, 6)), int(rng.integers(1, 5))
    blank = int(rng.integers(size))
    log_probs = random_log_probs(rng, frames, size)
    log_probs[(rng.random(log_probs.shape) < 0.2) & (log_probs < log_probs.max(axis=1, keepdims=True))] = -np.inf
    _, search = both(blank=blank, beam_size=2000)
    assert beam(search, log_probs) == pytest.approx(every_labelling(log_probs, blank=blank), abs=1e-9)


@pytest.mark.parametrize("seed", range(100))
def test_the_beam_is_the_textbook_beam(seed) -> None:
    rng = np.random.default_rng(seed)
    frames, size, beam_size = int(rng.integers(1, 30)), int(rng.integers(2, 24)), int(rng.integers(1, 12))
    log_probs = random_log_probs(rng, frames, size, spread=rng.uniform(0.5, 6))
    _, search = both(beam_size=beam_size)
    expected = {hyp.tokens: hyp.score for hyp in full_expansion(log_probs, beam_size=beam_size)}
    assert beam(search, log_probs) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("beam_size", [1, 4, 100])
@pytest.mark.parametrize("size", [29, 1000])
def test_posteriors_of_a_usual_length(size, beam_size) -> None:
    rng = np.random.default_rng(size)
    assert_equal(random_posteriors(rng.integers(1, size, 100).tolist(), 500, size, rng), beam_size=beam_size)


def test_noise_of_many_tokens() -> None:
    assert_equal(random_log_probs(np.random.default_rng(0), 40, 2000, spread=1.0), beam_size=50)


def test_6000_frames() -> None:
    rng = np.random.default_rng(0)
    log_probs = random_posteriors(rng.integers(1, 12, 1200).tolist(), 6000, 12, rng)
    assert_equal(log_probs, beam_size=8)
    assert_equal(log_probs.astype(np.float64), beam_size=8)


def test_no_frames() -> None:
    _, search = both()
    for dtype in (np.float32, np.float64):
        assert beam(search, np.zeros((0, 5), dtype)) == {(): 0.0}
    assert [path.tokens for path in search.paths(search.start(), 3, final=True)] == [()]


@pytest.mark.parametrize("floor", [-80.0, -1000.0, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_certain_frames(floor, dtype) -> None:
    path = [0, 1, 1, 0, 1, 2, 2, 0] * 250
    log_probs = np.full((len(path), 3), floor, dtype)
    log_probs[np.arange(len(path)), path] = 0.0
    _, search = both(beam_size=4)
    best, score = next(iter(beam(search, log_probs).items()))
    assert best == tuple([1, 1, 2] * 250)
    assert score == pytest.approx(0.0, abs=1e-9)


def test_masses_neither_overflow_nor_underflow() -> None:
    assert_equal(np.tile(np.log([0.47, 0.53]), (3000, 1)), beam_size=3, tolerance=1e-8)
    shares = np.log([[0.51 / 2.03, 0.52 / 2.03, 1 / 2.03], [1e-6, 1 - 2e-6, 1e-6]])
    assert_equal(np.concatenate((np.log([[0.001, 0.998, 0.001]]), np.tile(shares, (1500, 1)))), beam_size=1)
    assert_equal(np.random.default_rng(4).uniform(-1e-2, 0, (80, 4)), beam_size=300)  # that do not add up to 1
    assert_equal(random_log_probs(np.random.default_rng(5), 60, 5) - 5000.0, beam_size=5)


@pytest.mark.parametrize("threshold", [0.0, 3.0, 499.0])
def test_thresholds_near_the_range_of_numbers(threshold) -> None:
    log_probs = np.where(np.random.default_rng(1).random((200, 6)) < 0.4, -200.0, -1.0)
    log_probs += np.random.default_rng(2).uniform(-1, 0, log_probs.shape)
    assert_equal(log_probs, beam_size=20, beam_threshold=threshold)


def test_arrays_of_every_layout() -> None:
    rng = np.random.default_rng(0)
    single = random_posteriors([1, 2, 3], 12, 5, rng)
    _, search = both()
    expected = beam(search, single)
    double = single.astype(np.float64)
    for same in (
        double,
        np.asfortranarray(double),
        double[::-1][::-1],
        double.astype(">f8"),
        np.repeat(double, 2, axis=1)[:, ::2],
    ):
        assert beam(search, same) == expected
    half = single.astype(np.float16)
    assert beam(search, half) == beam(search, half.astype(np.float64))


def test_what_is_no_frame_is_refused_by_the_library_too() -> None:
    _, search = both()
    good = np.log(np.full((4, 17), 1 / 17))
    for column in (0, 3, 16):
        for value in (math.nan, 0.5, math.inf):
            bad = good.copy()
            bad[2, column] = value
            with pytest.raises(ValueError, match="frame 2 of 4"):
                search.step(search.start(), bad)
    with pytest.raises(ValueError, match="frame 1 of 4"):
        search.step(search.start(), np.where(np.arange(4)[:, None] == 1, -np.inf, good))


def test_threads_give_the_same() -> None:
    rng = np.random.default_rng(0)
    utterances = [random_posteriors(rng.integers(1, 29, 20).tolist(), 120, 29, rng) for _ in range(24)]
    decode = CtcBeam(beam_size=20, n_best=5, backend="native")
    assert decode.batch(utterances, threads=4) == [decode(utterance) for utterance in utterances]


def test_backend_that_is_asked_for(monkeypatch) -> None:
    monkeypatch.delenv(loader.VARIABLE, raising=False)
    assert [loader.wanted(name) for name in loader.BACKENDS] == list(loader.BACKENDS)
    monkeypatch.setenv(loader.VARIABLE, "numpy")
    assert loader.wanted("auto") == "numpy"
    assert loader.wanted("native") == "native"
    monkeypatch.setenv(loader.VARIABLE, "cuda")
    with pytest.raises(ValueError, match=r"ASR_DECODERS_BACKEND must be one of auto, numpy, native, got 'cuda'"):
        loader.wanted("auto")


def test_without_the_library(monkeypatch, tmp_path) -> None:
    for path, reason in ((tmp_path / "decoders.so", "without a C"), (tmp_path / "text.so", "cannot be loaded")):
        monkeypatch.setattr(loader, "LIBRARY", path)
        (tmp_path / "text.so").write_text("this is no library")
        loader._load.cache_clear()
        try:
            assert not native.available()
            assert reason in str(native.why_not())
            assert loader.wanted("auto") == "auto"
            with pytest.raises(ValueError, match='backend "native" cannot be used, .*; use "numpy"'):
                loader.wanted("native")
        finally:
            loader._load.cache_clear()
