"""Strided convolutions over time and frequency, padded by hand."""

import keras
import numpy as np
import tensorflow as tf

from asr_models.configs import Convolution
from asr_models.initial import glorot, weight
from asr_models.layers import BatchNorm
from asr_models.lengths import frame_mask, pad_for, strided

CLIP = 20.0
"""The ceiling of DeepSpeech2's ReLU."""


class ConvolutionBlock(keras.Layer):
    """Convolution, masked batch normalisation, `min(max(x, 0), 20)`; zero on padding."""

    def __init__(
        self,
        config: Convolution,
        *,
        frequencies: int,
        channels: int,
        rng: np.random.Generator,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.config = config
        self.frequencies = int(strided(frequencies, config.stride[1]))
        self.kernel = weight(self, "kernel", glorot(rng, *config.kernel, channels, config.channels))
        self.norm = BatchNorm(config.channels, name=f"{self.name}.norm")
        self.built = True

    def call(self, values: tf.Tensor, lengths: tf.Tensor, *, training: bool = False) -> tuple[tf.Tensor, tf.Tensor]:
        """`(B, T, F, C)`, zero beyond `lengths` `(B,)` -> `(B, T', F', C')`, also zero there, and the new lengths."""
        kernel, stride = self.config.kernel, self.config.stride
        time = pad_for(tf.shape(values)[1], kernel[0], stride[0])
        frequency = pad_for(values.shape[2], kernel[1], stride[1])
        padded = tf.pad(values, [[0, 0], time, frequency, [0, 0]])
        out = tf.nn.conv2d(padded, tf.convert_to_tensor(self.kernel), [1, *stride, 1], "VALID")
        lengths = strided(lengths, stride[0])
        out = self.norm(out, frame_mask(lengths, tf.shape(out)[1]), training=training)
        # The clipped ReLU keeps zero at zero, so the padding stays silent.
        return tf.clip_by_value(out, 0.0, CLIP), lengths


class ConvolutionStack(keras.Layer):
    """Convolutions one after the other, from features to one vector a frame; none at all let the features through."""

    def __init__(
        self, configs: tuple[Convolution, ...], *, features: int, rng: np.random.Generator, name: str = "convolution"
    ) -> None:
        super().__init__(name=name)
        self.blocks = []
        frequencies, channels = features, 1
        for n, config in enumerate(configs):
            block = ConvolutionBlock(config, frequencies=frequencies, channels=channels, rng=rng, name=f"{name}_{n}")
            self.blocks.append(block)
            frequencies, channels = block.frequencies, config.channels
        self.width = frequencies * channels
        self.built = True

    def call(self, features: tf.Tensor, lengths: tf.Tensor, *, training: bool = False) -> tuple[tf.Tensor, tf.Tensor]:
        """`(B, T, F)`, `(B,)` -> `(B, T', width)`, zero on padding, and the new lengths."""
        # Whatever the caller left in the padding must not reach a convolution.
        values = (features * frame_mask(lengths, tf.shape(features)[1])[..., None])[..., None]
        for block in self.blocks:
            values, lengths = block(values, lengths, training=training)
        return tf.reshape(values, [-1, tf.shape(values)[1], self.width]), lengths
