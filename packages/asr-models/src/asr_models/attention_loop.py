"""Attention in a training loop over tokens: what is the same at every step is computed once, before the first.

The query's projection and the memory get their gradient by one product each after the loop (`deferred.py`).
"""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from asr_models.attention import LocationAttention, LoopStep, Memory, MultiHeadAttention
from asr_models.deferred import Later, biases, through

Rows = tuple[tf.Tensor, tf.Tensor]
"""What is added to queries `(U, N, A)` and to contexts `(U, N, D)`, or of any steps one."""


def attention_loop(
    attention: Any, memory: Memory, steps: Any, batch: Any, read: dict[str, tf.Tensor]
) -> tuple[Memory, Rows, Callable[[Rows], LoopStep]]:
    """The memory that the steps are to be given, the rows of all steps, and a step, given its rows.

    `read` tells, when a gradient is asked for, the "alignments" `(U, B, T)` and the "query" `(U, B, Q)` of all steps.
    """
    layer, dtype = attention.query, attention.query.compute_dtype
    kernel = tf.convert_to_tensor(layer.kernel)
    queries = biases(layer.bias, [kernel], steps, batch, lambda: read["query"], dtype)
    # Turned here and not at each step: a CPU multiplies a few rows by a turned matrix at half the speed.
    matrix = tf.cast(tf.stop_gradient(kernel), dtype)
    matrices = matrix, tf.transpose(matrix)
    memory, contexts = _contexts(attention, memory, steps, batch, read)
    turned = tf.transpose(memory.values, [0, 2, 1])
    fixed = attention.fixed(batch) if isinstance(attention, LocationAttention) else None
    return memory, (queries, contexts), lambda rows: LoopStep(Later(rows[0], *matrices), rows[1], turned, fixed)


def _contexts(
    attention: Any, memory: Memory, steps: Any, batch: Any, read: dict[str, tf.Tensor]
) -> tuple[Memory, tf.Tensor]:
    """With many heads the context is no product of alignment and memory, and nothing waits."""
    if isinstance(attention, MultiHeadAttention):
        return memory, tf.zeros([steps, 1, 1])

    def gradient(upstream: tf.Tensor) -> list[tf.Tensor]:
        return [tf.matmul(tf.transpose(read["alignments"], [1, 2, 0]), tf.transpose(upstream, [1, 0, 2]))]

    rows = through(tf.zeros([steps, batch, memory.values.shape[2]]), [memory.values], gradient)
    return memory._replace(values=tf.stop_gradient(memory.values)), rows
