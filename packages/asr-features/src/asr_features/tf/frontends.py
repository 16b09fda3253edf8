"""Spectrogram, LogMel and Mfcc in a TensorFlow graph."""

from typing import Any

import numpy as np
import tensorflow as tf

from ..frontends import LogMel, Mfcc, Spectrogram
from ..spectrum import window

TINY = 1e-30
"""Under the square root: its slope at zero would make a gradient NaN."""


def features(frontend: Spectrogram | LogMel | Mfcc, dft: str, samples: Any, lengths: Any) -> tuple[Any, Any]:
    """Samples `(B, N)` with lengths `(B,)` to features `(B, T, F)`, zero beyond each utterance, and frames `(B,)`."""
    base = frontend.mel if isinstance(frontend, Mfcc) else frontend
    samples = tf.cast(samples, base.dtype)
    longest = samples.shape[1]
    most = num_frames(base, tf.shape(samples)[1]) if longest is None else base.num_frames(longest)
    frames = num_frames(base, lengths)
    own = tf.sequence_mask(frames, most)[..., tf.newaxis]
    framed = tf.signal.frame(_extend(base, samples, lengths, most), base.frame_length, base.frame_shift)[:, :most]
    if base.remove_dc:
        framed -= tf.reduce_mean(framed, axis=-1, keepdims=True)
    raw = tf.reduce_sum(tf.square(framed), axis=-1) * base.input_scale**2
    if base.pre_emphasis and base.pre_emphasis_over == "frame":
        framed = _emphasise(framed, base.pre_emphasis, framed[..., :1])
    spectrum = _spectrum(base, dft, framed)
    values = _logarithm(base, _filtered(base, spectrum))
    if base.top is not None:
        values = _clip(base, values, own)
    if isinstance(frontend, Mfcc):
        values = tf.tensordot(values, tf.constant(frontend.cosines(), base.dtype), 1)
    if isinstance(frontend, Mfcc) and frontend.energy is not None:
        energy = raw if frontend.energy == "raw" else tf.reduce_sum(spectrum, axis=-1) / base.fft_size
        kept = values[..., 1:] if frontend.zeroth == "first" else values[..., :-1]
        values = _joined(kept, _logarithm(base, energy), frontend.zeroth)
    elif isinstance(frontend, LogMel) and frontend.energy is not None:
        values = _joined(values, _logarithm(base, raw), frontend.energy)
    return tf.where(own, values, tf.zeros([], values.dtype)), frames


