"""Products with matrices whose columns are zero but for a short run of rows: mel filters, resampling kernels.

Columns are taken in groups, and each group multiplies only the rows that it touches. That is fewer
operations, and every product stays under the size from which BLAS libraries wake their threads, which for
products this small costs far more than it gives (OpenBLAS: 2^18 multiplications).
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from .interfaces import Floats

ROWS = 128
"""The frames of a block, that the products are sized for; its buffers stay within a core's own cache."""

MULTIPLICATIONS = 2**18
COLUMNS = 16


class Band(NamedTuple):
    """Columns `start:stop` of the matrix, of which only the rows `low:high` are not zero."""

    low: int
    high: int
    start: int
    stop: int
    weights: Floats
    """`(high - low, stop - start)`."""


def split(matrix: Floats) -> tuple[Band, ...]:
    """The bands of `(K, M)`, each of at most 16 columns and small enough for one thread."""
    bands: list[Band] = []
    start = 0
    while start < matrix.shape[1]:
        band = _band(matrix, start, start + 1)
        for stop in range(start + 2, min(start + COLUMNS, matrix.shape[1]) + 1):
            wider = _band(matrix, start, stop)
            if wider.weights.size * ROWS > MULTIPLICATIONS:
                break
            band = wider
        bands.append(band)
        start = band.stop
    return tuple(bands)


def multiply(rows: Floats, bands: Iterable[Band], out: Floats) -> None:
    """Writes `rows @ matrix` into `out`: `(T, K)` and the bands of `(K, M)` to `(T, M)`."""
    for band in bands:
        np.matmul(rows[:, band.low : band.high], band.weights, out=out[:, band.start : band.stop])


def _band(matrix: Floats, start: int, stop: int) -> Band:
    used = np.flatnonzero(matrix[:, start:stop].any(axis=1))
    low, high = (int(used[0]), int(used[-1]) + 1) if used.size else (0, 0)
    return Band(low, high, start, stop, np.ascontiguousarray(matrix[low:high, start:stop]))
