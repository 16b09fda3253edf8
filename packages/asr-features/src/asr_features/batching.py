"""Batches: utterances of any lengths in one array, padded with zeros, and their lengths."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import checks
from .interfaces import Array, Frontend


def batch(frontend: Frontend, utterances: Iterable[ArrayLike], *, threads: int = 1) -> tuple[Array, NDArray[np.int32]]:
    """The features of many utterances: samples `(N,)` each, to `(B, T, F)` (or `(B, T, F, C)`) and `(B,)` frames.

    Every utterance is computed alone, so its features are those that it has alone, bit for bit; what follows
    them is zero. No utterances make a batch `(0, 0, F)`.

    With `threads` above 1 so many are computed at the same time while the iterable is read on: it gains most
    where the iterable decodes files, and least on short arrays, where threads wait for the interpreter's lock.

    Raises:
        ValueError: what the front end refuses, with the number of the utterance; threads below 1.
    """
    checks.positive_int("threads", threads)

    def one(item: tuple[int, ArrayLike]) -> Array:
        number, samples = item
        try:
            return frontend(np.asarray(samples))
        except ValueError as error:
            raise ValueError(f"utterance {number}: {error}") from error

    if threads == 1:
        features = [one(item) for item in enumerate(utterances)]
    else:
        from concurrent.futures import ThreadPoolExecutor  # slow to import, and only wanted here

        with ThreadPoolExecutor(threads) as pool:
            features = list(pool.map(one, enumerate(utterances)))
    lengths = np.array([len(item) for item in features], np.int32)
    like = features[0] if features else frontend(np.zeros(0, np.float32))
    padded = np.zeros((len(features), int(lengths.max(initial=0)), *like.shape[1:]), like.dtype)
    for row, item in zip(padded, features, strict=True):
        row[: len(item)] = item
    return padded, lengths


def each(function: Callable[[Any], Array], features: ArrayLike, lengths: ArrayLike) -> Array:
    """A function of one utterance's features, `(T, ...)` to `(T, ...)`, on every utterance of a padded batch.

    `(B, T, ...)` and `(B,)` frames to `(B, T, ...)`, zero beyond each utterance. What stands in the padding of the
    argument changes nothing. Raises ValueError when the lengths do not fit the batch.
    """
    array, counts = np.asarray(features), np.asarray(lengths)
    if array.ndim < 3:
        raise ValueError(f"features: expected a batch, shape (B, T, F) or (B, T, F, C), got {array.shape}")
    if counts.shape != array.shape[:1] or (counts.size and counts.dtype.kind not in "iu"):
        raise ValueError(f"lengths: expected {len(array)} integers, got {counts.dtype} of shape {counts.shape}")
    wrong = np.flatnonzero((counts < 0) | (counts > array.shape[1]))
    if wrong.size:
        raise ValueError(f"lengths: expected 0 to {array.shape[1]} frames, got {counts[wrong[0]]} at {wrong[0]}")
    like = function(np.empty((0, *array.shape[2:]), array.dtype))
    result = np.zeros((*array.shape[:2], *like.shape[1:]), like.dtype)
    for row, item, count in zip(result, array, counts, strict=True):
        row[:count] = function(item[:count])
    return result
