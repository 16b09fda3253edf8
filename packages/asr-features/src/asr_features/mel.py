"""The mel scales, their filter matrices and the cosine transform, each as in the library that it is named after."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import checks
from .interfaces import Array

SCALES = ("htk", "slaney")
DCTS = ("ortho", "htk")

_SLANEY_HZ = 200 / 3  # a mel, up to 1000 Hz
_SLANEY_STEP = np.log(6.4) / 27  # the logarithm of the ratio between a mel and the next, above


def hz_to_mel(hz: ArrayLike, scale: str = "htk") -> NDArray[np.float64]:
    """Frequencies on a mel scale, float64, any shape.

    "htk": 1127 ln(1 + f / 700), which is also Kaldi's and TensorFlow's. "slaney": 3 f / 200 below 1000 Hz and
    15 + 27 ln(f / 1000) / ln 6.4 above (Auditory Toolbox, librosa, Whisper).
    """
    checks.one_of("scale", scale, SCALES)
    hz = np.asarray(hz, np.float64)
    if scale == "htk":
        return np.asarray(1127 * np.log1p(hz / 700))
    return np.where(hz < 1000, hz / _SLANEY_HZ, 15 + np.log(np.maximum(hz, 1000) / 1000) / _SLANEY_STEP)


def mel_to_hz(mel: ArrayLike, scale: str = "htk") -> NDArray[np.float64]:
    """The inverse of `hz_to_mel`."""
    checks.one_of("scale", scale, SCALES)
    mel = np.asarray(mel, np.float64)
    if scale == "htk":
        return np.asarray(700 * np.expm1(mel / 1127))
    return np.where(mel < 15, mel * _SLANEY_HZ, 1000 * np.exp(_SLANEY_STEP * (np.maximum(mel, 15) - 15)))


@lru_cache(maxsize=64)
def mel_filters(
    kind: str,
    *,
    num_mels: int,
    fft_length: int,
    sample_rate: int,
    low_hz: float = 0.0,
    high_hz: float | None = None,
    dtype: str = "float32",
) -> Array:
    """The matrix `(fft_length // 2 + 1, num_mels)`, read-only: `power @ matrix` are mel energies.

    kind "kaldi": HTK scale, triangles linear in mel, the bin of the Nyquist frequency unused, computed in
    single precision for float32 (Kaldi, mel-computations.cc).
    kind "tensorflow": HTK scale, triangles linear in mel, the bin of 0 Hz unused
    (tf.signal.linear_to_mel_weight_matrix).
    kind "htk": HTK scale, triangles linear in Hz (librosa's htk=True without norm, torchaudio's default).
    kind "slaney": Slaney's scale, triangles linear in Hz, each of area 1 (librosa.filters.mel, Whisper).
    kind "psf": HTK scale, triangles between whole bins, all divided by fft_length, as the power spectrum of
    python_speech_features is.

    `high_hz` None is the Nyquist frequency. Raises ValueError when a filter would cover no bin: it could only
    ever give silence.
    """
    checks.one_of("mel", kind, FILTERS)
    for name, value in (("num_mels", num_mels), ("fft_length", fft_length), ("sample_rate", sample_rate)):
        checks.positive_int(name, value)
    high = sample_rate / 2 if high_hz is None else high_hz
    if not 0 <= low_hz < high <= sample_rate / 2:
        raise ValueError(
            f"low_hz, high_hz: expected 0 <= low < high <= {sample_rate / 2:g} (half of sample_rate), "
            f"got {low_hz:g} and {high:g}"
        )
    checks.one_of("dtype", dtype, ("float32", "float64"))
    filters = FILTERS[kind](num_mels, fft_length, sample_rate, low_hz, high, np.dtype(dtype).type).astype(dtype)
    empty = np.flatnonzero(~filters.any(axis=0))
    if empty.size:
        raise ValueError(
            f"num_mels: {num_mels} filters are too many for fft_length {fft_length} at {sample_rate} Hz: "
            f"filter {empty[0]} covers no bin; take fewer filters or a longer FFT"
        )
    filters.setflags(write=False)
    return filters


def cosines(num_mels: int, num_ceps: int, *, kind: str = "ortho", lifter: float = 0.0) -> NDArray[np.float64]:
    """The matrix `(num_mels, num_ceps)`: `log_mel @ matrix` are cepstral coefficients c[0] .. c[num_ceps - 1].

    c[k] = a sum_m cos(pi k (m + 0.5) / M) log_mel[m], with a = sqrt(2 / M), but in c[0] sqrt(1 / M) for
    "ortho" (Kaldi, librosa), which "htk" does not except (HTK, tf.signal). With a lifter, not 0, times
    1 + lifter / 2 sin(pi k / lifter).
    """
    checks.one_of("kind", kind, DCTS)
    k = np.arange(num_ceps)
    matrix = np.sqrt(2 / num_mels) * np.cos(np.pi / num_mels * np.outer(np.arange(num_mels) + 0.5, k))
    if kind == "ortho":
        matrix[:, 0] *= np.sqrt(0.5)
    return np.asarray(matrix * (1 + lifter / 2 * np.sin(np.pi * k / lifter)) if lifter else matrix)


def _kaldi(num_mels: int, fft_length: int, sample_rate: int, low_hz: float, high_hz: float, kind: Any) -> Array:
    def mel(hz: ArrayLike) -> Array:  # every step in one precision, as Kaldi does
        return np.asarray(kind(1127) * np.log(kind(1) + np.asarray(hz, kind) / kind(700)), kind)

    low = mel(low_hz)
    step = (mel(high_hz) - low) / kind(num_mels + 1)
    index = np.arange(num_mels, dtype=kind)
    left, center, right = (low + (index + kind(i)) * step for i in range(3))
    bins = mel(np.arange(fft_length // 2, dtype=kind) * kind(sample_rate / fft_length))[:, None]
    weights = np.where(bins <= center, (bins - left) / (center - left), (right - bins) / (right - center))
    weights[(bins <= left) | (bins >= right)] = 0
    unused = fft_length // 2 + 1 - len(weights)
    return np.vstack([weights, np.zeros((unused, num_mels), kind)])


def _tensorflow(num_mels: int, fft_length: int, sample_rate: int, low_hz: float, high_hz: float, _: Any) -> Array:
    edges = np.linspace(hz_to_mel(low_hz), hz_to_mel(high_hz), num_mels + 2)
    weights = _triangles(hz_to_mel(_bins(fft_length, sample_rate)), edges)
    weights[0] = 0
    return weights


def _htk(num_mels: int, fft_length: int, sample_rate: int, low_hz: float, high_hz: float, _: Any) -> Array:
    return _triangles(_bins(fft_length, sample_rate), _edges(num_mels, low_hz, high_hz, "htk"))


def _slaney(num_mels: int, fft_length: int, sample_rate: int, low_hz: float, high_hz: float, _: Any) -> Array:
    edges = _edges(num_mels, low_hz, high_hz, "slaney")
    return _triangles(_bins(fft_length, sample_rate), edges) * (2 / (edges[2:] - edges[:-2]))


def _psf(num_mels: int, fft_length: int, sample_rate: int, low_hz: float, high_hz: float, _: Any) -> Array:
    edges = np.floor((fft_length + 1) * _edges(num_mels, low_hz, high_hz, "htk") / sample_rate)
    with np.errstate(divide="ignore", invalid="ignore"):  # edges that fall together make an empty side
        return np.nan_to_num(_triangles(np.arange(fft_length // 2 + 1.0), edges), posinf=0) / fft_length


def _edges(num_mels: int, low_hz: float, high_hz: float, scale: str) -> NDArray[np.float64]:
    return mel_to_hz(np.linspace(hz_to_mel(low_hz, scale), hz_to_mel(high_hz, scale), num_mels + 2), scale)


def _bins(fft_length: int, sample_rate: int) -> NDArray[np.float64]:
    return np.linspace(0, sample_rate / fft_length * (fft_length // 2), fft_length // 2 + 1)


def _triangles(bins: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Triangles of height 1 over three successive edges: `(K,)` and `(M + 2,)` to `(K, M)`."""
    left, center, right = edges[:-2], edges[1:-1], edges[2:]
    rise = (bins[:, None] - left) / (center - left)
    fall = (right - bins[:, None]) / (right - center)
    return np.maximum(0, np.minimum(rise, fall))


FILTERS: dict[str, Callable[[int, int, int, float, float, Any], Array]] = {
    "kaldi": _kaldi,
    "tensorflow": _tensorflow,
    "htk": _htk,
    "slaney": _slaney,
    "psf": _psf,
}
