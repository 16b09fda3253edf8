"""The doors: what is configured for numpy, as a function of tensors."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from .. import checks
from ..chain import Chain
from ..deltas import Deltas
from ..frontends import LogMel, Mfcc, Spectrogram
from ..normalize import GlobalNorm, RunningNorm, UtteranceNorm
from . import frontends, stages

FRONTENDS = (Spectrogram, LogMel, Mfcc)
STAGES: dict[type, Callable[[Any, Any, Any], Any]] = {
    Deltas: stages.deltas,
    UtteranceNorm: stages.utterance_norm,
    GlobalNorm: stages.global_norm,
    RunningNorm: stages.running_norm,
}


def in_graph(part: Any, *, dft: str = "fft") -> Callable[..., Any]:
    """A function of tensors that gives what `part` gives of arrays, in eager code, `tf.function` and XLA.

    Of a front end (`Spectrogram`, `LogMel`, `Mfcc`, or a `Chain` that begins with one): `(N,)` float32 samples to
    `(T, F)` features. A batch `(B, N)` needs its lengths `(B,)`, and gives the features `(B, T, F)`, zero beyond
    each utterance's frames, and the frames `(B,)` int32. Of a stage (`Deltas`, `UtteranceNorm`, `GlobalNorm`,
    `RunningNorm`): features `(T, F)` to features, or a batch `(B, T, F)` with its frames `(B,)` to features that
    are zero beyond them. What lies in the padding changes nothing. XLA needs static shapes. All have gradients,
    finite in silence too.

    `dft` is "fft", or "matmul" for a device that has no FFT, or is quicker without one.

    Differs from numpy by rounding alone: on speech, 1e-3 at most in all but one value of ten thousand. A device
    that multiplies matrices in TF32 or bfloat16 rounds more coarsely:
    `tf.config.experimental.enable_tensor_float_32_execution(False)` prevents the first.

    Raises ValueError for a part that is not of this package, and from the function, for another rank or a batch
    without lengths.
    """
    checks.one_of("dft", dft, ("fft", "matmul"))
    if type(part) in STAGES:
        return lambda features, lengths=None: _on_features(part, features, lengths)
    head, rest = (part.frontend, part.stages) if isinstance(part, Chain) else (part, ())
    for wrong in [head] * (not isinstance(head, FRONTENDS)) + [stage for stage in rest if type(stage) not in STAGES]:
        names = ", ".join(kind.__name__ for kind in (*FRONTENDS, Chain, *STAGES))
        raise ValueError(f"part: expected one of {names}, got {wrong!r}")
    return lambda samples, lengths=None: _on_samples(head, rest, dft, samples, lengths)


def _on_samples(frontend: Any, rest: tuple[Any, ...], dft: str, samples: Any, lengths: Any) -> Any:
    samples = tf.convert_to_tensor(samples)
    if samples.shape.rank not in (1, 2):
        raise ValueError(f"samples: expected shape (N,), or (B, N) with lengths, got {samples.shape}")
    single = samples.shape.rank == 1
    samples, lengths = (samples[tf.newaxis], tf.shape(samples)) if single else (samples, _given(lengths, "N"))
    features, frames = frontends.features(frontend, dft, samples, lengths)
    for stage in rest:
        features = _masked(STAGES[type(stage)](stage, features, frames), frames)
    return features[0] if single else (features, frames)


def _on_features(stage: Any, features: Any, lengths: Any) -> Any:
    features = tf.convert_to_tensor(features)
    single = lengths is None
    ranks = ((2,) if isinstance(stage, Deltas) else (2, 3)) if single else (3,) if isinstance(stage, Deltas) else (3, 4)
    if features.shape.rank not in ranks:
        raise ValueError(f"features: expected shape (T, F), or (B, T, F) with lengths, got {features.shape}")
    if single:
        features, lengths = features[tf.newaxis], tf.shape(features)[:1]
    lengths = _given(lengths, "T, F")
    values = _masked(STAGES[type(stage)](stage, features, lengths), lengths)
    return values[0] if single else values


def _given(lengths: Any, axes: str) -> Any:
    if lengths is None:
        raise ValueError(f"lengths: expected (B,) for a batch (B, {axes}); padding is not guessed from values")
    return tf.cast(lengths, tf.int32)


def _masked(features: Any, lengths: Any) -> Any:
    return tf.where(stages.own(features, lengths), features, tf.zeros([], features.dtype))
