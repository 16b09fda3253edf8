"""The pyramidal listener (Chan et al., 2015): bidirectional LSTM layers, each at half the frame rate before it."""

import keras
import numpy as np
import tensorflow as tf

from asr_models.configs import LasConfig
from asr_models.convolution import ConvolutionStack
from asr_models.interfaces import Encoded
from asr_models.layers import dropout
from asr_models.lengths import frame_mask, strided
from asr_models.recurrent import Lstm


def join_pairs(values: tf.Tensor) -> tf.Tensor:
    """`(B, T, D)`, zero on padding -> `(B, ceil(T / 2), 2 D)`: neighbouring frames side by side."""
    odd = tf.shape(values)[1] % 2
    values = tf.pad(values, [[0, 0], [0, odd], [0, 0]])
    return tf.reshape(values, [-1, tf.shape(values)[1] // 2, 2 * values.shape[2]])


class Listener(keras.Layer):
    """Frames to memory: convolutions if any, a first layer at their rate, and each later one at half of it."""

    def __init__(self, config: LasConfig, *, features: int, rng: np.random.Generator, name: str = "listener") -> None:
        super().__init__(name=name)
        self.convolutions = ConvolutionStack(
            config.convolutions, features=features, rng=rng, name=f"{name}.convolution"
        )
        self.rate, self.recurrent, width = config.dropout, [], self.convolutions.width
        for n in range(config.listener_layers):
            layer = Lstm(width, config.listener_units, rng=rng, name=f"{name}.recurrent_{n}")
            self.recurrent.append(layer)
            width = 2 * layer.width
        self.width = self.recurrent[-1].width
        self.built = True

    def call(
        self,
        features: tf.Tensor,
        lengths: tf.Tensor,
        *,
        training: bool = False,
        seed: tf.Tensor | None = None,
    ) -> Encoded:
        """`features` `(B, T, F)`, `lengths` `(B,)` -> memory `(B, T', D)`, zero on padding, T' = ceil(T / stride)."""
        values, lengths = self.convolutions(features, lengths, training=training)
        for place, layer in enumerate(self.recurrent):
            if place:
                values, lengths = join_pairs(values), strided(lengths, 2)
            values = layer(values, frame_mask(lengths, tf.shape(values)[1]))
            values = dropout(values, self.rate, seed, place, training=training)
        return Encoded(values, lengths)
