"""Masks and output lengths: all arithmetic about padding, and nowhere else.

Every layer that shortens time does it by `ceil(length / stride)`, with its input zero beyond the length and padded
by hand: then output frame t looks at the same input frames in every batch. (TensorFlow's `padding="SAME"` puts the
padding of a strided convolution left or right depending on the padded length, so that an utterance would change
with its neighbours.)
"""

from typing import Any

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


def as_features(owner: str, features: Any, *, width: int, channels: int = 1) -> tf.Tensor:
    """Features as float32 `(B, T, F)`, or `(B, T, F, C)` where C, the number of channels, is above one.

    Raises:
        ValueError: another rank, width or number of channels.
    """
    features = tf.convert_to_tensor(features)
    shape, expected = features.shape, f"(B, T, {width})" if channels == 1 else f"(B, T, {width}, {channels})"
    if shape.rank != (3 if channels == 1 else 4):
        raise ValueError(f"{owner} expected features of shape {expected}, got {tuple(shape)}")
    if shape[2] != width:
        raise ValueError(f"{owner} was built for {width} features a frame, got {shape[2]}: expected {expected}")
    if channels > 1 and shape[3] != channels:
        raise ValueError(f"{owner} was built for {channels} channels, got {shape[3]}: expected {expected}")
    return tf.cast(features, tf.float32)


def as_batch(owner: str, features: Any, lengths: Any, *, width: int, channels: int = 1) -> tuple[tf.Tensor, tf.Tensor]:
    """The one door for a batch: features as `as_features` has them, and lengths int32 `(B,)`, from any number type.

    Raises:
        ValueError: features or lengths of another shape.
    """
    lengths = tf.cast(lengths, tf.int32)
    if lengths.shape.rank != 1:
        raise ValueError(f"{owner} expected lengths of shape (B,), got {tuple(lengths.shape)}")
    return as_features(owner, features, width=width, channels=channels), lengths
