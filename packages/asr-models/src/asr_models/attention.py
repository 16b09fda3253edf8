"""Attention of a speller over the listener's memory.

A query belongs to a hypothesis, the memory to an utterance: queries come as `(N, Q)` with `N = B * beams`, the memory
stays `(B, T, D)` and is never copied for the beams. All kinds have one interface:

    memory(values, real) -> Memory                         what does not depend on a query, once an utterance
    call(query, memory, previous) -> context, alignment    `(N, Q)`, `(N, T)` -> `(N, D)`, `(N, T)`

In a loop over tokens `call` is given what `attention_loop.py` has made ready, a `LoopStep`.
"""

from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from asr_models.configs import LasConfig
from asr_models.deferred import Later, times
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


class LoopStep(NamedTuple):
    """What a step of a loop whose gradients wait (`deferred.py`) is given."""

    query: Later
    """The projection of the query."""
    context: tf.Tensor
    """`(N, D)`, added to the context: through it the memory gets its gradient."""
    turned: tf.Tensor
    """`Memory.values` with time last, `(B, D, T)`."""
    fixed: tuple[tf.Tensor, tf.Tensor] | None
    """`LocationAttention.fixed`."""


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


def _attend(scores: tf.Tensor, memory: Memory, query: tf.Tensor, loop: LoopStep | None) -> tuple[tf.Tensor, tf.Tensor]:
    """Scores `(B, beams, T)` -> contexts `(N, D)` and alignments `(N, T)`."""
    alignment = _softmax(scores, memory.real[:, None])
    if loop is None:
        context = _by_hypothesis(tf.matmul(alignment, memory.values), query)
    else:
        context = _by_hypothesis(times(alignment, memory.values, loop.turned), query) + loop.context
    return context, _by_hypothesis(alignment, query)


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

    def call(
        self, query: tf.Tensor, memory: Memory, previous: tf.Tensor, loop: LoopStep | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """`query` `(N, Q)` -> context `(N, D)`, alignment `(N, T)`. The `previous` alignment is not looked at."""
        queries = _by_utterance((loop.query if loop else self.query)(query), tf.shape(memory.keys)[0])
        return _attend(tf.matmul(queries, memory.keys, transpose_b=True) * self.units**-0.5, memory, query, loop)


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

    def call(
        self, query: tf.Tensor, memory: Memory, previous: tf.Tensor, loop: LoopStep | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """`query` `(N, Q)` -> context `(N, D)`, alignment `(N, T)`. The `previous` alignment is not looked at."""
        queries = _by_utterance((loop.query if loop else self.query)(query), tf.shape(memory.keys)[0])
        hidden = tf.tanh(tf.expand_dims(queries, 2) + tf.expand_dims(memory.keys, 1))
        return _attend(tf.squeeze(self.score(hidden), -1), memory, query, loop)


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

    def fixed(self, rows: Any) -> tuple[tf.Tensor, tf.Tensor]:
        """What each step of a loop reads: the filters' `_band`, and U for each of so many hypotheses, `(N, C, A)`."""
        kernel = tf.convert_to_tensor(self.location.kernel)
        return _band(tf.squeeze(tf.convert_to_tensor(self.filters), 1)), tf.broadcast_to(kernel, [rows, *kernel.shape])

    def call(
        self, query: tf.Tensor, memory: Memory, previous: tf.Tensor, loop: LoopStep | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """`query` `(N, Q)`, `previous` `(N, T)` -> context `(N, D)`, alignment `(N, T)`."""
        batch, (rows, frames) = tf.shape(memory.keys)[0], _sizes(previous)
        band, kernels = loop.fixed if loop and loop.fixed else self.fixed(rows)
        channels, blocks = kernels.shape[1] + 1, _blocks(previous, self.filters.shape[0])
        filtered = tf.matmul(tf.reshape(blocks, [-1, band.shape[0]]), band)
        filtered = tf.reshape(filtered, [rows, _sizes(blocks)[1] * band.shape[1] // channels, channels])
        # tf.slice, and expand_dims below: on a CPU the gradient of an index in brackets takes ten times as long.
        filtered = tf.slice(filtered, [0, 0, 0], [rows, frames, channels])
        # W q + b comes in by the same product: the last channel is 1 everywhere.
        own = tf.expand_dims((loop.query if loop else self.query)(query), 1)
        asked = tf.matmul(filtered, tf.concat([kernels, own], 1))
        asked = tf.reshape(asked, [batch, -1, *_sizes(asked)[1:]])
        scores = self.score(tf.tanh(asked + tf.expand_dims(memory.keys, 1)))
        return _attend(tf.squeeze(scores, -1), memory, query, loop)


def _sizes(values: tf.Tensor) -> list[Any]:
    """A number for each axis where it is known."""
    return [known or tf.shape(values)[axis] for axis, known in enumerate(values.shape)]


def _block(width: int) -> int:
    """L, the frames of a block: filters as wide as this look no further than into the next one."""
    return max(width - 1, 32)


def _blocks(rows: tf.Tensor, width: int) -> tf.Tensor:
    """`(N, T)` -> `(N, ceil(T / L), 2 L + 1)`: the frames that filters read for L frames, and a 1.

    A block times the `_band` is what the filters give: one product of a few hundred columns, where a convolution of
    one channel does ten times the work on a CPU.
    """
    (count, frames), length = _sizes(rows), _block(width)
    number = -(-frames // length)
    padded = tf.pad(rows, [[0, 0], [width // 2, (number + 1) * length - frames - width // 2]])
    padded = tf.reshape(padded, [count, number + 1, length])
    here, after = (tf.slice(padded, [0, first, 0], [count, number, length]) for first in (0, 1))
    return tf.concat([here, after, tf.ones([count, number, 1])], -1)


def _band(filters: tf.Tensor) -> tf.Tensor:
    """`(W, C)` -> `(2 L + 1, L (C + 1))`: at `[i, (t, c)]` weight i - t of filter c; the last channel gives the 1."""
    (width, channels), length = filters.shape, _block(filters.shape[0])
    # Copies below each other, each read from one row later on than the one before it.
    copies = tf.tile(tf.pad(filters, [[0, 2 * length + 1 - width], [0, 0]]), [length, 1])
    shifted = tf.transpose(tf.reshape(copies[: 2 * length * length], [length, 2 * length, channels]), [1, 0, 2])
    one = tf.scatter_nd([[2 * length, channels]], [1.0], [2 * length + 1, channels + 1])
    whole = tf.pad(shifted, [[0, 1], [0, 0], [0, 1]]) + tf.expand_dims(one, 1)
    return tf.reshape(whole, [2 * length + 1, length * (channels + 1)])


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

    def call(
        self, query: tf.Tensor, memory: Memory, previous: tf.Tensor, loop: LoopStep | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """`query` `(N, Q)` -> context `(N, D)`, alignment `(N, T)`. The `previous` alignment is not looked at."""
        queries = self._heads(_by_utterance((loop.query if loop else self.query)(query), tf.shape(memory.keys)[0]))
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
