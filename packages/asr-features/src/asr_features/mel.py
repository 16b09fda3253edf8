"""The mel scales and their filter matrices, each the same as in the library that it is named after."""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import checks
from .interfaces import Floats

SCALES = ("htk", "slaney")

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
) -> Floats:
    """The matrix `(fft_length // 2 + 1, num_mels)`, read-only float32: `power @ matrix` are mel energies.

    kind "kaldi": HTK scale, triangles linear in mel, the bin of the Nyquist frequency unused, computed in
    float32 (Kaldi, mel-computations.cc).
    kind "tensorflow": HTK scale, triangles linear in mel, the bin of 0 Hz unused
    (tf.signal.linear_to_mel_weight_matrix).
    kind "slaney": Slaney's scale, triangles linear in Hz, each of area 1 (librosa.filters.mel, Whisper).

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
    filters = FILTERS[kind](num_mels, fft_length, sample_rate, low_hz, high)
    empty = np.flatnonzero(~filters.any(axis=0))
    if empty.size:
        raise ValueError(
            f"num_mels: {num_mels} filters are too many for fft_length {fft_length} at {sample_rate} Hz: "
            f"filter {empty[0]} covers no bin; take fewer filters or a longer FFT"
        )
    filters.setflags(write=False)
    return filters


def _kaldi(num_mels: int, fft_length: int, sample_rate: int, low_hz: float, high_hz: float) -> Floats:
    single = np.float32  # every step in single precision, as Kaldi does

    def mel(hz: ArrayLike) -> Floats:
        return np.asarray(single(1127) * np.log(single(1) + np.asarray(hz, single) / single(700)), single)

    low = mel(low_hz)
    step = (mel(high_hz) - low) / single(num_mels + 1)
    index = np.arange(num_mels, dtype=single)
    left, center, right = (
        low + index * step,
        low + (index + single(1)) * step,
        low + (index + single(2)) * step,
    )
    bins = mel(np.arange(fft_length // 2, dtype=single) * single(sample_rate / fft_length))[:, None]
    weights = np.where(bins <= center, (bins - left) / (center - left), (right - bins) / (right - center))
    weights[(bins <= left) | (bins >= right)] = 0
    return np.vstack([weights, np.zeros((1, num_mels), single)]).astype(single)


def _tensorflow(num_mels: int, fft_length: int, sample_rate: int, low_hz: float, high_hz: float) -> Floats:
    edges = np.linspace(hz_to_mel(low_hz), hz_to_mel(high_hz), num_mels + 2)
    weights = _triangles(hz_to_mel(_bins(fft_length, sample_rate)), edges)
    weights[0] = 0
    return weights.astype(np.float32)


def _slaney(num_mels: int, fft_length: int, sample_rate: int, low_hz: float, high_hz: float) -> Floats:
    edges = mel_to_hz(np.linspace(hz_to_mel(low_hz, "slaney"), hz_to_mel(high_hz, "slaney"), num_mels + 2), "slaney")
    weights = _triangles(_bins(fft_length, sample_rate), edges) * (2 / (edges[2:] - edges[:-2]))
    return weights.astype(np.float32)


def _bins(fft_length: int, sample_rate: int) -> NDArray[np.float64]:
    return np.linspace(0, sample_rate / fft_length * (fft_length // 2), fft_length // 2 + 1)


def _triangles(bins: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Triangles of height 1 over three successive edges: `(K,)` and `(M + 2,)` to `(K, M)`."""
    left, center, right = edges[:-2], edges[1:-1], edges[2:]
    rise = (bins[:, None] - left) / (center - left)
    fall = (right - bins[:, None]) / (right - center)
    return np.maximum(0, np.minimum(rise, fall))


FILTERS: dict[str, Callable[[int, int, int, float, float], Floats]] = {
    "kaldi": _kaldi,
    "tensorflow": _tensorflow,
    "slaney": _slaney,
}
