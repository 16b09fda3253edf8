"""The state of a model during attention decoding: a nest of dicts, lists and tuples of arrays.

The arrays are numpy's, TensorFlow's, JAX's or PyTorch's. No framework is imported here: where there is an
array of it, it has been imported already, and is found in `sys.modules`.
"""

import copy
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray


def repeat(state: Any, beam_size: int, /) -> Any:
    """Repeats the rows of every leaf: (B, ...) -> (B * beam_size, ...), those of an utterance together.

    Leaves without a leading dimension (numbers, strings, None) stay as they are.
    """
    return map_leaves(lambda leaf: take_rows(leaf, np.repeat(np.arange(leaf.shape[0]), beam_size)), state)


def reorder(state: Any, rows: NDArray[np.intp], /) -> Any:
    """Takes those rows of every leaf that has as many; leaves of another leading dimension stay."""
    if not np.count_nonzero(rows != np.arange(rows.size)):
        return state
    return map_leaves(lambda leaf: take_rows(leaf, rows) if leaf.shape[0] == rows.size else leaf, state)


def map_leaves(function: Callable[[Any], Any], nest: Any, /) -> Any:
    """The same nest with the function applied to every array that has a leading dimension."""
    if isinstance(nest, dict):
        mapped = {} if type(nest) is dict else copy.copy(nest)  # keeps the kind of dict
        for key, value in nest.items():
            mapped[key] = map_leaves(function, value)
        return mapped
    if isinstance(nest, (list, tuple)):
        values = [map_leaves(function, value) for value in nest]
        return type(nest)(*values) if hasattr(nest, "_fields") else type(nest)(values)
    return function(nest) if len(getattr(nest, "shape", ())) > 0 else nest


def take_rows(leaf: Any, rows: NDArray[np.intp], /) -> Any:
    """leaf[rows] along the first dimension, by the leaf's own framework and on its own device."""
    if isinstance(leaf, np.ndarray):
        return leaf.take(rows, axis=0)
    framework = type(leaf).__module__.partition(".")[0]
    if framework == "tensorflow":
        return sys.modules[framework].gather(leaf, rows)
    if framework == "torch":
        return leaf.index_select(0, sys.modules[framework].as_tensor(rows, device=leaf.device))
    return leaf[rows]  # JAX


def to_numpy(array: Any, /) -> NDArray[np.floating[Any]]:
    """A copy in numpy, float32 or float64 as it is; half precision becomes float32.

    Raises ValueError for what holds no floating-point numbers.
    """
    if isinstance(array, np.ndarray) and array.dtype.char in "fd":
        return np.array(array)
    if hasattr(array, "detach"):  # PyTorch: off the graph and off the device
        array = array.detach().cpu()
        if array.is_floating_point() and array.element_size() < 4:
            array = array.float()  # numpy has no bfloat16
    floats = np.array(np.asarray(array))  # not every framework knows of numpy's `copy`
    if floats.dtype.char in "fd":
        return floats
    if floats.dtype.kind == "f" or floats.dtype.name == "bfloat16":  # the latter is of ml_dtypes, with TensorFlow, JAX
        return floats.astype(np.float32)
    raise ValueError(f"numbers of float32 or float64 expected, got {floats.dtype}")
