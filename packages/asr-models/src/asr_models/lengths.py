"""Masks and output lengths: all arithmetic about padding, and nowhere else.

Every layer that shortens time does it by `ceil(length / stride)`, with its input zero beyond the length and padded
by hand: then output frame t looks at the same input frames in every batch. (TensorFlow's `padding="SAME"` puts the
padding of a strided convolution left or right depending on the padded length, so that an utterance would change
with its neighbours.)
"""

import tensorflow as tf


def frame_mask(lengths: tf.Tensor, frames: int | tf.Tensor, dtype: tf.DType = tf.float32) -> tf.Tensor:
    """`(B,)` lengths -> `(B, frames)`: 1 where a frame is real, 0 where it is padding."""
    return tf.sequence_mask(lengths, frames, dtype=dtype)


def strided(length: tf.Tensor | int, stride: int) -> tf.Tensor | int:
    """Number of outputs of a layer of this stride: `ceil(length / stride)`."""
    return (length + stride - 1) // stride


def pad_for(size: tf.Tensor | int, kernel: int, stride: int) -> tuple[int, tf.Tensor | int]:
    """Zeros before and after an axis, for a VALID convolution to give `strided(size)` outputs.

    Output t is then centred on input `t * stride`.
    """
    before = (kernel - 1) // 2
    needed = (strided(size, stride) - 1) * stride + kernel
    after = needed - before - size
    # A stride above the kernel leaves inputs unread at the end; there is nothing to pad then.
    return before, tf.maximum(after, 0) if isinstance(after, tf.Tensor) else max(after, 0)
