"""Attention of a speller over the listener's memory.

A query belongs to a hypothesis, the memory to an utterance: queries come as `(N, Q)` with `N = B * beams`, the memory
stays `(B, T, D)` and is never copied for the beams.
"""

from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from asr_models.initial import glorot, weight
from asr_models.layers import Dense


class Memory(NamedTuple):
    """The listener's output as attention reads it."""

    values: tf.Tensor
    """`(B, T, D)`."""
    keys: tf.Tensor
    """`(B, T, A)`."""
    real: tf.Tensor
    """`(B, T)` bool."""


def _by_utterance(rows: tf.Tensor, batch: tf.Tensor) -> tf.Tensor:
    """`(N, X)` -> `(B, beams, X)`."""
    return tf.reshape(rows, [batch, -1, rows.shape[-1] or tf.shape(rows)[-1]])


def _by_hypothesis(values: tf.Tensor, query: tf.Tensor) -> tf.Tensor:
    """`(B, beams, X)` -> `(N, X)`, keeping what is known of N."""
    return tf.reshape(values, tf.concat([tf.shape(query)[:1], tf.shape(values)[2:]], 0))


def _attend(scores: tf.Tensor, memory: Memory, query: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Scores `(B, beams, T)` -> contexts `(N, D)` and alignments `(N, T)`, exactly zero on padding."""
    scores = tf.where(memory.real[:, None], scores, -1e9)
    # An utterance without a frame has nothing to look at: the product makes its alignment zero, not uniform.
    alignment = tf.nn.softmax(scores) * tf.cast(memory.real[:, None], tf.float32)
    context = tf.matmul(alignment, memory.values)
    return _by_hypothesis(context, query), _by_hypothesis(alignment, query)


class DotAttention(keras.Layer):
    """score = (W q) . (V m) / sqrt(A): the dot product of Chan et al. (2015), scaled as by Vaswani et al. (2017)."""

    def __init__(self, query: int, memory: int, units: int, *, rng: np.random.Generator, name: str) -> None:
        super().__init__(name=name)
        self.units = units
        self.query = Dense(query, units, rng=rng, bias=False, name=f"{name}.query")
        self.key = Dense(memory, units, rng=rng, bias=False, name=f"{name}.key")
        self.built = True

    def memory(self, values: tf.Tensor, real: tf.Tensor) -> Memory:
        """Everything about the memory that does not depend on a query."""
        return Memory(values, self.key(values), real)

    def call(self, query: tf.Tensor, memory: Memory, previous: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """`query` `(N, Q)` -> context `(N, D)`, alignment `(N, T)`. The `previous` alignment is not looked at."""
        queries = _by_utterance(self.query(query), tf.shape(memory.keys)[0])
        return _attend(tf.matmul(queries, memory.keys, transpose_b=True) * self.units**-0.5, memory, query)


class LocationAttention(keras.Layer):
    """score = v . tanh(W q + V m + U (F * previous alignment) + b) (Chorowski et al., 2015, arXiv:1506.07503)."""

    def __init__(
        self,
        query: int,
        memory: int,
        units: int,
        *,
        channels: int,
        width: int,
        rng: np.random.Generator,
        name: str,
    ) -> None:
        super().__init__(name=name)
        self.query = Dense(query, units, rng=rng, name=f"{name}.query")
        self.key = Dense(memory, units, rng=rng, bias=False, name=f"{name}.key")
        self.filters = weight(self, "filters", glorot(rng, width, 1, channels))
        self.location = Dense(channels, units, rng=rng, bias=False, name=f"{name}.location")
        self.score = Dense(units, 1, rng=rng, bias=False, name=f"{name}.score")
        self.built = True

    def memory(self, values: tf.Tensor, real: tf.Tensor) -> Memory:
        """Everything about the memory that does not depend on a query."""
        return Memory(values, self.key(values), real)

    def call(self, query: tf.Tensor, memory: Memory, previous: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """`query` `(N, Q)`, `previous` `(N, T)` -> context `(N, D)`, alignment `(N, T)`."""
        batch = tf.shape(memory.keys)[0]
        # Stride one and an odd width: "SAME" pads evenly, and alignments are zero on padding.
        location = self.location(tf.nn.conv1d(previous[..., None], tf.convert_to_tensor(self.filters), 1, "SAME"))
        location = tf.reshape(location, tf.concat([[batch, -1], tf.shape(location)[1:]], 0))
        queries = _by_utterance(self.query(query), batch)[:, :, None]
        hidden = tf.tanh(queries + memory.keys[:, None] + location)
        return _attend(self.score(hidden)[..., 0], memory, query)
