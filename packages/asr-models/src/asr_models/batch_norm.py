"""Batch normalisation over real frames, with the activation that follows it, as two passes for a compiler.

All that the forward and the backward pass do is written out once each. Where the shapes are known XLA makes of them a
few loops over the values, less than half the work of the rest of TensorFlow, which writes and reads each step.
"""

import functools
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from asr_models.initial import weight
from asr_models.layers import across_replicas, activate, activate_back, one_replica, over_frames


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

    def call(
        self, values: tf.Tensor, mask: tf.Tensor, *, training: bool = False, activation: str = "none"
    ) -> tf.Tensor:
        """`values` `(B, T, ..., D)`, `mask` `(B, T)` float: statistics over all axes but the last.

        `activation`, as `activate` has them, is that of the outputs.
        """
        real = tf.cast(over_frames(mask, values), tf.float32)
        values = tf.cast(values, tf.float32)
        scale, offset = tf.convert_to_tensor(self.scale), tf.convert_to_tensor(self.offset)
        if training:
            outputs, mean, variance = _normalize(values, real, scale, offset, self.epsilon, activation)
            self._remember(mean, variance)
        else:
            gain = tf.math.rsqrt(tf.convert_to_tensor(self.variance) + self.epsilon) * scale
            values = tf.where(real > 0, values, 0.0) - tf.convert_to_tensor(self.mean)
            outputs = activate((values * gain + offset) * real, activation)
        return tf.cast(outputs, self.compute_dtype)

    def _remember(self, mean: tf.Tensor, variance: tf.Tensor) -> None:
        for memory, value in ((self.mean, mean), (self.variance, variance)):
            memory.assign(self.momentum * memory + (1 - self.momentum) * tf.stop_gradient(value))


class _Kept(NamedTuple):
    """What the backward pass reads beside the values."""

    mean: Any
    """`(D,)`, as are all but the last."""
    squares: Any
    factor: Any
    """1 / sqrt(variance + epsilon)."""
    scale: Any
    count: Any
    """Values under each mean."""


def _normalize(
    values: tf.Tensor, real: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor, epsilon: float, activation: str
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Normalised by their own mean and variance, which come as well; zero where `real` `(B, T, 1, ...)` is."""
    compiled = values.shape.is_fully_defined() and not tf.executing_eagerly() and one_replica()
    forward: Any = _part(_forward, activation, compiled)
    backward: Any = _part(_backward, activation, compiled)

    @tf.custom_gradient
    def run(*inputs: tf.Tensor) -> tuple[Any, Any]:
        values, scale, offset = map(tf.stop_gradient, inputs)
        outputs, kept = forward(values, real, scale, offset, epsilon)

        def gradient(upstream: tf.Tensor, *_: tf.Tensor) -> list[tf.Tensor]:
            return list(backward(upstream, outputs, values, real, kept))

        return (outputs, kept.mean, kept.squares / kept.count), gradient

    found: tuple[tf.Tensor, tf.Tensor, tf.Tensor] = run(values, scale, offset)
    return found


@functools.cache
def _part(part: Any, activation: str, compiled: bool) -> Any:
    """One for all layers, or XLA would compile them one by one."""
    run = functools.partial(part, activation=activation)
    return tf.function(run, autograph=False, jit_compile=True) if compiled else run


def _forward(values: Any, real: Any, scale: Any, offset: Any, epsilon: Any, *, activation: str) -> tuple[Any, _Kept]:
    values = tf.where(real > 0, values, 0.0)
    places = tf.cast(tf.reduce_prod(tf.shape(values)[2:-1]), tf.float32)
    total, count = across_replicas(_sums(values), tf.reduce_sum(real) * places)
    count = tf.maximum(count, 1.0)
    mean = total / count
    centred = (values - mean) * real
    (squares,) = across_replicas(_sums(tf.square(centred)))
    factor = tf.math.rsqrt(squares / count + epsilon)
    outputs = activate((centred * (scale * factor) + offset) * real, activation)
    return outputs, _Kept(mean, squares, factor, scale, count)


def _backward(
    upstream: Any, outputs: Any, values: Any, real: Any, kept: _Kept, *, activation: str
) -> tuple[Any, Any, Any]:
    """The gradients of the values, the scale and the offset."""
    upstream = activate_back(upstream, outputs, activation) * real
    centred = (tf.where(real > 0, values, 0.0) - kept.mean) * real
    sums = _sums(upstream), _sums(upstream * centred)
    d_offset, d_gain = (each / kept.count for each in across_replicas(*sums))
    slope = d_gain * kept.factor * kept.factor
    d_values = (upstream - (centred * slope + d_offset) * real) * (kept.scale * kept.factor)
    return d_values, sums[1] * kept.factor, sums[0]


def _sums(values: Any) -> Any:
    """`(B, T, ..., D)` -> `(D,)`, by steps that XLA makes part of the loop that computes the values.

    Of few columns, and of more than 32 rows at once, it makes loops of their own.
    """
    if not values.shape.is_fully_defined():
        return tf.reduce_sum(values, list(range(values.shape.rank - 1)))
    rows, wide = int(np.prod(values.shape[:2])), int(np.prod(values.shape[2:]))
    padded = tf.pad(tf.reshape(values, [rows, wide]), [[0, -rows % 32], [0, 0]])
    by_block = tf.reduce_sum(tf.reshape(padded, [-1, 32, wide]), 1)
    return tf.reduce_sum(tf.reshape(tf.reduce_sum(by_block, 0), [-1, values.shape[-1]]), 0)
