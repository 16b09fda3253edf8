"""Checks of arguments, told in one line each."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .interfaces import Array, Floats


def positive_int(name: str, value: Any) -> None:
    """Raises ValueError unless `value` is an int of at least 1."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name}: expected a positive int, got {value!r}")


def at_least(name: str, value: Any, least: float) -> None:
    """Raises ValueError unless `value` is a finite number of at least `least`."""
    if not isinstance(value, int | float) or not math.isfinite(value) or value < least:
        raise ValueError(f"{name}: expected a finite number of at least {least:g}, got {value!r}")


def one_of(name: str, value: Any, known: Iterable[str]) -> None:
    """Raises ValueError unless `value` is one of the known names."""
    known = tuple(known)
    if value not in known:
        raise ValueError(f"{name}: expected one of {', '.join(known)}, got {value!r}")


def one_channel(samples: ArrayLike) -> Array:
    """The samples `(N,)` as an array; raises ValueError unless they are floats, one channel."""
    array = np.asarray(samples)
    if array.ndim != 1:
        raise ValueError(
            f"samples: expected one channel, shape (N,), got shape {array.shape}; average the channels first"
        )
    if array.dtype.kind != "f":
        raise ValueError(f"samples: expected floats in [-1, 1], got {array.dtype}; divide int16 samples by 32768 first")
    return array


def boolean(name: str, value: Any) -> None:
    """Raises ValueError unless `value` is True or False."""
    if not isinstance(value, bool):
        raise ValueError(f"{name}: expected True or False, got {value!r}")


def features(values: ArrayLike, *, channels: bool = True) -> Array:
    """The features as a contiguous array, float32 unless they are float64.

    Raises ValueError unless they are numbers `(T, F)`, or `(T, F, C)` where `channels` are taken.
    """
    array = np.asarray(values)
    if array.ndim != 2 and not (channels and array.ndim == 3):
        expected = "(T, F) or (T, F, C)" if channels else "(T, F)"
        raise ValueError(f"features: expected shape {expected}, got {array.shape}")
    if array.dtype.kind not in "fiu":
        raise ValueError(f"features: expected real numbers, got {array.dtype}")
    return np.ascontiguousarray(array, array.dtype if array.dtype == np.float64 else np.float32)


def signal(samples: ArrayLike) -> Floats:
    """The samples as contiguous float32 `(N,)`; raises ValueError unless they are floats, one channel."""
    return np.ascontiguousarray(one_channel(samples), np.float32)
