"""Philox4x32-10 in a TensorFlow graph: the words of `asr_features.philox`, in eager code, `tf.function` and XLA."""

from typing import Any

import tensorflow as tf

from ..philox import MULTIPLIERS, ROUNDS, WEYL

LOW = 0xFFFFFFFF


def philox4x32(counter: Any, key: Any) -> Any:
    """Counters `(..., 4)` and keys `(..., 2)` to words `(..., 4)`, of 32 bits in uint64; shapes broadcast."""
    a, b, c, d = tf.unstack(tf.cast(counter, tf.uint64), axis=-1)
    keys = tf.unstack(tf.cast(key, tf.uint64), axis=-1)
    for number in range(ROUNDS):
        first, second = (_low(keys[n] + number * WEYL[n]) for n in range(2))
        product, other = a * MULTIPLIERS[0], c * MULTIPLIERS[1]
        a, b, c, d = _high(other) ^ b ^ first, _low(other), _high(product) ^ d ^ second, _low(product)
    return tf.stack([a, b, c, d], axis=-1)


def keys_of(seeds: Any) -> Any:
    """The keys `(..., 2)` of int64 seeds `(...)` of at least 0: lower half, upper half."""
    values = tf.cast(tf.cast(seeds, tf.int64), tf.uint64)
    return tf.stack([_low(values), _high(values)], axis=-1)


def at_most(words: Any, most: Any) -> Any:
    """Words to int64 from 0 to `most`, uniform."""
    return tf.cast(_high(words * (tf.cast(most, tf.uint64) + 1)), tf.int64)


def _low(words: Any) -> Any:
    return tf.bitwise.bitwise_and(words, tf.constant(LOW, tf.uint64))


def _high(words: Any) -> Any:
    return tf.bitwise.right_shift(words, tf.constant(32, tf.uint64))
