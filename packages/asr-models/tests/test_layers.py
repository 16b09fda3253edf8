import numpy as np
import pytest
import tensorflow as tf

from asr_models.layers import BatchNorm, dropout
from asr_models.lengths import frame_mask


@pytest.mark.parametrize("shape", [(3, 8, 4), (3, 8, 5, 4)])
def test_batch_norm_counts_real_frames_only(shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).normal(size=shape).astype("f4") * 3 + 1
    lengths = [8, 2, 5]
    real = np.concatenate([values[b, :n].reshape(-1, 4) for b, n in enumerate(lengths)])
    layer = BatchNorm(4, epsilon=0.0)
    got = layer(tf.constant(values), frame_mask(lengths, 8), training=True).numpy()
    for b, n in enumerate(lengths):
        np.testing.assert_allclose(got[b, :n], (values[b, :n] - real.mean(0)) / real.std(0), atol=1e-4)
        assert not got[b, n:].any()
    np.testing.assert_allclose(layer.mean, 0.05 * real.mean(0), rtol=1e-4)
    np.testing.assert_allclose(layer.variance, 0.95 + 0.05 * real.var(0), rtol=1e-4)


def test_batch_norm_of_a_batch_without_a_frame_is_finite() -> None:
    layer = BatchNorm(2)
    assert np.isfinite(layer(tf.ones([1, 3, 2]), tf.zeros([1, 3]), training=True)).all()
    assert np.isfinite(layer.variance).all()


def test_dropout_is_a_function_of_its_seed_and_place() -> None:
    values, seed = tf.ones([40, 50]), tf.constant([1, 2])
    first = dropout(values, 0.3, seed, 0, training=True).numpy()
    assert np.array_equal(first, dropout(values, 0.3, seed, 0, training=True))
    assert np.array_equal(first, tf.function(lambda: dropout(values, 0.3, seed, 0, training=True))())
    assert not np.array_equal(first, dropout(values, 0.3, seed, 1, training=True))
    assert abs((first == 0).mean() - 0.3) < 0.05 and abs(first.mean() - 1) < 0.05
    assert dropout(values, 0.3, None, 0, training=False) is values


def test_training_without_a_seed_is_refused() -> None:
    with pytest.raises(ValueError, match="expected seed"):
        dropout(tf.ones([2]), 0.3, None, 0, training=True)
