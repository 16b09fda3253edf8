"""Small layers that know about padding or seeds: dense, dropout, masked batch normalisation."""

import keras
import numpy as np
import tensorflow as tf

from asr_models.initial import glorot, weight


def dropout(values: tf.Tensor, rate: float, seed: tf.Tensor | None, place: int, *, training: bool) -> tf.Tensor:
    """Dropout whose mask is a function of `seed` and of the `place` in the model, and of nothing else.

    Raises:
        ValueError: in training without a seed.
    """
    if not training or rate == 0:
        return values
    return tf.nn.experimental.stateless_dropout(values, rate, fold_in(seed, place), rng_alg="philox")


def fold_in(seed: tf.Tensor | None, place: int) -> tf.Tensor:
    """A seed of its own for each place that draws numbers."""
    if seed is None:
        raise ValueError("training=True draws random numbers: expected seed=(2,) int32, got None")
    return tf.random.experimental.stateless_fold_in(tf.cast(seed, tf.int32), place)


class Dense(keras.Layer):
    """`values @ kernel + bias` on the last axis."""

    def __init__(
        self, inputs: int, units: int, *, rng: np.random.Generator, bias: bool = True, name: str | None = None
    ) -> None:
        super().__init__(name=name)
        self.kernel = weight(self, "kernel", glorot(rng, inputs, units))
        self.bias = weight(self, "bias", np.zeros(units, np.float32)) if bias else None
        self.built = True

    def call(self, values: tf.Tensor) -> tf.Tensor:
        """`(..., D)` -> `(..., units)`."""
        product = tf.tensordot(values, tf.convert_to_tensor(self.kernel), 1)
        return product if self.bias is None else product + tf.convert_to_tensor(self.bias)


class BatchNorm(keras.Layer):
    """Batch normalisation over the real frames of a batch (sequence-wise: Laurent et al., 2015, arXiv:1510.01378).

    Padding enters neither the statistics nor, by the mask that multiplies it, the output.
    """

    def __init__(self, units: int, *, momentum: float = 0.95, epsilon: float = 1e-3, name: str | None = None) -> None:
        super().__init__(name=name)
        self.momentum, self.epsilon = momentum, epsilon
        self.scale = weight(self, "scale", np.ones(units, np.float32))
        self.offset = weight(self, "offset", np.zeros(units, np.float32))
        self.mean = weight(self, "mean", np.zeros(units, np.float32), trainable=False)
        self.variance = weight(self, "variance", np.ones(units, np.float32), trainable=False)
        self.built = True

    def call(self, values: tf.Tensor, mask: tf.Tensor, *, training: bool = False) -> tf.Tensor:
        """`values` `(B, T, ..., D)`, `mask` `(B, T)` float: statistics over all axes but the last."""
        mask = tf.reshape(mask, tf.concat([tf.shape(mask), tf.ones(values.shape.rank - 2, tf.int32)], 0))
        if training:
            mean, variance = self._statistics(values, mask)
            self._remember(mean, variance)
        else:
            mean, variance = tf.convert_to_tensor(self.mean), tf.convert_to_tensor(self.variance)
        gain = tf.math.rsqrt(variance + self.epsilon) * tf.convert_to_tensor(self.scale)
        return ((values - mean) * gain + tf.convert_to_tensor(self.offset)) * mask

    def _statistics(self, values: tf.Tensor, mask: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        axes = list(range(values.shape.rank - 1))
        per_frame = tf.cast(tf.reduce_prod(tf.shape(values)[2:-1]), values.dtype)
        count = tf.maximum(tf.reduce_sum(mask) * per_frame, 1.0)
        mean = tf.reduce_sum(values * mask, axes) / count
        return mean, tf.reduce_sum(tf.square(values - mean) * mask, axes) / count

    def _remember(self, mean: tf.Tensor, variance: tf.Tensor) -> None:
        for memory, value in ((self.mean, mean), (self.variance, variance)):
            memory.assign(self.momentum * memory + (1 - self.momentum) * tf.stop_gradient(value))
