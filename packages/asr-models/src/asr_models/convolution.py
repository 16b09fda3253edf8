"""Strided convolutions over time and frequency, padded by hand."""

import keras
import numpy as np
import tensorflow as tf

from asr_models.configs import Convolution
from asr_models.convolve import convolve
from asr_models.initial import glorot, weight
from asr_models.layers import activate, dropout, over_frames
from asr_models.lengths import frame_mask, pad_for, strided
from asr_models.norms import norm_of

_PLACE = 300
"""The first number of the convolutions' places in the model, for dropout."""


class ConvolutionBlock(keras.Layer):
    """Convolution, normalisation, activation, max pooling, dropout; zero on padding."""

    def __init__(
        self,
        config: Convolution,
        *,
        frequencies: int,
        channels: int,
        rng: np.random.Generator,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name, autocast=False)
        self.config = config
        self.frequencies = int(strided(strided(frequencies, config.stride[1]), config.pool[1]))
        self.kernel = weight(self, "kernel", glorot(rng, *config.kernel, channels, config.channels))
        self.norm = norm_of(config.norm, config.channels, name=f"{self.name}.norm")
        self.bias = weight(self, "bias", np.zeros(config.channels, np.float32)) if self.norm is None else None
        self.built = True

    def call(
        self,
        values: tf.Tensor,
        lengths: tf.Tensor,
        *,
        training: bool = False,
        seed: tf.Tensor | None = None,
        place: int = _PLACE,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """`(B, T, F, C)`, zero beyond `lengths` `(B,)` -> `(B, T', F', C')`, also zero there, and the new lengths."""
        time = pad_for(tf.shape(values)[1], self.config.kernel[0], self.config.stride[0])
        out, lengths = self.convolve(values, time), strided(lengths, self.config.stride[0])
        mask = frame_mask(lengths, tf.shape(out)[1])
        out = self.activate(out, mask, training=training)
        if self.config.pool != (1, 1):
            size = self.config.pool[0]
            out = self.pool(tf.where(over_frames(mask, out) > 0, out, out.dtype.min), -tf.shape(out)[1] % size)
            lengths = strided(lengths, size)
            # A window of padding alone is at the lowest number.
            out = tf.where(over_frames(frame_mask(lengths, tf.shape(out)[1]), out) > 0, out, 0.0)
        return dropout(out, self.config.dropout, seed, place, training=training), lengths

    def convolve(self, values: tf.Tensor, time: tuple[int | tf.Tensor, int | tf.Tensor]) -> tf.Tensor:
        """`(B, T, F, C)` with `time` zeros before and after -> `(B, T', F', C')`."""
        frequency = pad_for(values.shape[2], self.config.kernel[1], self.config.stride[1])
        padded = tf.pad(tf.cast(values, self.compute_dtype), [[0, 0], time, frequency, [0, 0]])
        kernel = tf.cast(tf.convert_to_tensor(self.kernel), self.compute_dtype)
        return tf.cast(convolve(padded, kernel, self.config.stride), tf.float32)

    def activate(self, values: tf.Tensor, mask: tf.Tensor, *, training: bool = False) -> tf.Tensor:
        """Normalisation or bias, and activation; zero where the mask `(B, T)` is."""
        if self.norm is not None:
            found: tf.Tensor = self.norm(values, mask, training=training, activation=self.config.activation)
            return found
        silent = (values + tf.convert_to_tensor(self.bias)) * over_frames(mask, values)
        return activate(silent, self.config.activation)

    def pool(self, values: tf.Tensor, after: tf.Tensor | int) -> tf.Tensor:
        """Max pooling of `(B, T, F, C)` with `after` frames at its end that never win."""
        window, low = self.config.pool, values.dtype.min
        padded = tf.pad(values, [[0, 0], [0, after], [0, -values.shape[2] % window[1]], [0, 0]], constant_values=low)
        return tf.nn.max_pool2d(padded, window, window, "VALID")


class ConvolutionStack(keras.Layer):
    """Convolutions one after the other, from features to one vector a frame; none at all let the features through."""

    def __init__(
        self,
        configs: tuple[Convolution, ...],
        *,
        features: int,
        rng: np.random.Generator,
        channels: int = 1,
        name: str = "convolution",
    ) -> None:
        super().__init__(name=name, autocast=False)
        self.blocks = []
        frequencies = features
        for n, config in enumerate(configs):
            block = ConvolutionBlock(config, frequencies=frequencies, channels=channels, rng=rng, name=f"{name}_{n}")
            self.blocks.append(block)
            frequencies, channels = block.frequencies, config.channels
        self.width = frequencies * channels
        self.built = True

    def call(
        self, features: tf.Tensor, lengths: tf.Tensor, *, training: bool = False, seed: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """`(B, T, F)` or `(B, T, F, C)`, `(B,)` -> `(B, T', width)`, zero on padding, and the new lengths."""
        values = features[..., None] if features.shape.rank == 3 else features
        # Whatever the caller left in the padding must not reach a convolution: a product would let a NaN through.
        values = tf.where(over_frames(frame_mask(lengths, tf.shape(values)[1]), values) > 0, values, 0.0)
        for n, block in enumerate(self.blocks):
            values, lengths = block(values, lengths, training=training, seed=seed, place=_PLACE + n)
        return self.flat(values), lengths

    def flat(self, values: tf.Tensor) -> tf.Tensor:
        """`(B, T, F, C)` -> `(B, T, width)`."""
        return tf.reshape(values, [-1, tf.shape(values)[1], self.width])
