"""A convolution whose filter gradient is one matrix product: on a CPU that of a large kernel is several times as quick.

    dW[k, j] = sum over utterances, t, f of x[t * s + k, f * stride + j] (x) d[t, f]

Laid out for a product: each row of x is all that a place in frequency looks at in one frame, and stands in memory as it
is; each row of d is all that a frame is looked at from, one d for each k. (oneDNN adds up a product of channels for
each element of a kernel.)
"""

from typing import Any

import tensorflow as tf

LARGE = 150
"""Elements of a kernel from which on the product is quicker: DeepSpeech2's 11 x 21 three times, 7 x 7 not at all."""


def convolve(values: Any, kernel: Any, strides: tuple[int, int]) -> Any:
    """`values` `(B, T, F, C)` and `kernel` `(K, J, C, N)` -> `(B, T', F', N)`, nothing padded."""
    if kernel.shape[0] * kernel.shape[1] < LARGE or _accelerated():
        return tf.nn.conv2d(values, kernel, [1, *strides, 1], "VALID")

    @tf.custom_gradient
    def run(values: Any, kernel: Any) -> tuple[Any, Any]:
        values, kernel = tf.stop_gradient(values), tf.stop_gradient(kernel)

        def gradient(upstream: Any) -> tuple[Any, Any]:
            back = tf.nn.conv2d_transpose(upstream, kernel, tf.shape(values), [1, *strides, 1], "VALID")
            return back, filter_gradient(values, upstream, kernel.shape, strides)

        return tf.nn.conv2d(values, kernel, [1, *strides, 1], "VALID"), gradient

    return run(values, kernel)


def filter_gradient(values: Any, upstream: Any, shape: Any, strides: tuple[int, int]) -> Any:
    """Of a kernel of this shape `(K, J, C, N)`, from `values` `(B, T, F, C)` and `upstream` `(B, T', F', N)`.

    With a stride s in time, s frames are one row of x, and K / s rows are what an element of d looks at.
    """
    frames, span, channels, units = shape
    together, stride = strides
    looks = -(-frames // together)
    batch, steps = tf.shape(upstream)[0], tf.shape(upstream)[1] + looks - 1
    missing = tf.maximum(steps * together - tf.shape(values)[1], 0)
    values = tf.pad(values, [[0, 0], [0, missing], [0, 0], [0, 0]])[:, : steps * together]
    frame = values.shape[2] * channels
    rows = tf.reshape(values, [batch, steps, together * frame])
    places = [place * stride * channels for place in range(upstream.shape[2])]
    starts = [place + phase * frame for place in places for phase in range(together)]
    seen = tf.stack([rows[..., start : start + span * channels] for start in starts], 2)
    padded = tf.pad(upstream, [[0, 0], [looks - 1, looks - 1], [0, 0], [0, 0]])
    seers = tf.concat([padded[:, looks - 1 - k : looks - 1 - k + steps] for k in range(looks)], -1)
    seen, seers = tf.reshape(seen, [-1, together * span * channels]), tf.reshape(seers, [-1, looks * units])
    product = tf.reshape(tf.matmul(seen, seers, transpose_a=True), [together, span, channels, looks, units])
    kernel = tf.reshape(tf.transpose(product, [3, 0, 1, 2, 4]), [looks * together, span, channels, units])
    return kernel[:frames]


def _accelerated() -> bool:
    """Whether there is a device with convolutions of its own."""
    return bool(tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("TPU"))
