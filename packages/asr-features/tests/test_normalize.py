import dataclasses
import json

import numpy as np
import pytest

from asr_features import GlobalNorm, UtteranceNorm


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
