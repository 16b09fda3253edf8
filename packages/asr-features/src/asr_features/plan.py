"""What a front end needs for every block of frames, made once for a configuration."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import checks
from .banded import Band, split
from .framing import FRAMINGS, Framing
from .interfaces import Array
from .spectrum import WINDOWS, window

LOGS: dict[str, tuple[Any, float, float]] = {
    "ln": (np.log, 1, 0),
    "log10": (np.log10, 1, 0),
    "db": (np.log10, 10, 0),
    "whisper": (np.log10, 0.25, 1),
    "none": (None, 1, 0),
}
"""The logarithms: each is factor * function(E) + constant."""

FFT_GROUP = 16
"""Rows of the FFT, which takes several at once as the vectors of the processor allow, the rest one by one."""

BLOCK_GROUP = 48
"""Rows in whole groups for both the FFT and the matrix products."""

BLOCK_BYTES = 2**19
"""Of the windowed frames of a block: more leave the cache, and with fewer the calls cost more than the work."""


class Plan(NamedTuple):
    """The numbers of a front end."""

    framing: Framing
    strides: tuple[int, int]
    """Of the frames as a view of the signal, in bytes."""
    rows: int
    """The most frames of a block, in whole groups."""
    dim: int
    dtype: Any
    pre_emphasis: float
    within: bool
    """Whether there is pre-emphasis within every frame."""
    over_signal: bool
    """Whether there is pre-emphasis over the signal."""
    gain: Any
    """What pre-emphasis leaves of a constant."""
    remove_dc: bool
    mean: Any
    """One over the frame length."""
    constant: Any
    """What is subtracted from a frame, over the sum of its samples."""
    rfft: Any
    fft_size: int
    window: Array
    """The scale of the input in it, the padding of the FFT behind it, once for each row of an FFT_GROUP."""
    power: int
    bands: tuple[Band, ...]
    """The mel filters; none leave the spectrum as it is."""
    log: str
    floors: Array | None
    """What no energy is below, as often as a block has energies."""
    offset: float
    top: float | None
    """The range below the maximum, in units of the features."""
    whole: bool
    """Whether that maximum is of the utterance, or of the frames so far: no frame is done before all are known."""
    cepstra: tuple[Band, ...]
    """The cosine transform of the logarithms, or none."""
    energy: str | None
    """"raw" or "spectrum": what the energy is the sum of; None for no energy."""
    energy_gain: float
    """The square of the input's scale for "raw"; for "spectrum", one over the points of the FFT."""
    energy_column: int
    columns: slice
    """Where the other features are."""


def check(recipe: Any) -> None:
    """Raises ValueError for a field that Spectrogram and LogMel share and that cannot be."""
    checks.positive_int("sample_rate", recipe.sample_rate)
    known_names: dict[str, Iterable[str]] = {"framing": FRAMINGS, "window": WINDOWS, "log": LOGS}
    known_names |= {"pre_emphasis_over": ("frame", "signal"), "top_over": ("utterance", "running")}
    known_names |= {"dtype": ("float32", "float64")}
    for name, known in known_names.items():
        checks.one_of(name, getattr(recipe, name), known)
    for name in ("input_scale", "frame_length_ms", "frame_shift_ms", "pre_emphasis", "log_floor", "log_offset"):
        checks.at_least(name, getattr(recipe, name), 0)
    if recipe.input_scale == 0:
        raise ValueError("input_scale: expected a positive number, got 0")
    if recipe.power not in (1, 2):
        raise ValueError(f"power: expected 1 (magnitude) or 2 (power), got {recipe.power!r}")
    if not 1 <= recipe.frame_shift <= recipe.frame_length:
        raise ValueError(
            "frame_shift_ms: expected at least one sample and at most a frame, got "
            f"{recipe.frame_shift_ms:g} ms, frames of {recipe.frame_length_ms:g} ms, {recipe.sample_rate} Hz"
        )
    size = recipe.fft_length
    if size is not None and (not isinstance(size, int) or size < recipe.frame_length):
        raise ValueError(
            f"fft_length: expected an int of at least the frame's {recipe.frame_length} samples, "
            f"got {size!r}; None is the next power of two"
        )
    if recipe.log != "none" and max(recipe.log_floor, recipe.log_offset) < 1e-37:  # the smallest normal float32
        raise ValueError(
            "log_floor, log_offset: expected one of at least 1e-37, for the logarithm of silence, "
            f"got {recipe.log_floor:g} and {recipe.log_offset:g}"
        )
    if recipe.top is not None:
        checks.at_least("top", recipe.top, 0)
        if recipe.log == "none":
            raise ValueError('top: expected a logarithm, in whose units it is, got log "none"')


def framing_of(recipe: Any) -> Framing:
    """Where the frames of a Spectrogram or LogMel lie."""
    return Framing(recipe.framing, recipe.frame_length, recipe.frame_shift, recipe.left_padding)


def make_plan(
    recipe: Any,
    filters: Array | None,
    *,
    cepstra: NDArray[np.float64] | None = None,
    energy: str | None = None,
    place: str = "first",
) -> Plan:
    """The plan of a Spectrogram, or of a LogMel with its filters, and of what follows it.

    `cepstra` is the cosine transform `(M, C)`. An `energy` is put at `place`, "first" or "last": beside the
    log energies, or instead of the coefficient there.
    """
    from scipy.fft import rfft  # slow to import, and only wanted here

    dtype = np.dtype(recipe.dtype)
    within = recipe.pre_emphasis > 0 and recipe.pre_emphasis_over == "frame"
    gain = 1 - recipe.pre_emphasis
    size, length = recipe.fft_size, recipe.frame_length
    groups = BLOCK_BYTES // (BLOCK_GROUP * size * dtype.itemsize)
    rows = min(max(groups, 1), 5) * BLOCK_GROUP
    # The power of two of Kaldi's scale changes no rounding, so the scale costs nothing inside the window.
    padded = np.pad(window(recipe.window, length) * recipe.input_scale, (0, size - length))
    energies = size // 2 + 1 if filters is None else filters.shape[1]
    dim = energies + (energy is not None) if cepstra is None else cepstra.shape[1]
    columns = slice(None)
    if energy is not None:
        columns = slice(1, None) if place == "first" else slice(None, -1)
    return Plan(
        framing=framing_of(recipe),
        strides=(recipe.frame_shift * dtype.itemsize, dtype.itemsize),
        rows=rows,
        dim=dim,
        dtype=dtype.type,
        pre_emphasis=recipe.pre_emphasis,
        within=within,
        over_signal=recipe.pre_emphasis > 0 and recipe.pre_emphasis_over == "signal",
        gain=dtype.type(gain),
        remove_dc=recipe.remove_dc,
        mean=dtype.type(1 / length),
        constant=dtype.type((gain if within else 1) / length),
        rfft=rfft,
        fft_size=size,
        window=np.tile(padded.astype(dtype), (1, FFT_GROUP)),
        power=recipe.power,
        bands=() if filters is None else split(filters, rows),
        log=recipe.log,
        floors=np.full(rows * energies, recipe.log_floor, dtype) if recipe.log_floor else None,
        offset=recipe.log_offset,
        top=None if recipe.top is None else recipe.top * (LOGS["whisper"][1] if recipe.log == "whisper" else 1),
        whole=recipe.top is not None and recipe.top_over == "utterance",
        cepstra=() if cepstra is None else split(cepstra[:, columns].astype(dtype), rows),
        energy=energy,
        energy_gain=recipe.input_scale**2 if energy == "raw" else 1 / size,
        energy_column=0 if place == "first" else -1,
        columns=columns,
    )
