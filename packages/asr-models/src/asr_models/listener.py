"""The listener: recurrent layers in both directions; as a pyramid (Chan et al., 2015), each at half the rate before."""

import keras
import numpy as np
import tensorflow as tf

from asr_models.batch_norm import BatchNorm
from asr_models.configs import LasConfig
from asr_models.convolution import ConvolutionStack
from asr_models.interfaces import Encoded
from asr_models.layers import Dense, dropout
from asr_models.lengths import frame_mask, strided
from asr_models.stack import recurrent_layer


def join_pairs(values: tf.Tensor) -> tf.Tensor:
    """`(B, T, D)`, zero on padding -> `(B, ceil(T / 2), 2 D)`: neighbouring frames side by side."""
    odd = tf.shape(values)[1] % 2
    values = tf.pad(values, [[0, 0], [0, odd], [0, 0]])
    return tf.reshape(values, [-1, tf.shape(values)[1] // 2, 2 * values.shape[2]])


class Projection(keras.Layer):
    """Dense, masked batch normalisation, ReLU: what follows each layer of the reference system's listener."""

    def __init__(self, units: int, *, rng: np.random.Generator, name: str) -> None:
        super().__init__(name=name, autocast=False)
        # The normalisation takes a bias away again.
        self.projection = Dense(units, units, rng=rng, bias=False, name=f"{name}.dense")
        self.norm = BatchNorm(units, name=f"{name}.norm")
        self.built = True

    def call(self, values: tf.Tensor, mask: tf.Tensor, *, training: bool = False) -> tf.Tensor:
        """`(B, T, D)`, `(B, T)` -> `(B, T, D)`, zero on padding."""
        return self.norm(self.projection(values), mask, training=training, activation="relu")


class Listener(keras.Layer):
    """Frames to memory: convolutions if any, then the recurrent layers."""

    def __init__(
        self,
        config: LasConfig,
        *,
        features: int,
        rng: np.random.Generator,
        channels: int = 1,
        name: str = "listener",
    ) -> None:
        super().__init__(name=name, autocast=False)
        self.config = config
        self.convolutions = ConvolutionStack(
            config.convolutions, features=features, channels=channels, rng=rng, name=f"{name}.convolution"
        )
        self.recurrent, self.projections, width = [], [], self.convolutions.width
        for n in range(config.listener_layers):
            layer = recurrent_layer(
                config.cell,
                width * 2 if n and config.pyramid else width,
                config.listener_units,
                recurrent_dropout=config.recurrent_dropout,
                rng=rng,
                name=f"{name}.recurrent_{n}",
            )
            self.recurrent.append(layer)
            width = layer.width
            if config.projection:
                self.projections.append(Projection(width, rng=rng, name=f"{name}.projection_{n}"))
        self.width = width
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
        values, lengths = self.convolutions(features, lengths, training=training, seed=seed)
        for place, layer in enumerate(self.recurrent):
            if place and self.config.pyramid:
                values, lengths = join_pairs(values), strided(lengths, 2)
            mask = frame_mask(lengths, tf.shape(values)[1])
            values = tf.cast(layer(values, mask, training=training, seed=seed, place=place), tf.float32)
            if self.projections:
                values = self.projections[place](values, mask, training=training)
            values = dropout(values, self.config.dropout, seed, place, training=training)
        return Encoded(tf.cast(values, tf.float32), lengths)  # a projection's batch norm gives the policy's dtype