def num_frames(base: Spectrogram | LogMel, samples: Any) -> Any:
    """`num_frames` of tensors."""
    length, shift, kind = base.frame_length, base.frame_shift, base.framing
    if kind == "snip":
        return tf.maximum(0, 1 + (samples - length) // shift)
    if kind == "mirror":
        return (samples + shift // 2) // shift
    if kind in ("center", "reflect"):
        return tf.where(samples > 0, 1 + samples // shift, 0)
    if kind == "pad-end":
        return -(-samples // shift)
    if kind == "cover":
        return tf.where(samples > 0, 1 + tf.maximum(0, -((length - samples) // shift)), 0)
    return samples // shift


def _extend(base: Spectrogram | LogMel, samples: Any, lengths: Any, most: Any) -> Any:
    """The batch, pre-emphasised if that runs over the signal, continued beyond both ends of every utterance.

    Where the end lies differs within the batch, so the positions are mapped to samples of the utterance, as
    `numpy.pad` does.
    """
    if base.pre_emphasis and base.pre_emphasis_over == "signal":
        samples = _emphasise(samples, base.pre_emphasis, tf.zeros_like(samples[:, :1]))
    if base.framing == "snip":
        return samples
    left = base.left_padding
    total = (most - 1) * base.frame_shift + base.frame_length
    position = tf.range(-left, total - left)[tf.newaxis]
    count = tf.maximum(lengths, 1)[:, tf.newaxis]
    if base.framing == "mirror":
        position = tf.math.floormod(position, 2 * count)
        index = tf.minimum(position, 2 * count - 1 - position)
    elif base.framing in ("reflect", "reflect-floor"):
        period = tf.maximum(2 * (count - 1), 1)
        position = tf.math.floormod(position, period)
        index = tf.minimum(position, period - position)
    else:
        index = tf.minimum(tf.maximum(position, 0), count - 1)
    # An empty batch of samples has nothing to gather from; it has no frames either.
    gathered = tf.gather(tf.pad(samples, [[0, 0], [0, 1]]), index, batch_dims=1)
    if base.framing in ("mirror", "reflect", "reflect-floor"):
        return gathered
    inside = (position >= 0) & (position < lengths[:, tf.newaxis])
    return tf.where(inside, gathered, tf.zeros([], gathered.dtype))


def _emphasise(values: Any, amount: float, first: Any) -> Any:
    """x[n] - amount x[n-1] along the last axis, `first` standing before it, in the form that rounds least."""
    before = tf.concat([first, values[..., :-1]], axis=-1)
    return (values - before) + (1 - amount) * before


def _spectrum(base: Spectrogram | LogMel, dft: str, framed: Any) -> Any:
    """Frames `(B, T, W)` to their power or magnitude `(B, T, fft_size // 2 + 1)`."""
    weights = window(base.window, base.frame_length) * base.input_scale
    size, length = base.fft_size, base.frame_length
    if dft == "matmul":
        # Whole turns are taken off in integers: the sine of a large angle would be coarse.
        angle = 2 * np.pi / size * (np.outer(np.arange(length), np.arange(size // 2 + 1)) % size)
        real = tf.tensordot(framed, tf.constant(weights[:, None] * np.cos(angle), base.dtype), 1)
        imaginary = tf.tensordot(framed, tf.constant(weights[:, None] * np.sin(angle), base.dtype), 1)
    else:
        # tf.signal.rfft would pad by itself, but not a batch without frames.
        padding = [[0, 0], [0, 0], [0, size - length]]
        spectrum = tf.signal.rfft(tf.pad(framed * tf.constant(weights, base.dtype), padding))
        real, imaginary = tf.math.real(spectrum), tf.math.imag(spectrum)
    power = tf.square(real) + tf.square(imaginary)
    return power if base.power == 2 else tf.sqrt(tf.maximum(power, TINY))


def _filtered(base: Spectrogram | LogMel, spectrum: Any) -> Any:
    if isinstance(base, LogMel):
        return tf.tensordot(spectrum, tf.constant(base.filters(), base.dtype), 1)
    return spectrum


def _logarithm(base: Spectrogram | LogMel, energies: Any) -> Any:
    if base.log == "none":
        return energies
    values = tf.math.log(tf.maximum(energies, base.log_floor) + base.log_offset)
    if base.log == "ln":
        return values
    values /= np.log(10.0)
    return {"log10": values, "db": 10 * values, "whisper": values / 4 + 1}[base.log]


def _clip(base: Spectrogram | LogMel, values: Any, own: Any) -> Any:
    """Nothing more than `top` below the maximum of the utterance, or of its frames so far."""
    top = (base.top or 0.0) * (0.25 if base.log == "whisper" else 1)
    peaks = tf.reduce_max(tf.where(own, values, values.dtype.min), axis=2, keepdims=True)
    if base.top_over == "utterance":
        return tf.maximum(values, tf.reduce_max(peaks, axis=1, keepdims=True) - top)
    return tf.maximum(values, _running_maximum(peaks) - top)


def _running_maximum(peaks: Any) -> Any:
    """The maximum of each frame `(B, T, 1)` and all before it, in log2 T steps, each twice as far back."""
    time = tf.range(tf.shape(peaks)[1])[tf.newaxis, :, tf.newaxis]

    def further(reach: Any, best: Any) -> tuple[Any, Any]:
        earlier = tf.where(time >= reach, tf.roll(best, reach, axis=1), best.dtype.min)
        return 2 * reach, tf.maximum(best, earlier)

    # The bound is what lets XLA differentiate the loop.
    return tf.while_loop(lambda reach, _: reach < tf.shape(peaks)[1], further, (1, peaks), maximum_iterations=31)[1]


def _joined(values: Any, energy: Any, where: str) -> Any:
    energy = energy[..., tf.newaxis]
    return tf.concat([energy, values] if where == "first" else [values, energy], axis=-1)
