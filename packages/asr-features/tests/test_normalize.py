import dataclasses
import json
import pickle

import numpy as np
import pytest

from asr_features.normalize import GlobalNorm, RunningNorm, UtteranceNorm


def features(frames, dim=5, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((frames, dim)) * np.arange(1, dim + 1) + 100).astype(np.float32)


def test_every_bin_has_mean_zero_and_variance_one():
    x = features(50)
    kept = x.copy()
    y = UtteranceNorm()(x)
    assert y.dtype == np.float32
    assert np.allclose(y.mean(axis=0), 0, atol=1e-6)
    assert np.allclose(y.std(axis=0), 1, atol=1e-5)
    assert np.allclose(y, (x - x.mean(axis=0)) / x.std(axis=0), atol=1e-4)
    assert np.array_equal(x, kept)


@pytest.mark.parametrize("frames", [0, 1])
def test_few_frames_are_fine(frames):
    y = UtteranceNorm()(features(frames))
    assert y.shape == (frames, 5)
    assert not y.any()


def test_what_never_changes_becomes_zero():
    x = features(1000)
    x[:, 2] = -15.942385
    y = UtteranceNorm()(x)
    assert not y[:, 2].any()
    assert np.allclose(y[:, 3].std(), 1, atol=1e-5)


def test_channels_are_normalised_each():
    x = np.stack([features(40), features(40, seed=1) * 3], axis=-1)
    assert np.array_equal(UtteranceNorm()(x)[..., 1], UtteranceNorm()(x[..., 1]))


def test_global_statistics_are_those_of_all_frames_at_once():
    parts = [features(frames, seed=frames) + frames for frames in (3, 0, 1, 70, 1)]
    norm = GlobalNorm.estimate(iter(parts))
    whole = np.concatenate(parts).astype(np.float64)
    assert np.allclose(norm.mean, whole.mean(axis=0), rtol=1e-12)
    assert np.allclose(norm.std, whole.std(axis=0), rtol=1e-9)
    assert np.allclose(norm(parts[3]), (parts[3] - whole.mean(axis=0)) / whole.std(axis=0), atol=1e-4)


def test_global_statistics_do_not_cancel():
    rng = np.random.default_rng(0)
    parts = [1e7 + rng.standard_normal((200, 2)) for _ in range(5)]
    assert np.allclose(GlobalNorm.estimate(parts).std, np.concatenate(parts).std(axis=0), rtol=1e-6)


def test_a_constant_bin_has_the_least_deviation():
    norm = GlobalNorm.estimate([np.ones((4, 2))], epsilon=0.5)
    assert norm.std == (0.5, 0.5)
    assert not norm(np.ones((4, 2))).any()


def test_global_norm_passes_through_json():
    norm = GlobalNorm.estimate([features(9)])
    assert GlobalNorm(**json.loads(json.dumps(dataclasses.asdict(norm)))) == norm
    assert UtteranceNorm(**json.loads(json.dumps(dataclasses.asdict(UtteranceNorm())))) == UtteranceNorm()
    assert norm(features(0)).shape == (0, 5)


def test_errors():
    with pytest.raises(ValueError, match="expected at least one frame, got none"):
        GlobalNorm.estimate([features(0)])
    with pytest.raises(ValueError, match=r"utterance 1: expected shape \(T, 5\), got \(3, 4\)"):
        GlobalNorm.estimate([features(2), features(3, 4)])
    with pytest.raises(ValueError, match=r"features: expected shape \(T, 5\) as the statistics have, got \(2, 4\)"):
        GlobalNorm.estimate([features(2)])(features(2, 4))
    with pytest.raises(ValueError, match="expected as many numbers in each, got 2 and 1"):
        GlobalNorm(mean=(0, 1), std=(1,))
    with pytest.raises(ValueError, match="every std above 0"):
        GlobalNorm(mean=(0,), std=(0,))
    with pytest.raises(ValueError, match="epsilon: expected a finite number"):
        UtteranceNorm(epsilon=0)
    with pytest.raises(ValueError, match="ddof: expected 0 or 1, got 2"):
        UtteranceNorm(ddof=2)
    with pytest.raises(ValueError, match="divide: expected one of max, sum, got 'product'"):
        UtteranceNorm(divide="product")
    with pytest.raises(ValueError, match="variance: expected True or False, got 1"):
        RunningNorm(variance=1)
    with pytest.raises(ValueError, match="window: expected a positive int, got 0"):
        RunningNorm(window=0)
    with pytest.raises(ValueError, match="prior: expected a GlobalNorm or None, got 3"):
        RunningNorm(prior=3)
    with pytest.raises(ValueError, match=r"features: expected shape \(T, 5\) as the statistics have, got \(2, 4\)"):
        RunningNorm(prior=GlobalNorm.estimate([features(2)]))(features(2, 4))
    with pytest.raises(ValueError, match=r"features: expected frames of shape \(5,\) as before, got \(2, 4\)"):
        RunningNorm().step(RunningNorm().step(RunningNorm().start(), features(3))[0], features(2, 4))
    with pytest.raises(ValueError, match="cannot stream; RunningNorm can"):
        UtteranceNorm().start()


