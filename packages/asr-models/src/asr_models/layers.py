"""Small layers that know about padding or seeds: dense, dropout, masked batch normalisation."""

import keras
import numpy as np
import tensorflow as tf

from asr_models.initial import glorot, weight


def dropout(values: tf.Tensor, rate: float, seed: tf.Tensor | None, place: int, *, training: bool) -> tf.Tensor:
    """Dropout whose mask is a function of `seed` and of the `place` in the model, and of nothing else.

    With a seed for each row, `(B, 2)`, a row's mask does not depend on the other rows, nor on padding behind it.

    Raises:
        ValueError: in training without a seed.
    """
    if not training or rate == 0:
        return values
    keep = uniform(values, seed, place) >= rate
    return tf.where(keep, values / tf.cast(1 - rate, values.dtype), tf.zeros([], values.dtype))


def uniform(like: tf.Tensor, seed: tf.Tensor | None, place: int) -> tf.Tensor:
    """Numbers from 0 to 1 of the shape of `like` `(B, ...)`; `seed` is `(2,)`, or one for each row `(B, 2)`.

    Raises:
        ValueError: without a seed.
    """
    shape, seed = tf.shape(like), fold_in(seed, place)
    if seed.shape.rank == 1:
        return _uniform(shape, seed)
    row = tf.TensorSpec(like.shape[1:], tf.float32)
    return tf.ensure_shape(tf.map_fn(lambda own: _uniform(shape[1:], own), seed, fn_output_signature=row), like.shape)


def _uniform(shape: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """The upper 24 bits of whole numbers: of floating ones, XLA makes others from the same bits than TensorFlow."""
    bits = tf.random.stateless_uniform(shape, seed, minval=None, maxval=None, dtype=tf.int32, alg="philox")
    return tf.cast(tf.bitwise.right_shift(bits, 8), tf.float32) * 2.0**-24 + 0.5


def fold_in(seed: tf.Tensor | None, place: int) -> tf.Tensor:
    """A seed of its own, or one for each row, for each place that draws numbers."""
    if seed is None:
        raise ValueError("training=True draws random numbers: expected seed=(2,) int32, got None")
    seed = tf.cast(seed, tf.int32)
    if seed.shape.rank == 1:
        return tf.random.experimental.stateless_fold_in(seed, place, alg="philox")
    return tf.map_fn(lambda own: tf.random.experimental.stateless_fold_in(own, place, alg="philox"), seed)


def across_replicas(*sums: tf.Tensor) -> list[tf.Tensor]:
    """Sums over all replicas of a running `tf.distribute` strategy; the given ones where there is one replica."""
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return list(sums)
    # The identity gives a tensor its device, which a strategy asks for.
    return list(context.all_reduce(tf.distribute.ReduceOp.SUM, [tf.identity(value) for value in sums]))


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
        # Not tensordot: in a loop, its gradient transposes by an order that XLA must know and does not.
        product = tf.einsum("...d,du->...u", values, tf.convert_to_tensor(self.kernel))
        return product if self.bias is None else product + tf.convert_to_tensor(self.bias)


class BatchNorm(keras.Layer):
    """Batch normalisation over the real frames of a batch (sequence-wise: Laurent et al., 2015, arXiv:1510.01378).

    Padding enters neither the statistics nor, by the mask that multiplies it, the output. Under a strategy of
    `tf.distribute` the statistics are those of all replicas together.
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
        total, count = across_replicas(tf.reduce_sum(values * mask, axes), tf.reduce_sum(mask) * per_frame)
        count = tf.maximum(count, 1.0)
        mean = total / count
        (squares,) = across_replicas(tf.reduce_sum(tf.square(values - mean) * mask, axes))
        return mean, squares / count

    def _remember(self, mean: tf.Tensor, variance: tf.Tensor) -> None:
        for memory, value in ((self.mean, mean), (self.variance, variance)):
            memory.assign(self.momentum * memory + (1 - self.momentum) * tf.stop_gradient(value))
