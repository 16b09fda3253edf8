"""What comes after a front end in a TensorFlow graph: deltas and normalisation."""

from typing import Any

import numpy as np
import tensorflow as tf

from ..deltas import Deltas
from ..normalize import GlobalNorm, RunningNorm, UtteranceNorm


def deltas(stage: Deltas, features: Any, lengths: Any) -> Any:
    """`(B, T, F)` to `(B, T, F * (order + 1))` or `(B, T, F, order + 1)`, whatever the padding holds."""
    before, after = (stage.window, stage.window) if stage.rule == "kaldi" else (1, 0)
    frames = tf.shape(features)[1]
    place = tf.range(-stage.order * before, frames + stage.order * after)[tf.newaxis]
    nearest = tf.minimum(tf.maximum(place, 0), tf.maximum(lengths, 1)[:, tf.newaxis] - 1)
    # A batch without frames has nothing to gather from; it gives none either.
    rows = tf.gather(tf.pad(features, [[0, 0], [0, 1], [0, 0]]), nearest, batch_dims=1)
    if stage.rule == "difference":
        rows = tf.where(place[..., tf.newaxis] >= 0, rows, tf.zeros([], rows.dtype))
    orders = []
    for order in range(stage.order + 1):
        left = (stage.order - order) * before
        orders.append(rows[:, left : left + frames])
        if order < stage.order:
            rows = _derivative(stage, rows)
    if stage.layout == "channels":
        return tf.stack(orders, axis=-1)
    return tf.concat(orders, axis=-1)


def _derivative(stage: Deltas, rows: Any) -> Any:
    if stage.rule == "difference":
        return rows[:, 1:] - rows[:, :-1]
    window = stage.window
    count = tf.shape(rows)[1] - 2 * window

    def moved(by: int) -> Any:
        return rows[:, window + by : window + by + count]

    total = tf.add_n([j * (moved(j) - moved(-j)) for j in range(1, window + 1)])
    return total / (2 * sum(j * j for j in range(1, window + 1)))


def utterance_norm(stage: UtteranceNorm, features: Any, lengths: Any) -> Any:
    """`(B, T, F)` or `(B, T, F, C)` to the same shape, each utterance by its own frames."""
    mask = own(features, lengths)
    count = _like(tf.maximum(lengths, 1), features)
    mean = tf.reduce_sum(tf.where(mask, features, 0), axis=1, keepdims=True) / count
    centred = tf.where(mask, features - mean, 0)
    if not stage.variance:
        return centred
    divisor = tf.maximum(count - stage.ddof, 1)
    deviation = tf.sqrt(tf.reduce_sum(tf.square(centred), axis=1, keepdims=True) / divisor)
    return centred / (tf.maximum(deviation, stage.epsilon) if stage.divide == "max" else deviation + stage.epsilon)


def global_norm(stage: GlobalNorm, features: Any, lengths: Any) -> Any:
    """`(B, T, F)` or `(B, T, F, C)` to the same shape."""
    mean, std = stage.like(tuple(features.shape[1:]))
    return (features - tf.constant(mean, features.dtype)) / tf.constant(std, features.dtype)


def running_norm(stage: RunningNorm, features: Any, lengths: Any) -> Any:
    """`(B, T, F)` or `(B, T, F, C)` to the same shape, each frame by the last `window` frames of its utterance."""
    frames = tf.shape(features)[1]
    values = tf.cast(tf.where(own(features, lengths), features, 0), tf.float64)
    moments = tf.stack([values, tf.square(values)] if stage.variance else [values])
    sums = tf.cumsum(moments, axis=2)
    # The sums of `window` frames ago, zero before the utterance.
    ago = tf.concat([tf.zeros_like(sums[:, :, :1]), sums], axis=2)
    old = tf.maximum(tf.range(1, frames + 1) - stage.window, 0)
    sums -= tf.gather(ago, old, axis=2)
    count = tf.cast(tf.minimum(tf.range(1, frames + 1), stage.window), tf.float64)
    if stage.prior is not None:
        mean, std = stage.prior.like(tuple(features.shape[1:]))
        added = tf.minimum(stage.window - count, float(stage.prior_frames))
        prior = np.stack([mean, np.square(std) + np.square(mean)])[: 1 + stage.variance, None, None]
        sums += _along_time(added, moments) * tf.constant(prior, tf.float64)
        count += added
    means = sums / _along_time(count, moments)
    centred = values - means[0]
    if stage.variance:
        squares = tf.maximum(means[1] - tf.square(means[0]), 0)
        # The floor under the root keeps its gradient finite, and is far below the smallest epsilon.
        centred /= tf.maximum(tf.sqrt(tf.maximum(squares, 1e-60)), stage.epsilon)
    return tf.cast(centred, features.dtype)


def own(features: Any, lengths: Any) -> Any:
    """Which frames are the utterance's own: `(B, T, 1)`, or `(B, T, 1, 1)` for features with channels."""
    mask = tf.sequence_mask(lengths, tf.shape(features)[1])
    return tf.reshape(mask, tf.concat([tf.shape(mask), [1] * (features.shape.rank - 2)], axis=0))


def _like(lengths: Any, features: Any) -> Any:
    """`(B,)` to `(B, 1, 1)` or `(B, 1, 1, 1)` of the features' dtype."""
    shape = tf.concat([tf.shape(lengths), [1] * (features.shape.rank - 1)], axis=0)
    return tf.cast(tf.reshape(lengths, shape), features.dtype)


def _along_time(values: Any, moments: Any) -> Any:
    """`(T,)` to `(T, 1)` or `(T, 1, 1)`, for moments `(M, B, T, F)` or `(M, B, T, F, C)`."""
    return tf.reshape(values, tf.concat([tf.shape(values), [1] * (moments.shape.rank - 3)], axis=0))
