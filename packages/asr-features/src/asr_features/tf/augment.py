"""SpecAugment in a TensorFlow graph."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from ..augment import MILLION, Spans, SpecAugment, counters, per_million
from .philox import at_most, keys_of, philox4x32


def spec_augment(policy: SpecAugment) -> Callable[..., Any]:
    """A function of tensors that does what `policy.batch` does to arrays, in eager code, `tf.function` and XLA.

    `(features, lengths, seeds) -> features`: `(B, T, F)` or `(B, T, F, C)`, lengths `(B,)` and seeds `(B,)` int64
    from 0 up, to float32 features of the same shape. Seeds give the same warps and masks as in numpy, and
    values differ by rounding alone. Padding is left as it was and changes nothing. XLA needs static shapes.
    Raises ValueError for features of another rank.
    """

    def transform(features: Any, lengths: Any, seeds: Any) -> Any:
        features = tf.cast(tf.convert_to_tensor(features), tf.float32)
        if features.shape.rank not in (3, 4):
            raise ValueError(f"features: expected shape (B, T, F) or (B, T, F, C), got {features.shape}")
        if features.shape.rank == 3:
            return _augment(policy, features[..., tf.newaxis], lengths, seeds)[..., 0]
        return _augment(policy, features, lengths, seeds)

    return transform


def masks(policy: SpecAugment, frames: Any, dim: Any, seeds: Any) -> Spans:
    """`SpecAugment.masks` of tensors: frames `(B,)`, dim and seeds `(B,)` to spans of int64."""
    tau, dim = tf.cast(frames, tf.int64), tf.cast(dim, tf.int64)
    words = philox4x32(counters(policy), keys_of(seeds)[..., tf.newaxis, :])
    first, second = words[..., 0], words[..., 1]
    split = 1 + policy.freq_masks

    places = tau - 2 * policy.time_warp - 2
    point = policy.time_warp + 1 + at_most(first[..., 0], tf.maximum(places, 1) - 1)
    moved = point - policy.time_warp + at_most(second[..., 0], 2 * policy.time_warp)
    warp = tf.where((places > 0)[..., tf.newaxis], tf.stack([point, moved], axis=-1), 0)

    freq = _draw(first[..., 1:split], second[..., 1:split], tf.minimum(dim, policy.freq_width), dim)

    widest = tau * per_million(policy.time_ratio) // MILLION
    if policy.time_width is not None:
        widest = tf.minimum(widest, policy.time_width)
    time = _draw(first[..., split:], second[..., split:], widest[..., tf.newaxis], tau[..., tf.newaxis])
    if policy.time_masks_ratio is not None:
        number = tau * per_million(policy.time_masks_ratio) // MILLION
        drawn = tf.range(policy.time_masks, dtype=tf.int64) < number[..., tf.newaxis]
        time = tf.where(drawn[..., tf.newaxis], time, 0)
    return Spans(warp, freq, time)


def _draw(first: Any, second: Any, widest: Any, size: Any) -> Any:
    width = at_most(first, widest)
    start = at_most(second, size - width)
    return tf.stack([start, start + width], axis=-1)


def _augment(policy: SpecAugment, features: Any, lengths: Any, seeds: Any) -> Any:
    """A batch `(B, T, F, C)`."""
    longest, dim = tf.shape(features)[1], tf.shape(features)[2]
    tau = tf.cast(lengths, tf.int64)
    spans = masks(policy, tau, dim, seeds)
    own = tf.range(tf.cast(longest, tf.int64)) < tau[:, tf.newaxis]
    covered = _covered(spans.time, longest)[:, :, tf.newaxis] | _covered(spans.freq, dim)[:, tf.newaxis]
    covered &= own[..., tf.newaxis]
    value = _means(features, own, tau) if policy.fill == "mean" else 0.0
    if policy.time_warp:
        features = _warp(features, own, tau, spans.warp)
    return tf.where(covered[..., tf.newaxis], value, features)


def _covered(spans: Any, size: Any) -> Any:
    """Spans `(B, m, 2)` to `(B, size)`: is it within any?"""
    place = tf.range(tf.cast(size, tf.int64))
    return tf.reduce_any((spans[..., :1] <= place) & (place < spans[..., 1:]), axis=1)


def _means(features: Any, own: Any, tau: Any) -> Any:
    """The mean `(B, 1, 1, C)` of every channel over the utterance's own frames."""
    # A mean of means: one sum of all would lose digits, and XLA would make one of two sums.
    frames = tf.where(own[..., tf.newaxis], tf.reduce_mean(features, axis=2), 0.0)
    count = tf.cast(tf.maximum(tau, 1), tf.float32)[:, tf.newaxis]
    return (tf.reduce_sum(frames, axis=1) / count)[:, tf.newaxis, tf.newaxis]


def _warp(features: Any, own: Any, tau: Any, warp: Any) -> Any:
    point, moved, last = warp[:, :1], warp[:, 1:], tau[:, tf.newaxis] - 1
    longest = tf.shape(features)[1]
    time = tf.range(tf.cast(longest, tf.int64))
    right = time >= moved
    rise = tf.where(right, (time - moved) * (last - point), time * point)
    run = tf.maximum(tf.where(right, last - moved, moved), 1)
    before = rise // run
    weight = tf.where(own, tf.cast(rise - before * run, tf.float32) / tf.cast(run, tf.float32), 0.0)
    before = tf.cast(tf.where(own, before + tf.where(right, point, 0), time), tf.int32)
    first = tf.gather(features, before, batch_dims=1)
    second = tf.gather(features, tf.minimum(before + 1, longest - 1), batch_dims=1)
    weight = weight[..., tf.newaxis, tf.newaxis]
    # Where the weight is zero, the other frame may be padding, and anything.
    return tf.where(weight > 0, first + weight * (second - first), first)
