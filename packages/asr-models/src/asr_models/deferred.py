"""Gradients that wait for the end of a loop.

A weight that a loop reads at every step gets its gradient step by step: a small product each, and a sum as large as the
weight. Here the loop reads the weight without a gradient and adds a row of `through` where its product is; what reaches
the rows of all steps makes the gradient of the weight, by one product after the loop.
"""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf


def through(rows: Any, inputs: Sequence[Any], gradient: Callable[[Any], list[Any]]) -> Any:
    """`rows` `(U, ...)`, a row a step. What reaches them, of their shape, becomes `gradient` of it: one an input."""

    @tf.custom_gradient
    def run(*_: Any) -> Any:
        return tf.identity(rows), gradient

    return run(*map(tf.convert_to_tensor, inputs))


@tf.custom_gradient
def times(values: Any, matrix: Any, turned: Any) -> Any:
    """`values @ matrix`; the gradient of `values` alone, by the matrix as it was turned before the loop.

    A CPU multiplies a few rows by a matrix twice as fast as by one that it has to turn.
    """
    return tf.matmul(values, matrix), lambda upstream: (tf.matmul(upstream, turned), None, None)


def sum_of_products(left: Any, right: Any) -> Any:
    """Rows `(U, N, M)` and `(U, N, K)` -> the sum of their outer products, `(M, K)`."""
    left, right = (tf.reshape(rows, [-1, rows.shape[-1]]) for rows in (left, right))
    return tf.matmul(left, right, transpose_a=True)
