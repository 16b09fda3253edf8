"""The normalisation that a configuration names: batch, layer or none, all zero on padding."""

import keras
import numpy as np
import tensorflow as tf

from asr_models.batch_norm import BatchNorm
from asr_models.initial import weight
from asr_models.layers import activate, over_frames


class LayerNorm(keras.Layer):
    """Layer normalisation of each frame over its last axis (Ba et al., 2016, arXiv:1607.06450); zero on padding."""

    def __init__(self, units: int, *, epsilon: float = 1e-3, name: str | None = None) -> None:
        super().__init__(name=name, autocast=False)
        self.epsilon = epsilon
        self.scale = weight(self, "scale", np.ones(units, np.float32), autocast=False)
        self.offset = weight(self, "offset", np.zeros(units, np.float32), autocast=False)
        self.built = True

    def call(
        self, values: tf.Tensor, mask: tf.Tensor, *, training: bool = False, activation: str = "none"
    ) -> tf.Tensor:
        """`values` `(B, T, ..., D)`, `mask` `(B, T)` float -> the same shape, activated as `activate` does."""
        real = tf.cast(over_frames(mask, values), tf.bool)
        values = tf.where(real, tf.cast(values, tf.float32), 0.0)
        mean, variance = tf.nn.moments(values, [-1], keepdims=True)
        gain = tf.math.rsqrt(variance + self.epsilon) * tf.convert_to_tensor(self.scale)
        outputs = (values - mean) * gain + tf.convert_to_tensor(self.offset)
        return tf.cast(activate(tf.where(real, outputs, 0.0), activation), self.compute_dtype)


def norm_of(kind: str, units: int, *, name: str) -> keras.Layer | None:
    """The layer of `Convolution.norm` or `DeepSpeech2Config.norm`; None for "none"."""
    return {"batch": BatchNorm, "layer": LayerNorm}[kind](units, name=name) if kind != "none" else None
