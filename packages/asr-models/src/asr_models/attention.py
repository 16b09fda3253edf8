"""Attention of a speller over the listener's memory.

A query belongs to a hypothesis, the memory to an utterance: queries come as `(N, Q)` with `N = B * beams`, the memory
stays `(B, T, D)` and is never copied for the beams. All kinds have one interface:

    memory(values, real) -> Memory                         what does not depend on a query, once an utterance
    call(query, memory, previous) -> context, alignment    `(N, Q)`, `(N, T)` -> `(N, D)`, `(N, T)`
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from asr_models.configs import LasConfig
from asr_models.deferred import through
from asr_models.initial import glorot, weight
from asr_models.layers import Dense


class Memory(NamedTuple):
    """The listener's output as attention reads it."""

    values: tf.Tensor
    """`(B, T, D)`; multi-head: `(B, T, A)`, projected."""
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


def _softmax(scores: tf.Tensor, real: tf.Tensor) -> tf.Tensor:
    """Over the last axis, the frames; `real` is broadcast. Exactly zero on padding."""
    # An utterance without a frame has nothing to look at: the product makes its alignment zero, not uniform.
    return tf.nn.softmax(tf.where(real, scores, -1e9)) * tf.cast(real, tf.float32)


def _attend(scores: tf.Tensor, memory: Memory, query: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Scores `(B, beams, T)` -> contexts `(N, D)` and alignments `(N, T)`."""
    alignment = _softmax(scores, memory.real[:, None])
    context = tf.matmul(alignment, memory.values)
    return _by_hypothesis(context, query), _by_hypothesis(alignment, query)


class DotAttention(keras.Layer):
    """score = (W q) . (V m) / sqrt(A): the dot product of Chan et al. (2015), scaled as by Vaswani et al. (2017)."""

    def __init__(self, query: int, memory: int, units: int, *, rng: np.random.Generator, name: str) -> None:
        super().__init__(name=name, autocast=False)
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


class AdditiveAttention(keras.Layer):
    """score = v . tanh(W q + V m + b) (Bahdanau et al., 2014, arXiv:1409.0473)."""

    def __init__(self, query: int, memory: int, units: int, *, rng: np.random.Generator, name: str) -> None:
        super().__init__(name=name, autocast=False)
        self.query = Dense(query, units, rng=rng, name=f"{name}.query")
        self.key = Dense(memory, units, rng=rng, bias=False, name=f"{name}.key")
        self.score = Dense(units, 1, rng=rng, bias=False, name=f"{name}.score")
        self.built = True

    def memory(self, values: tf.Tensor, real: tf.Tensor) -> Memory:
        """Everything about the memory that does not depend on a query."""
        return Memory(values, self.key(values), real)

    def call(self, query: tf.Tensor, memory: Memory, previous: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """`query` `(N, Q)` -> context `(N, D)`, alignment `(N, T)`. The `previous` alignment is not looked at."""
        queries = _by_utterance(self.query(query), tf.shape(memory.keys)[0])
        hidden = tf.tanh(tf.expand_dims(queries, 2) + tf.expand_dims(memory.keys, 1))
        return _attend(tf.squeeze(self.score(hidden), -1), memory, query)


class LocationAttention(keras.Layer):
    """score = v . tanh(W q + V m + U (F * previous alignment) + b) (Chorowski et al., 2015, arXiv:1506.07503).

    The first weights of one channel lean ahead: they favour the frame last looked at and the `AHEAD` after it. So the
    speller reads from left to right from the first step of training on, and need not find out that speech is heard in
    order: on a few utterances it never does, it learns the texts by heart.
    """

    AHEAD, LEAN = 5, 0.5

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
        super().__init__(name=name, autocast=False)
        self.query = Dense(query, units, rng=rng, name=f"{name}.query")
        self.key = Dense(memory, units, rng=rng, bias=False, name=f"{name}.key")
        self.filters = weight(self, "filters", self._ahead(glorot(rng, width, 1, channels)))
        self.location = Dense(channels, units, rng=rng, bias=False, name=f"{name}.location")
        self.score = Dense(units, 1, rng=rng, bias=False, name=f"{name}.score")
        kernel = np.asarray(self.location.kernel).copy()
        kernel[0] = self.LEAN * np.sign(np.asarray(self.score.kernel)[:, 0])
        self.location.kernel.assign(kernel)
        self.built = True

    def _ahead(self, filters: NDArray[np.float32]) -> NDArray[np.float32]:
        """`(W, 1, C)`: the first channel sums the alignment of this frame and of those before it."""
        middle = len(filters) // 2
        filters *= 0.2
        filters[max(middle - self.AHEAD, 0) : middle + 1, 0, 0] = 1.0
        return filters

    def memory(self, values: tf.Tensor, real: tf.Tensor) -> Memory:
        """Everything about the memory that does not depend on a query."""
        return Memory(values, self.key(values), real)

    def call(self, query: tf.Tensor, memory: Memory, previous: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """`query` `(N, Q)`, `previous` `(N, T)` -> context `(N, D)`, alignment `(N, T)`."""
        batch, (rows, frames) = tf.shape(memory.keys)[0], _sizes(previous)
        filters, kernel = tf.squeeze(tf.convert_to_tensor(self.filters), 1), tf.convert_to_tensor(self.location.kernel)
        filtered = tf.matmul(filters, _windows(previous, filters.shape[0]), transpose_a=True)
        # tf.slice, and expand_dims below: on a CPU the gradient of an index in brackets takes ten times as long.
        filtered = tf.slice(filtered, [0, 0, 0], [rows, filters.shape[1], frames])
        # W q + b comes in by the same product, as one more channel that is 1 everywhere.
        filtered = tf.concat([filtered, tf.ones([rows, 1, frames])], 1)
        own = tf.expand_dims(self.query(query), 1)
        kernels = tf.concat([tf.broadcast_to(kernel, [rows, *kernel.shape]), own], 1)  # (N, C + 1, A)
        asked = tf.matmul(filtered, kernels, transpose_a=True)
        asked = tf.reshape(asked, [batch, -1, *_sizes(asked)[1:]])
        scores = self.score(tf.tanh(asked + tf.expand_dims(memory.keys, 1)))
        return _attend(tf.squeeze(scores, -1), memory, query)


def _sizes(values: tf.Tensor) -> list[Any]:
    """A number for each axis where it is known."""
    return [known or tf.shape(values)[axis] for axis, known in enumerate(values.shape)]


def _windows(rows: tf.Tensor, width: int) -> tf.Tensor:
    """`(N, T)` -> `(N, W, T + W + 1)`: at `[:, w, t]`, `t < T`, what is w - W // 2 frames after t; zero past the ends.

    Copies of the row side by side, each read from one element later on than the one before it: that is copying alone,
    and so is its gradient, where a convolution of one channel does ten times the work on a CPU.
    """
    count, frames = _sizes(rows)
    length = frames + width  # a zero more than need be: as long as the rest below even if there is no frame

    @tf.custom_gradient
    def run(rows: tf.Tensor) -> tuple[tf.Tensor, Any]:
        padded = tf.pad(tf.stop_gradient(rows), [[0, 0], [width // 2, width // 2 + 1]])
        copies = tf.concat([padded] * width + [padded[:, :width]], 1)

        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            side_by_side = tf.reshape(upstream, [count, width * (length + 1)])
            whole = tf.pad(side_by_side, [[0, 0], [0, length - width]])
            summed = tf.reduce_sum(tf.reshape(whole, [count, width + 1, length]), 1)
            return summed[:, width // 2 : width // 2 + frames]

        return tf.reshape(copies, [count, width, length + 1]), gradient

    windows: tf.Tensor = run(rows)
    return windows


class MultiHeadAttention(keras.Layer):
    """Scaled dot products in `heads` subspaces of queries, keys and values (Vaswani et al., 2017, arXiv:1706.03762).

    The alignment that it gives is the mean over the heads.
    """

    def __init__(self, query: int, memory: int, units: int, *, heads: int, rng: np.random.Generator, name: str) -> None:
        super().__init__(name=name, autocast=False)
        self.units, self.heads = units, heads
        self.query = Dense(query, units, rng=rng, bias=False, name=f"{name}.query")
        self.key = Dense(memory, units, rng=rng, bias=False, name=f"{name}.key")
        self.value = Dense(memory, units, rng=rng, bias=False, name=f"{name}.value")
        self.output_layer = Dense(units, memory, rng=rng, bias=False, name=f"{name}.output")
        self.built = True

    def memory(self, values: tf.Tensor, real: tf.Tensor) -> Memory:
        """Everything about the memory that does not depend on a query."""
        return Memory(self.value(values), self.key(values), real)

    def call(self, query: tf.Tensor, memory: Memory, previous: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """`query` `(N, Q)` -> context `(N, D)`, alignment `(N, T)`. The `previous` alignment is not looked at."""
        queries = self._heads(_by_utterance(self.query(query), tf.shape(memory.keys)[0]))
        scores = tf.matmul(queries, self._heads(memory.keys), transpose_b=True) * (self.units / self.heads) ** -0.5
        alignment = _softmax(scores, memory.real[:, None, None])  # (B, heads, beams, T)
        contexts = tf.transpose(tf.matmul(alignment, self._heads(memory.values)), [0, 2, 1, 3])
        joined = tf.reshape(contexts, [-1, self.units])
        context = tf.ensure_shape(self.output_layer(joined), [query.shape[0], None])
        return context, _by_hypothesis(tf.reduce_mean(alignment, 1), query)

    def _heads(self, values: tf.Tensor) -> tf.Tensor:
        """`(B, X, A)` -> `(B, heads, X, A / heads)`."""
        shape = tf.shape(values)
        split = tf.reshape(values, [shape[0], shape[1], self.heads, self.units // self.heads])
        return tf.transpose(split, [0, 2, 1, 3])


def contexts_later(
    attention: keras.Layer, memory: Memory, steps: Any, alignments: Callable[[], tf.Tensor]
) -> tuple[Memory, tf.Tensor]:
    """The memory for a loop whose gradients wait (`deferred.py`), and the rows to be added to each step's contexts.

    `alignments` tells, when the gradient is asked for, those of all steps, `(U, B, T)`. With many heads the context is
    no product of alignment and memory, and nothing waits.
    """
    if isinstance(attention, MultiHeadAttention):
        return memory, tf.zeros([steps, 1, 1])

    def gradient(upstream: tf.Tensor) -> list[tf.Tensor]:
        return [tf.matmul(tf.transpose(alignments(), [1, 2, 0]), tf.transpose(upstream, [1, 0, 2]))]

    batch, width = tf.shape(memory.values)[0], memory.values.shape[2]
    rows = through(tf.zeros([steps, batch, width]), [memory.values], gradient)
    return memory._replace(values=tf.stop_gradient(memory.values)), rows


def attention_of(config: LasConfig, *, memory: int, rng: np.random.Generator, name: str) -> keras.Layer:
    """The layer that `LasConfig.attention` names."""
    query, units = config.speller_units, config.attention_units
    match config.attention:
        case "dot":
            return DotAttention(query, memory, units, rng=rng, name=name)
        case "additive":
            return AdditiveAttention(query, memory, units, rng=rng, name=name)
        case "multi-head":
            return MultiHeadAttention(query, memory, units, heads=config.attention_heads, rng=rng, name=name)
    return LocationAttention(
        query,
        memory,
        units,
        channels=config.location_channels,
        width=config.location_width,
        rng=rng,
        name=name,
    )
