"""Gradients that wait for the end of a loop.

A weight that a loop reads at every step gets its gradient step by step: a small product each, and a sum as large as the
weight. Here the loop reads the weight without a gradient and adds a row of `through` where its product is; what reaches
the rows of all steps makes the gradient of the weight, by one product after the loop.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

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


class Later(NamedTuple):
    """A product and its bias at a step of a loop, whose gradients wait."""

    bias: Any
    """`(N, G)`: the row of `biases` for the step."""
    matrix: Any
    """`(M, G)`; the product is of its dtype."""
    turned: Any
    """The same, transposed."""

    def __call__(self, values: Any) -> Any:
        """`(N, M)` -> `(N, G)`."""
        product = times(tf.cast(values, self.matrix.dtype), self.matrix, self.turned)
        return tf.cast(product, self.bias.dtype) + self.bias


def biases(
    bias: Any | None, matrices: Sequence[Any], steps: Any, batch: Any, read: Callable[[], Any], products: Any
) -> Any:
    """The bias for each step, `(U, N, G)`, through which it and the matrices, one below the other, get their gradient.

    `read` tells, when that gradient is asked for, what the steps multiplied by the matrices, `(U, N, M)`; `products` is
    the dtype in which it is computed.
    """
    heights, columns = [each.shape[0] for each in matrices], matrices[0].shape[1]

    def gradient(upstream: Any) -> list[Any]:
        found = tf.split(sum_of_products(read(), upstream, products), heights)
        return found if bias is None else [tf.reduce_sum(upstream, [0, 1]), *found]

    given = tf.zeros([columns]) if bias is None else tf.convert_to_tensor(bias)
    inputs = matrices if bias is None else [given, *matrices]
    return through(tf.broadcast_to(given, [steps, batch, columns]), inputs, gradient)


def sum_of_products(left: Any, right: Any, products: Any) -> Any:
    """Rows `(U, N, M)` and `(U, N, K)` -> the sum of their outer products, `(M, K)`."""
    m, k = (tf.reshape(tf.cast(rows, products), [-1, rows.shape[-1]]) for rows in (left, right))
    return tf.cast(tf.matmul(m, k, transpose_a=True), left.dtype)