def test_only_the_mean():
    x = features(30)
    assert np.allclose(UtteranceNorm(variance=False)(x), x - x.mean(axis=0, dtype=np.float64), atol=1e-6)
    y = UtteranceNorm()(x.astype(np.float64))
    assert y.dtype == np.float64
    assert np.allclose(y.std(axis=0), 1, rtol=1e-14)


@pytest.mark.parametrize("frames", [1, 2, 70])
def test_nemo_per_feature(frames):
    """NeMo's normalize_batch: the unbiased deviation, NaN for a single frame made zero, plus 1e-5."""
    x = features(frames).astype(np.float64)
    deviation = x.std(axis=0, ddof=1) if frames > 1 else np.zeros(5)
    assert np.allclose(UtteranceNorm(ddof=1, divide="sum")(x), (x - x.mean(axis=0)) / (deviation + 1e-5), atol=1e-12)


def test_statistics_of_channels():
    parts = [np.stack([features(9), features(9, seed=1) * 3], axis=-1), np.stack([features(4)] * 2, axis=-1)]
    norm = GlobalNorm.estimate(parts)
    whole = np.concatenate(parts).astype(np.float64)
    assert np.allclose(norm.mean, whole.reshape(13, 10).mean(axis=0), rtol=1e-12)
    assert np.allclose(norm(parts[0]), (parts[0] - whole.mean(axis=0)) / whole.std(axis=0), atol=1e-4)
    shared = GlobalNorm.estimate([features(9)])
    assert np.array_equal(shared(parts[0])[..., 1], shared(np.ascontiguousarray(parts[0][..., 1])))
    with pytest.raises(ValueError, match=r"utterance 1: expected shape \(T, 5, 2\), got \(4, 5\)"):
        GlobalNorm.estimate([parts[0], features(4)])


PRIOR = GlobalNorm.estimate([features(300, seed=9) + 2])
RUNNING = [
    RunningNorm(window=7),
    RunningNorm(window=50, variance=True),
    RunningNorm(window=20, variance=True, prior=PRIOR, prior_frames=8),
    RunningNorm(prior=PRIOR),
    RunningNorm(window=1),
]


def running(x, norm):
    """The definition, frame by frame."""
    rows = []
    for t in range(len(x)):
        own = x[max(0, t + 1 - norm.window) : t + 1]
        added = min(norm.window - len(own), norm.prior_frames) if norm.prior else 0
        mean, squares = own.sum(axis=0), np.square(own).sum(axis=0)
        if added:
            mean = mean + added * np.array(norm.prior.mean)
            squares = squares + added * (np.square(norm.prior.mean) + np.square(norm.prior.std))
        mean, squares = mean / (len(own) + added), squares / (len(own) + added)
        deviation = np.maximum(np.sqrt(np.maximum(squares - mean**2, 0)), norm.epsilon) if norm.variance else 1
        rows.append((x[t] - mean) / deviation)
    return np.array(rows)


@pytest.mark.parametrize("norm", RUNNING)
@pytest.mark.parametrize("frames", [1, 6, 7, 8, 133])
def test_running_norm_is_its_definition(norm, frames):
    x = features(frames)
    kept = x.copy()
    y = norm(x.astype(np.float64))
    assert y.dtype == np.float64
    assert np.allclose(y, running(x.astype(np.float64), norm), atol=1e-6)
    assert norm(x).dtype == np.float32
    assert np.allclose(norm(x), y, atol=1e-5)
    assert np.array_equal(x, kept)


def kaldi_online_cmvn(x, window, global_stats, global_frames, normalize_variance):
    """OnlineCmvn::GetFrame (feat/online-feature.cc) and ApplyCmvn (transform/cmvn.cc), no speaker's statistics."""
    dim = x.shape[1]
    stats = np.zeros((2, dim + 1))
    rows = []
    for t in range(len(x)):
        stats[0, :dim] += x[t]
        stats[1, :dim] += x[t] ** 2
        stats[0, dim] += 1
        if t - window >= 0:
            stats[0, :dim] -= x[t - window]
            stats[1, :dim] -= x[t - window] ** 2
            stats[0, dim] -= 1
        smoothed = stats.copy()
        if smoothed[0, dim] < window:
            count = min(window - smoothed[0, dim], global_frames)
            smoothed += count / global_stats[0, dim] * global_stats
        count = smoothed[0, dim]
        mean = smoothed[0, :dim] / count
        scale = 1.0
        if normalize_variance:
            scale = 1 / np.sqrt(np.maximum(smoothed[1, :dim] / count - mean * mean, 1e-20))
        rows.append(x[t] * scale - mean * scale)
    return np.array(rows)


