"""`align.ctc_score` and `align.best_path` by the library; what they mean is said there."""

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asr_decoders.native import loader

Array = NDArray[np.floating[Any]]


def ctc_score(array: Array, tokens: Sequence[int], *, blank: int) -> float:
    """ln of the probability of a labelling, of (T, V) log-probabilities; blank and tokens are ids under V."""
    array, arguments = loader.frames(array)
    labels = np.array(tokens, dtype=np.int64)
    result = ctypes.c_double()
    library = loader.library()
    loader.check(library.asr_ctc_score(*arguments, loader.address(labels), labels.size, blank, result))
    return result.value


def best_path(array: Array, tokens: Sequence[int], *, blank: int, state: int | None = None) -> NDArray[np.intp]:
    """The state in each frame (T,), of (T, V) log-probabilities or logits; blank and tokens are ids under V."""
    array, arguments = loader.frames(array)
    labels = np.array(tokens, dtype=np.int64)
    path = np.empty(len(array), dtype=np.int64)
    first = -1 if state is None else state
    labelling = loader.address(labels), labels.size, blank, first, loader.address(path)
    loader.check(loader.library().asr_best_path(*arguments, *labelling, ctypes.c_double()))
    return path.astype(np.intp, copy=False)
