"""Small layers that know about padding or seeds: dense, dropout, masked batch normalisation."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from asr_models.initial import glorot, weight


def dropout(values: tf.Tensor, rate: float, seed: tf.Tensor | None, place: int, *, training: bool) -> tf.Tensor:
    """Dropout whose mask is a function of `seed` and of the `place` in the model, and of nothing else.

    With a seed for each row, `(B, 2)`, a row's mask depends neither on the other rows nor on the padding behind it.

    Raises:
        ValueError: in training without a seed.
    """
    if not training or rate == 0:
        return values
    # Of whole numbers from -2^31 on, so many are below this: comparing them is all that there is to do.
    kept = _bits(tf.shape(values), seed, place) >= round(rate * 2**32) - 2**31
    return values * tf.where(kept, tf.constant(1 / (1 - rate), values.dtype), tf.zeros([], values.dtype))


def uniform(shape: Any, seed: tf.Tensor | None, place: int) -> tf.Tensor:
    """Numbers in [0, 1), float32, the same on every device and compiled or not.

    `seed` is `(2,)`; or `(B, 2)`, and each of the B rows of the shape is drawn from its own.
    """
    positive = tf.bitwise.bitwise_and(tf.bitwise.right_shift(_bits(shape, seed, place), 8), 2**24 - 1)
    return tf.cast(positive, tf.float32) * 2.0**-24


def _bits(shape: Any, seed: tf.Tensor | None, place: int) -> tf.Tensor:
    """Any int32, all as likely. Whole numbers: of one seed XLA makes other floats than the rest of TensorFlow does."""
    own = fold_in(seed, place)
    if own.shape.rank == 1:
        return _row_of_bits(shape, own)
    rest = tf.TensorSpec(tf.TensorShape(tf.get_static_value(shape[1:], partial=True)), tf.int32)
    return tf.map_fn(lambda row: _row_of_bits(shape[1:], row), own, fn_output_signature=rest)


def _row_of_bits(shape: Any, seed: tf.Tensor) -> tf.Tensor:
    return tf.random.stateless_uniform(shape, seed, minval=None, maxval=None, dtype=tf.int32, alg="philox")


def fold_in(seed: tf.Tensor | None, place: tf.Tensor | int) -> tf.Tensor:
    """A seed of its own, or one for each row, for each place that draws numbers."""
    if seed is None:
        raise ValueError("training=True draws random numbers: expected seed=(2,) int32, got None")
    first, second = tf.unstack(tf.cast(seed, tf.int32), num=2, axis=-1)
    # One number of a seed is mixed with the place, each bit of both reaching many (MurmurHash3's steps); the generator
    # that the seed is for mixes the rest. TensorFlow's own `stateless_fold_in` takes a row at a time.
    mixed = tf.bitwise.bitwise_xor(second, tf.cast(place, tf.int32) * -1640531535)
    for shift, factor in ((16, -2048144789), (13, -1028477387)):
        mixed = tf.bitwise.bitwise_xor(mixed, tf.bitwise.right_shift(mixed, shift)) * factor
    return tf.stack([first, mixed], -1)


def across_replicas(*sums: tf.Tensor) -> list[tf.Tensor]:
    """Sums over all replicas of a running `tf.distribute` strategy; the given ones where there is one replica."""
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return list(sums)
    # The identity gives a tensor its device, which a strategy asks for.
    return list(context.all_reduce(tf.distribute.ReduceOp.SUM, [tf.identity(value) for value in sums]))


def product(values: tf.Tensor, kernel: tf.Tensor, dtype: str) -> tf.Tensor:
    """`(..., D)` times `(D, N)`, computed in `dtype` -> `(..., N)` float32."""
    return tf.cast(tf.tensordot(tf.cast(values, dtype), tf.cast(kernel, dtype), 1), tf.float32)


class Dense(keras.Layer):
    """`values @ kernel + bias` on the last axis; the product in the compute dtype of the layer, what it gives float32.

    Under `keras.config.set_dtype_policy("mixed_bfloat16")` the products of the models are bfloat16, and everything
    else, weights, statistics, states and logits, stays float32.
    """

    def __init__(
        self, inputs: int, units: int, *, rng: np.random.Generator, bias: bool = True, name: str | None = None
    ) -> None:
        super().__init__(name=name, autocast=False)
        self.kernel = weight(self, "kernel", glorot(rng, inputs, units))
        self.bias = weight(self, "bias", np.zeros(units, np.float32)) if bias else None
        self.built = True

    def call(self, values: tf.Tensor) -> tf.Tensor:
        """`(..., D)` -> `(..., units)`."""
        projected = product(values, tf.convert_to_tensor(self.kernel), self.compute_dtype)
        return projected if self.bias is None else projected + tf.convert_to_tensor(self.bias)


class BatchNorm(keras.Layer):
    """Batch normalisation over the real frames of a batch (sequence-wise: Laurent et al., 2015, arXiv:1510.01378).

    Padding enters neither the statistics nor the output, whatever stands there. Under a strategy of `tf.distribute` the
    statistics are those of all replicas together. All of it is computed in float32: in bfloat16 a batch of more than
    256 frames could not be counted.
    """

    def __init__(self, units: int, *, momentum: float = 0.95, epsilon: float = 1e-3, name: str | None = None) -> None:
        super().__init__(name=name)
        self.momentum, self.epsilon = momentum, epsilon
        ones, zeros = np.ones(units, np.float32), np.zeros(units, np.float32)
        self.scale = weight(self, "scale", ones, autocast=False)
        self.offset = weight(self, "offset", zeros, autocast=False)
        self.mean = weight(self, "mean", zeros, trainable=False, autocast=False)
        self.variance = weight(self, "variance", ones, trainable=False, autocast=False)
        self.built = True

    def call(self, values: tf.Tensor, mask: tf.Tensor, *, training: bool = False) -> tf.Tensor:
        """`values` `(B, T, ..., D)`, `mask` `(B, T)` float: statistics over all axes but the last."""
        real = over_frames(mask, values)
        values = tf.where(tf.cast(real, tf.bool), tf.cast(values, tf.float32), 0.0)
        weights = tf.convert_to_tensor(self.scale), tf.convert_to_tensor(self.offset)
        if training:
            outputs, mean, variance = _normalize(values, tf.cast(real, tf.float32), *weights, self.epsilon)
            self._remember(mean, variance)
        else:
            gain = tf.math.rsqrt(tf.convert_to_tensor(self.variance) + self.epsilon) * weights[0]
            outputs = (values - tf.convert_to_tensor(self.mean)) * gain + weights[1]
            outputs = outputs * tf.cast(real, tf.float32)
        return tf.cast(outputs, self.compute_dtype)

    def _remember(self, mean: tf.Tensor, variance: tf.Tensor) -> None:
        for memory, value in ((self.mean, mean), (self.variance, variance)):
            memory.assign(self.momentum * memory + (1 - self.momentum) * tf.stop_gradient(value))


def _normalize(
    values: tf.Tensor, real: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor, epsilon: float
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Normalised by their own mean and variance, which come as well; `values` are zero where `real` `(B, T, ...)` is.

    The gradient is written out: half the passes over the values that automatic differentiation makes.
    """
    axes = list(range(values.shape.rank - 1))
    places = tf.cast(tf.reduce_prod(tf.shape(values)[2:-1]), tf.float32)

    @tf.custom_gradient
    def run(*inputs: tf.Tensor) -> tuple[Any, Any]:
        values, scale, offset = map(tf.stop_gradient, inputs)
        total, count = across_replicas(tf.reduce_sum(values, axes), tf.reduce_sum(real) * places)
        count = tf.maximum(count, 1.0)
        mean = total / count
        centred = (values - mean) * real
        (squares,) = across_replicas(tf.reduce_sum(tf.square(centred), axes))
        factor = tf.math.rsqrt(squares / count + epsilon)

        def gradient(upstream: tf.Tensor, *_: tf.Tensor) -> list[tf.Tensor]:
            upstream = upstream * real
            sums = [tf.reduce_sum(upstream, axes), tf.reduce_sum(upstream * centred, axes)]
            d_offset, d_gain = (each / count for each in across_replicas(*sums))
            d_values = (upstream - (centred * (d_gain * factor * factor) + d_offset) * real) * (scale * factor)
            return [d_values, sums[1] * factor, sums[0]]

        return ((centred * (scale * factor) + offset) * real, mean, squares / count), gradient

    outputs: tuple[tf.Tensor, tf.Tensor, tf.Tensor] = run(values, scale, offset)
    return outputs


def over_frames(mask: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """A mask `(B, T)` as `(B, T, 1, ...)`, of the rank of `values`."""
    return tf.reshape(mask, tf.concat([tf.shape(mask), tf.ones(values.shape.rank - 2, tf.int32)], 0))
