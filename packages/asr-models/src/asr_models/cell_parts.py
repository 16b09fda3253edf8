"""What the recurrent cells share: their interface, the product with the state, layer normalisation."""

from typing import Any, ClassVar, Protocol

import numpy as np
import tensorflow as tf

from asr_models.initial import Floats, glorot, orthogonal

State = tuple[Any, ...]
Named = dict[str, Any]


class RecurrentCell(Protocol):
    """What the loops need of a cell, a frozen dataclass: they are kept by it once traced."""

    gates: ClassVar[int]
    """Columns of the kernel for each unit."""
    looks_back: ClassVar[tuple[int, ...]]
    """Which parts of the state before a step its gradient reads."""

    def __hash__(self) -> int: ...

    def initial_weights(self, rng: np.random.Generator, inputs: int, units: int) -> dict[str, Floats]:
        """Weights by name, `kernel` `(D, G)` and `bias` `(G,)` of the input projection among them."""
        ...

    def state_widths(self, units: int) -> tuple[int, ...]:
        """The width of each part of the state; the first is that of the output."""
        ...

    def step(self, z: Any, state: State, weights: Named, /) -> tuple[State, Named]:
        """One frame: the new state, and what the gradient reads of this step."""
        ...

    def back(self, kept: Named, before: State, after: State, weights: Named, /) -> tuple[Named, State, Named]:
        """The gradient of one frame, given that of the state after it, `after`.

        Returns:
            What `matrices` reads of each step, `z`, the gradient of z, first; the gradient of the state before; the
            gradients of the weights that are vectors, `(B, ...)` each.
        """
        ...

    def matrices(self, before: Any, kept: Named, rows: Named, weights: Named, /) -> Named:
        """The gradients of the recurrent matrices, as pairs to multiply, from the rows `(T, B, ...)` of all steps."""
        ...


def standardize(x: Any, epsilon: float = 1e-5) -> tuple[Any, Any]:
    """`x` `(..., N)` with mean 0 and variance 1 over its last axis, and the factor `(..., 1)` that it took."""
    centred = x - tf.reduce_mean(x, -1, keepdims=True)
    factor = tf.math.rsqrt(tf.reduce_mean(centred * centred, -1, keepdims=True) + epsilon)
    return centred * factor, factor


def standardize_back(dy: Any, y: Any, factor: Any) -> Any:
    mean = tf.reduce_mean(dy, -1, keepdims=True)
    return factor * (dy - mean - y * tf.reduce_mean(dy * y, -1, keepdims=True))


def multiply(rows: Any, matrix: Any) -> Any:
    """rows x matrix, of the rows' dtype; a bfloat16 matrix has the rows rounded too, and the sums are not."""
    if matrix.dtype == rows.dtype:
        return tf.matmul(rows, matrix)
    return tf.matmul(tf.cast(rows, matrix.dtype), matrix, output_type=rows.dtype)


def times_recurrent(h: Any, weights: Named) -> tuple[Any, Named]:
    """h R with dropout, normalised and shifted as the weights ask; and what the gradient reads of it.

    It is 0 without a matrix: then the caller has added the product to z.
    """
    if "recurrent" not in weights:
        return tf.zeros([], h.dtype), {}
    product, kept = multiply(dropped(h, weights), weights["recurrent"]), {}
    if "recurrent_gain" in weights:
        product, kept["product_factor"] = standardize(product)
        kept["product"] = product
        product = product * weights["recurrent_gain"]
    if "recurrent_bias" in weights:
        product = product + weights["recurrent_bias"]
    return product, kept


def times_recurrent_back(da: Any, kept: Named, weights: Named) -> tuple[Any, Named, Named]:
    """The gradient of h, that of the matrix's product if it is another than `da`, and those of the vectors."""
    vectors, rows = {}, {}
    if "recurrent_bias" in weights:
        vectors["recurrent_bias"] = da
    if "recurrent_gain" in weights:
        vectors["recurrent_gain"] = da * kept["product"]
        da = standardize_back(da * weights["recurrent_gain"], kept["product"], kept["product_factor"])
        rows["product"] = da
    return dropped(multiply(da, weights["recurrent_transposed"]), weights), vectors, rows


def dropped(h: Any, weights: Named) -> Any:
    return h * weights["dropout"] if "dropout" in weights else h


def recurrent_weights(
    rng: np.random.Generator, inputs: int, gates: int, units: int, *, outputs: int | None = None, layer_norm: bool
) -> dict[str, Floats]:
    columns = gates * units
    weights = {"kernel": glorot(rng, inputs, columns)}
    if outputs in (None, units):
        weights["recurrent"] = np.hstack([orthogonal(rng, units) for _ in range(gates)])
    else:
        weights["recurrent"] = glorot(rng, outputs or units, columns)
    weights["bias"] = np.zeros(columns, np.float32)
    if layer_norm:
        weights["input_gain"] = np.ones(columns, np.float32)
        weights["recurrent_gain"] = np.ones(columns, np.float32)
    return weights
