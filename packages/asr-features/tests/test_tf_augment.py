"""SpecAugment of tensors against numpy: the same words, warps and masks bit for bit, values to rounding."""

import dataclasses

import numpy as np
import pytest

from asr_features import POLICIES, SpecAugment
from asr_features.philox import keys_of, philox4x32

tf = pytest.importorskip("tensorflow")

from asr_features.tf import augment, philox, spec_augment  # noqa: E402

MODES = {
    "eager": lambda function, *signature: function,
    "graph": lambda function, *signature: tf.function(function, input_signature=signature),
    "xla": lambda function, *signature: tf.function(function, jit_compile=True),
}
VECTOR = tf.TensorSpec([None], tf.int64)


@pytest.mark.parametrize("mode", MODES)
def test_the_words_are_numpy_s(mode):
    rng = np.random.default_rng(0)
    counter = rng.integers(0, 2**32, (200, 4), np.uint32)
    counter[:4] = [0, 1, 2**31, 2**32 - 1]
    seeds = rng.integers(0, 2**63, (7, 1))
    seeds[:3, 0] = [0, 2**32, 2**63 - 1]
    words = MODES[mode](
        lambda counter, seeds: philox.philox4x32(counter, philox.keys_of(seeds)),
        tf.TensorSpec([None, 4], tf.uint32),
        tf.TensorSpec([None, 1], tf.int64),
    )(tf.constant(counter), tf.constant(seeds))
    assert np.array_equal(words.numpy(), philox4x32(counter, keys_of(seeds)))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["LD", "SM", "adaptive"])
def test_warps_and_masks_are_numpy_s(name, mode):
    policy, rng = POLICIES[name], np.random.default_rng(1)
    frames = rng.integers(0, 4000, 1000)
    frames[:8] = [0, 1, 2, 81, 82, 162, 163, 2**31 - 1]
    seeds = rng.integers(0, 2**63, 1000)
    for dim in (1, 80) if mode == "eager" else (80,):
        function = MODES[mode](lambda f, s, dim=dim: augment.masks(policy, f, dim, s), VECTOR, VECTOR)
        got = function(tf.constant(frames), tf.constant(seeds))
        for ours, expected in zip(got, policy.masks(frames, dim, seeds), strict=True):
            assert np.array_equal(ours.numpy(), expected)


LENGTHS = [400, 0, 1, 2, 25, 162, 163, 399]
RECIPES = {
    "LD": (POLICIES["LD"], None),
    "adaptive": (POLICIES["adaptive"], None),
    "channels": (POLICIES["SM"], 2),
    "zero": (dataclasses.replace(POLICIES["SS"], fill="zero"), 2),
    "unwarped": (SpecAugment(), None),
}
"""A policy, and the channels of the features."""


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", RECIPES)
def test_features_are_numpy_s(name, mode):
    (policy, channels), rng = RECIPES[name], np.random.default_rng(2)
    tail = (23,) if channels is None else (23, channels)
    x = (rng.standard_normal((len(LENGTHS), 401, *tail)) - 8).astype(np.float32)
    for row, count in zip(x, LENGTHS, strict=True):
        row[count:] = np.nan if count % 2 else 1e30  # what pads must not be heard
    seeds = rng.integers(0, 2**63, len(LENGTHS))
    function = MODES[mode](spec_augment(policy), tf.TensorSpec([None, None, *tail]), VECTOR, VECTOR)
    got = function(tf.constant(x), tf.constant(LENGTHS, tf.int64), tf.constant(seeds))
    expected = policy.batch(x, LENGTHS, seeds)
    assert got.dtype == tf.float32 and got.shape == x.shape
    for ours, theirs, count in zip(got.numpy(), expected, LENGTHS, strict=True):
        assert np.allclose(ours[:count], theirs[:count], atol=1e-5)
        assert np.array_equal(ours[count:], theirs[count:], equal_nan=True)


def test_masks_are_bit_equal_in_what_comes_out():
    x, seeds = np.ones((16, 500, 40), np.float32), np.arange(16)
    policy = dataclasses.replace(POLICIES["LD"], fill="zero")
    expected = policy.batch(x, np.full(16, 500), seeds)
    assert 0 < expected.mean() < 1
    for mode in MODES.values():
        function = mode(spec_augment(policy), tf.TensorSpec([None, None, None]), VECTOR, VECTOR)
        assert np.array_equal(function(tf.constant(x), tf.constant([500] * 16, tf.int64), tf.constant(seeds)), expected)


def test_inside_a_dataset_and_with_plain_arguments():
    policy = POLICIES["SM"]
    x = np.random.default_rng(3).standard_normal((6, 120, 20)).astype(np.float32)
    lengths = np.array([120, 100, 3, 90, 120, 7], np.int32)
    seeds = np.arange(6)
    dataset = tf.data.Dataset.from_tensor_slices((x, lengths, seeds)).batch(3).map(spec_augment(policy))
    got = np.concatenate([part.numpy() for part in dataset])
    assert np.allclose(got, policy.batch(x, lengths, seeds), atol=1e-5)
    plain = spec_augment(policy)(x, lengths.tolist(), [0, 1, 2, 3, 4, 2**62])
    assert np.allclose(plain, policy.batch(x, lengths, [0, 1, 2, 3, 4, 2**62]), atol=1e-5)


def test_features_of_another_rank_are_refused():
    with pytest.raises(ValueError, match=r"features: expected shape \(B, T, F\) or \(B, T, F, C\), got \(5, 3\)"):
        spec_augment(POLICIES["LD"])(tf.zeros([5, 3]), [5], [0])