@pytest.mark.parametrize("variance", [False, True])
def test_running_norm_is_kaldis_online_cmvn(variance):
    corpus = features(400, seed=3).astype(np.float64)
    stats = np.zeros((2, 6))
    stats[:, :5] = corpus.sum(axis=0), np.square(corpus).sum(axis=0)
    stats[0, 5] = len(corpus)
    x = features(900).astype(np.float64)
    norm = RunningNorm(variance=variance, prior=GlobalNorm.estimate([corpus]))
    assert np.allclose(norm(x), kaldi_online_cmvn(x, 600, stats, 200, variance), atol=1e-8)


def sliding_window_cmn(x, cmn_window, min_cmn_window, norm_vars):
    """torchaudio.functional.sliding_window_cmn with center=False."""
    rows = []
    for t in range(len(x)):
        window_start, window_end = t - cmn_window, t + 1
        if window_start < 0:
            window_end -= window_start
            window_start = 0
        if window_end > t:
            window_end = max(t + 1, min_cmn_window)
        if window_end > len(x):
            window_start = max(0, window_start - (window_end - len(x)))
            window_end = len(x)
        part = x[window_start:window_end]
        row = x[t] - part.sum(axis=0) / len(part)
        if norm_vars:
            variance = np.square(part).sum(axis=0) / len(part) - part.sum(axis=0) ** 2 / len(part) ** 2
            row = np.zeros_like(row) if len(part) == 1 else row * variance**-0.5
        rows.append(row)
    return np.array(rows)


@pytest.mark.parametrize("variance", [False, True])
def test_running_norm_is_torchaudios(variance):
    x = features(90).astype(np.float64)
    expected = sliding_window_cmn(x, 29, 1, variance)
    assert np.allclose(RunningNorm(window=30, variance=variance)(x), expected, atol=1e-8)


@pytest.mark.parametrize("norm", [*RUNNING, PRIOR])
@pytest.mark.parametrize("seed", range(40))
def test_streamed_is_offline_bit_for_bit(norm, seed):
    rng = np.random.default_rng(seed)
    x = features(int(rng.integers(0, 1500)), seed=seed)
    if seed % 2:
        x = np.stack([x, x[:, ::-1]], axis=-1)
    cuts = np.sort(rng.integers(0, len(x) + 1, rng.integers(0, 30)))
    state, blocks = norm.start(), []
    for piece in np.split(x, cuts):
        kept = pickle.dumps(state)
        new, block = norm.step(state, piece)
        assert pickle.dumps(state) == kept
        blocks.append(block)
        state = pickle.loads(pickle.dumps(new))
    blocks.append(norm.finish(state))
    assert np.array_equal(np.concatenate(blocks), norm(x))


def test_silence_stays_silent_and_a_nan_is_forgotten():
    silence = np.full((3000, 2), -15.942385, np.float32)
    assert np.abs(RunningNorm(variance=True)(silence)).max() < 1e-6
    x = features(40)
    x[3, 1] = np.nan
    y = RunningNorm(window=10)(x)
    assert np.isnan(y[3:13, 1]).all()
    assert np.isfinite(y[13:]).all() and np.isfinite(np.delete(y, 1, axis=1)).all()


@pytest.mark.parametrize("norm", [UtteranceNorm(), UtteranceNorm(ddof=1, divide="sum"), PRIOR, *RUNNING])
@pytest.mark.parametrize("channels", [(), (3,)])
@pytest.mark.parametrize("dim", [1, 5])
def test_a_batch_is_its_utterances(norm, channels, dim):
    if dim == 1 and PRIOR in (norm, getattr(norm, "prior", None)):
        norm = GlobalNorm(mean=(1,), std=(2,))
    x = np.random.default_rng(0).normal(3, 2, (4, 61, dim, *channels)).astype(np.float32)
    lengths = np.array([61, 0, 1, 30], np.int32)
    padded = x.copy()
    for row, count in zip(padded, lengths, strict=True):
        row[count:] = np.nan
    y = norm.batch(padded, lengths)
    assert y.dtype == np.float32 and y.shape == x.shape
    for row, item, count in zip(y, x, lengths, strict=True):
        assert np.array_equal(row[:count], norm(item[:count].copy()))
        assert not row[count:].any()


def test_a_batch_that_cannot_be():
    x = np.zeros((2, 4, 5), np.float32)
    assert UtteranceNorm().batch(x[:0], np.zeros(0, np.int32)).shape == (0, 4, 5)
    with pytest.raises(ValueError, match="lengths: expected 0 to 4 frames, got 5 at 1"):
        UtteranceNorm().batch(x, [4, 5])
    with pytest.raises(ValueError, match=r"lengths: expected 2 integers, got float64 of shape \(2,\)"):
        UtteranceNorm().batch(x, [4.0, 3.0])
    with pytest.raises(ValueError, match=r"lengths: expected 2 integers, got int64 of shape \(1,\)"):
        UtteranceNorm().batch(x, [4])
    with pytest.raises(ValueError, match=r"expected a batch, shape \(B, T, F\)"):
        UtteranceNorm().batch(x[0], [4, 4, 4, 4])
