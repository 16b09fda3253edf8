"""A convolution whose filter gradient is one matrix product: on a CPU that of a large kernel is several times as quick.

    dW[k, j] = sum over utterances, t, f of x[t + k, f * stride + j] (x) d[t, f]

Laid out for a product: each row of x is all that a place in frequency looks at in one frame, and stands in memory as it
is; each row of d is all that a frame is looked at from, one d for each k. (oneDNN adds up a product of channels for
each element of a kernel.)
"""

from typing import Any

import tensorflow as tf

LARGE = 150
"""Elements of a kernel from which on the product is quicker: DeepSpeech2's 11 x 21 four times, 5 x 7 not at all."""


def convolve(values: Any, kernel: Any, strides: tuple[int, int]) -> Any:
    """`values` `(B, T, F, C)` and `kernel` `(K, J, C, N)` -> `(B, T', F', N)`, nothing padded."""
    if strides[0] > 1 or kernel.shape[0] * kernel.shape[1] < LARGE or _accelerated():
        return tf.nn.conv2d(values, kernel, [1, *strides, 1], "VALID")

    @tf.custom_gradient
    def run(values: Any, kernel: Any) -> tuple[Any, Any]:
        values, kernel = tf.stop_gradient(values), tf.stop_gradient(kernel)

        def gradient(upstream: Any) -> tuple[Any, Any]:
            back = tf.nn.conv2d_transpose(upstream, kernel, tf.shape(values), [1, *strides, 1], "VALID")
            return back, filter_gradient(values, upstream, kernel.shape, strides[1])

        return tf.nn.conv2d(values, kernel, [1, *strides, 1], "VALID"), gradient

    return run(values, kernel)


def filter_gradient(values: Any, upstream: Any, shape: Any, stride: int) -> Any:
    """Of a kernel of this shape `(K, J, C, N)`, from `values` `(B, T, F, C)` and `upstream` `(B, T', F', N)`.

    The stride is that of frequency, in time it is one.
    """
    frames, span, channels, units = shape
    rows = tf.shape(values)
    flat = tf.reshape(values, [rows[0], rows[1], values.shape[2] * channels])
    starts = [place * stride * channels for place in range(upstream.shape[2])]
    seen = tf.stack([flat[..., start : start + span * channels] for start in starts], 2)
    padded = tf.pad(upstream, [[0, 0], [frames - 1, frames - 1], [0, 0], [0, 0]])
    seers = tf.concat([padded[:, frames - 1 - k : frames - 1 - k + rows[1]] for k in range(frames)], -1)
    seen, seers = tf.reshape(seen, [-1, span * channels]), tf.reshape(seers, [-1, frames * units])
    product = tf.matmul(seen, seers, transpose_a=True)
    return tf.transpose(tf.reshape(product, [span, channels, frames, units]), [2, 0, 1, 3])


def _accelerated() -> bool:
    """Whether there is a device with convolutions of its own."""
    return bool(tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("TPU"))
