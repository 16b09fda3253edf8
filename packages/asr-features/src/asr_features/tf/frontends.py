"""The front ends in a TensorFlow graph."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from ..frontends import LogMel
from ..spectrum import window


def log_mel(frontend: LogMel) -> Callable[..., Any]:
    """A function of tensors that gives what `frontend` gives of arrays, in eager code, `tf.function` and XLA.

    `(N,)` float32 gives `(T, F)` float32. A batch `(B, N)` needs its lengths `(B,)`, and gives the features
    `(B, T, F)`, zero beyond each utterance's frames, and the frames `(B,)` int32. What lies in the padding of
    the samples changes nothing. XLA needs static shapes. Raises ValueError for a batch without lengths, or
    samples of another rank.

    Differs from numpy by rounding alone: on speech, 1e-3 at most in all but one value of ten thousand. A GPU
    that multiplies matrices in TF32 rounds more coarsely:
    `tf.config.experimental.enable_tensor_float_32_execution(False)` prevents it.
    """

    def transform(samples: Any, lengths: Any = None) -> Any:
        samples = tf.cast(tf.convert_to_tensor(samples), tf.float32)
        if samples.shape.rank not in (1, 2):
            raise ValueError(f"samples: expected shape (N,), or (B, N) with lengths, got {samples.shape}")
        if samples.shape.rank == 1:
            return _batch(frontend, samples[tf.newaxis], tf.shape(samples))[0][0]
        if lengths is None:
            raise ValueError("lengths: expected (B,) for samples (B, N); padding is not guessed from values")
        return _batch(frontend, samples, tf.cast(lengths, tf.int32))

    return transform


def _batch(frontend: LogMel, samples: Any, lengths: Any) -> tuple[Any, Any]:
    longest = samples.shape[1]
    if longest is None:
        most = _num_frames(frontend, tf.shape(samples)[1])
    else:
        most = frontend.num_frames(longest)
    framed = tf.signal.frame(_extend(frontend, samples, lengths, most), frontend.frame_length, frontend.frame_shift)
    framed = framed[:, :most]
    if frontend.remove_dc:
        framed -= tf.reduce_mean(framed, axis=-1, keepdims=True)
    if frontend.pre_emphasis:
        before = tf.concat([framed[..., :1], framed[..., :-1]], axis=-1)
        framed -= frontend.pre_emphasis * before
    weights = window(frontend.window, frontend.frame_length) * frontend.input_scale
    # tf.signal.rfft would pad by itself, but not a batch without frames.
    padding = [[0, 0], [0, 0], [0, frontend.fft_size - frontend.frame_length]]
    spectrum = tf.signal.rfft(tf.pad(framed * tf.constant(weights, tf.float32), padding))
    power = tf.square(tf.math.real(spectrum)) + tf.square(tf.math.imag(spectrum))
    energies = tf.tensordot(power, tf.constant(frontend.filters()), 1)
    frames = _num_frames(frontend, lengths)
    own = tf.sequence_mask(frames, most)[..., tf.newaxis]
    return tf.where(own, _log(frontend, energies, own), 0.0), frames


def _num_frames(frontend: LogMel, samples: Any) -> Any:
    """`LogMel.num_frames` of tensors."""
    length, shift = frontend.frame_length, frontend.frame_shift
    if frontend.framing == "snip":
        return tf.maximum(0, 1 + (samples - length) // shift)
    if frontend.framing == "mirror":
        return (samples + shift // 2) // shift
    if frontend.framing == "center":
        return tf.where(samples > 0, 1 + samples // shift, 0)
    return samples // shift


def _extend(frontend: LogMel, samples: Any, lengths: Any, most: Any) -> Any:
    """The batch continued beyond both ends of every utterance, long enough for `most` frames.

    Where the end lies differs within the batch, so the positions are mapped to samples of the utterance, as
    `numpy.pad` does.
    """
    if frontend.framing == "snip":
        return samples
    left = frontend.left_padding
    total = (most - 1) * frontend.frame_shift + frontend.frame_length
    position = tf.range(-left, total - left)[tf.newaxis]
    count = tf.maximum(lengths, 1)[:, tf.newaxis]
    if frontend.framing == "mirror":
        position = tf.math.floormod(position, 2 * count)
        index = tf.minimum(position, 2 * count - 1 - position)
    elif frontend.framing == "reflect":
        period = tf.maximum(2 * (count - 1), 1)
        position = tf.math.floormod(position, period)
        index = tf.minimum(position, period - position)
    else:
        index = tf.minimum(tf.maximum(position, 0), count - 1)
    # An empty batch of samples has nothing to gather from; it has no frames either.
    gathered = tf.gather(tf.pad(samples, [[0, 0], [0, 1]]), index, batch_dims=1)
    if frontend.framing == "center":
        gathered = tf.where((position >= 0) & (position < lengths[:, tf.newaxis]), gathered, 0.0)
    return gathered


def _log(frontend: LogMel, energies: Any, own: Any) -> Any:
    values = tf.math.log(tf.maximum(energies, frontend.log_floor) + frontend.log_offset)
    if frontend.log == "ln":
        return values
    values /= tf.math.log(10.0)
    if frontend.log == "log10":
        return values
    peak = tf.reduce_max(tf.where(own, values, values.dtype.min), axis=(1, 2), keepdims=True)
    return (tf.maximum(values, peak - 8.0) + 4.0) / 4.0
