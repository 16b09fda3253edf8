"""What the models' layers share: dropout that goes by seed and place, dense layers, sums over replicas."""

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
    # Of 2^16 whole numbers from -2^15 on so many are below this: comparing them is all that there is to do.
    dropped = min(round(rate * 2**16), 2**16 - 1)
    drawn = tf.ensure_shape(_halves(tf.shape(values), seed, place), values.shape)
    kept = drawn >= tf.constant(dropped - 2**15, tf.int16)
    return values * (tf.cast(kept, values.dtype) * (2**16 / (2**16 - dropped)))


CEILING = 20.0
"""Of DeepSpeech's ReLU (Hannun et al., 2014, arXiv:1412.5567)."""


def activate(values: tf.Tensor, kind: str) -> tf.Tensor:
    """Of the kinds "none", "relu" and "clipped-relu". All keep zero at zero, so that padding stays silent."""
    if kind == "none":
        return values

    @tf.custom_gradient
    def run(values: tf.Tensor) -> tuple[tf.Tensor, Any]:
        outputs = tf.nn.relu(values) if kind == "relu" else tf.clip_by_value(values, 0.0, CEILING)
        return outputs, lambda upstream: activate_back(upstream, outputs, kind)

    found: tf.Tensor = run(values)
    return found


def activate_back(upstream: tf.Tensor, outputs: tf.Tensor, kind: str) -> tf.Tensor:
    """The gradient of what was activated, given the outputs."""
    if kind == "clipped-relu":
        # TensorFlow's gradient of a ReLU clipped at 6 is one pass, that of `clip_by_value` is five.
        return tf.raw_ops.Relu6Grad(gradients=upstream, features=outputs * (6 / CEILING))
    return tf.raw_ops.ReluGrad(gradients=upstream, features=outputs) if kind == "relu" else upstream


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


def _halves(shape: Any, seed: tf.Tensor | None, place: int) -> tf.Tensor:
    """Any int16, all as likely; of each of `_bits` two, for to draw them takes longer than all that is done to them."""
    bits = _bits(tf.concat([shape[:-1], (shape[-1:] + 1) // 2], 0), seed, place)
    pairs = tf.bitcast(bits, tf.int16)
    return tf.reshape(pairs, tf.concat([shape[:-1], [-1]], 0))[..., : shape[-1]]


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
    if one_replica():
        return list(sums)
    context = tf.distribute.get_replica_context()
    # The identity gives a tensor its device, which a strategy asks for.
    return list(context.all_reduce(tf.distribute.ReduceOp.SUM, [tf.identity(value) for value in sums]))


def one_replica() -> bool:
    """Whether there is nobody to share sums with."""
    context = tf.distribute.get_replica_context()
    return context is None or context.num_replicas_in_sync == 1


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


def over_frames(mask: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """A mask `(B, T)` as `(B, T, 1, ...)`, of the rank of `values`."""
    return tf.reshape(mask, tf.concat([tf.shape(mask), tf.ones(values.shape.rank - 2, tf.int32)], 0))
