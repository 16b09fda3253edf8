import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from asr_models import Convolution
from asr_models.convolution import ConvolutionBlock, ConvolutionStack
from asr_models.norms import LayerNorm
from asr_models.presets import VGG

PLAIN = Convolution(channels=3, kernel=(3, 3), stride=(1, 1), norm="none", activation="relu")


def block(config: Convolution, channels: int = 1) -> ConvolutionBlock:
    layer = ConvolutionBlock(config, frequencies=6, channels=channels, rng=np.random.default_rng(0), name="c")
    if layer.bias is not None:
        layer.bias.assign(np.random.default_rng(1).normal(size=layer.bias.shape))
    return layer


@pytest.mark.parametrize("pool", [(1, 1), (2, 2), (3, 1), (2, 4)])
@pytest.mark.parametrize("activation", ["relu", "none"])
def test_a_bare_convolution_is_that_of_keras_with_pooling_of_whole_and_part_windows(pool, activation: str) -> None:
    layer = block(dataclasses.replace(PLAIN, pool=pool, activation=activation))
    same = keras.layers.Conv2D(3, (3, 3), padding="same", activation=None if activation == "none" else activation)
    same.build((None, None, 6, 1))
    same.set_weights([np.asarray(layer.kernel), np.asarray(layer.bias)])
    for frames in (1, 5, 8):
        values = np.random.default_rng(frames).normal(size=(1, frames, 6, 1)).astype("f4")
        out = same(values).numpy()
        expected = [
            [out[0, t : t + pool[0], f : f + pool[1]].max((0, 1)) for f in range(0, 6, pool[1])]
            for t in range(0, frames, pool[0])
        ]
        padded = np.pad(values, [(0, 0), (0, 4), (0, 0), (0, 0)])
        got, lengths = layer(tf.constant(padded), tf.constant([frames]))
        assert lengths.numpy().tolist() == [len(expected)] and layer.frequencies == len(expected[0])
        np.testing.assert_allclose(got[0, : len(expected)], expected, atol=1e-5)
        assert not got[0, len(expected) :].numpy().any()


def test_nans_in_the_padding_stay_there() -> None:
    stack = ConvolutionStack((PLAIN,), features=6, rng=np.random.default_rng(0))
    values = np.random.default_rng(0).normal(size=(2, 9, 6)).astype("f4")
    values[1, 4:] = np.nan
    with tf.GradientTape() as tape:
        out, _ = stack(tf.constant(values), tf.constant([9, 4]))
        loss = tf.reduce_sum(out)
    assert np.isfinite(out).all()
    assert all(np.isfinite(tf.convert_to_tensor(g)).all() for g in tape.gradient(loss, stack.trainable_variables))


def test_the_vgg_front_quarters_time_and_frequency() -> None:
    stack = ConvolutionStack(VGG, features=10, rng=np.random.default_rng(0))
    values, lengths = stack(tf.zeros([2, 21, 10]), tf.constant([21, 5]))
    assert lengths.numpy().tolist() == [6, 2] and values.shape == (2, 6, 3 * 128) and stack.width == 3 * 128


def test_layer_norm_is_that_of_keras_and_zero_on_padding() -> None:
    values = np.random.default_rng(0).normal(size=(2, 5, 3, 4)).astype("f4") * 3 + 1
    mask = tf.sequence_mask([5, 2], 5, tf.float32)
    got = LayerNorm(4, epsilon=1e-3)(tf.constant(values), mask).numpy()
    expected = keras.layers.LayerNormalization(epsilon=1e-3)(values).numpy()
    np.testing.assert_allclose(got[0], expected[0], atol=1e-5)
    np.testing.assert_allclose(got[1, :2], expected[1, :2], atol=1e-5)
    assert not got[1, 2:].any()
