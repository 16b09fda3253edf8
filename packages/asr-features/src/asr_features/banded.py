"""Products with matrices whose columns are zero but for a short run of rows: mel filters, resampling kernels.

Columns are taken in groups, and each group multiplies only the rows that it touches. That is fewer
operations, and every product stays under the size from which BLAS libraries wake their threads, which for
products this small costs far more than it gives (OpenBLAS: 2^18 multiplications).
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from .interfaces import Array

MULTIPLICATIONS = 2**18
COLUMNS = 16
"""Of a band in blocks of one shape, where a row always has the same place (resample.py)."""

FREE_COLUMNS = 14
GROUP = 24
"""With bands of at most so many columns, and rows in whole groups of so many, a row's product is the same to the
last bit wherever the row is. BLAS libraries take rows by 4, 6, 8, 12 or 24, and what is left by another routine
that rounds differently; and OpenBLAS's for AVX2, from 16 columns on, rounds by the place within the group."""


class Band(NamedTuple):
    """Columns `start:stop` of the matrix, of which only the rows `low:high` are not zero."""

    low: int
    high: int
    start: int
    stop: int
    weights: Array
    """`(high - low, stop - start)`."""


def split(matrix: Array, rows: int) -> tuple[Band, ...]:
    """The bands of `(K, M)`, each of at most FREE_COLUMNS, and small enough for one thread to multiply `rows` with."""
    bands: list[Band] = []
    start = 0
    while start < matrix.shape[1]:
        band = _band(matrix, start, start + 1)
        for stop in range(start + 2, min(start + FREE_COLUMNS, matrix.shape[1]) + 1):
            wider = _band(matrix, start, stop)
            if wider.weights.size * rows > MULTIPLICATIONS:
                break
            band = wider
        bands.append(band)
        start = band.stop
    return tuple(bands)


def products(rows: Array, bands: Iterable[Band], out: Array) -> tuple[Callable[[], Any], ...]:
    """The calls that write `rows @ matrix` into `out`: `(T, K)` and the bands of `(K, M)` to `(T, M)`.

    They can be made again when `rows` have other values.
    """
    calls: list[Callable[[], Any]] = []
    for low, high, start, stop, weights in bands:
        given, place = rows[:, low:high], out[:, start:stop]
        if stop - start > 1:
            calls.append(partial(np.matmul, given, weights, place))
        else:  # BLAS has another routine for it, which rounds by place
            calls.append(partial(np.einsum, "ij,j->i", given, weights[:, 0], out=place[:, 0]))
    return tuple(calls)


def _band(matrix: Array, start: int, stop: int) -> Band:
    used = np.flatnonzero(matrix[:, start:stop].any(axis=1))
    low, high = (int(used[0]), int(used[-1]) + 1) if used.size else (0, 0)
    return Band(low, high, start, stop, np.ascontiguousarray(matrix[low:high, start:stop]))
