"""Finds the library of `decoders.cpp` and declares its functions to ctypes, which drops the GIL around them.

Nothing here needs the library: without it, `why_not` says what is missing, and the decoders run in numpy.
"""

import ctypes
import os
import sys
from ctypes import POINTER, Structure, c_double, c_int32, c_int64, c_void_p
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ABI_VERSION = 2  # as in decoders.cpp
LIBRARY = Path(__file__).with_name("decoders.dll" if sys.platform == "win32" else "decoders.so")
VARIABLE = "ASR_DECODERS_BACKEND"  # the environment variable that overrides backend="auto"
BACKENDS = ("auto", "numpy", "native")

# As Status in decoders.cpp.
OK, NO_MEMORY, FAULT, BAD_FRAME, BAD_STATE, BAD_TOKEN, IMPOSSIBLE, NO_SUCH_PREFIX = range(8)


class Preparation(Structure):
    _fields_ = [("logits", c_int64), ("top_k", c_int64), ("token_min_log_prob", c_double), ("cumulative", c_double)]


class SearchOptions(Structure):
    _fields_ = [
        ("blank", c_int64),
        ("beam_size", c_int64),
        ("beam_threshold", c_double),
        ("prepare", Preparation),
    ]


class Table(Structure):
    _fields_ = [("data", c_void_p), ("size", c_int64)]


class PackedOrder(Structure):
    _fields_ = [
        *((name, c_void_p) for name in ("data", "probs", "backoffs", "offsets")),
        *((name, c_int64) for name in ("num_bytes", "num_offsets", "count", "bits", "word_bits", "prob_at")),
        *((name, c_int64) for name in ("prob_bits", "backoff_at", "backoff_bits", "next_at", "next_bits")),
        ("next_count", c_int64),
    ]


class NGramArrays(Structure):
    _fields_ = [
        ("order", c_int64),
        ("unigrams", Table),
        ("middle", POINTER(Table)),
        ("longest", Table),
        ("packed", POINTER(PackedOrder)),
    ]


class Scale(Structure):
    _fields_ = [*((name, c_double) for name in ("lm_weight", "word_bonus", "unknown_log_prob")), ("end", c_int64)]


class WordArrays(Structure):
    _fields_ = [
        ("ngram", NGramArrays),
        ("scale", Scale),
        ("lexicon", Table),
        ("hotwords", Table),
        *((name, c_void_p) for name in ("start", "starts", "factor", "hash", "characters")),
    ]


class TokenArrays(Structure):
    _fields_ = [("ngram", NGramArrays), ("scale", Scale), *((name, c_void_p) for name in ("start", "numbers", "bonus"))]


class HotwordArrays(Structure):
    _fields_ = [
        *((name, c_int64) for name in ("states", "classes", "width")),
        *((name, c_void_p) for name in ("following", "weight", "finish", "lengths", "spelt")),
    ]


_POINTER = POINTER(c_void_p)  # where a function writes a handle
_FRAMES = (c_void_p, c_int32, c_int64, c_int64)  # data, whether float64, T, V
_LABELS = (c_void_p, c_int64, c_int64)  # tokens, U, blank
_FUNCTIONS: dict[str, tuple[Any, tuple[Any, ...]]] = {  # result, arguments
    "fusion_new": (c_int32, (c_void_p, c_int64, _POINTER)),
    "fusion_add_words": (c_int32, (c_void_p, POINTER(WordArrays))),
    "fusion_add_tokens": (c_int32, (c_void_p, POINTER(TokenArrays))),
    "fusion_add_hotwords": (c_int32, (c_void_p, POINTER(HotwordArrays))),
    "fusion_free": (None, (c_void_p,)),
    "search_new": (c_int32, (POINTER(SearchOptions), c_void_p, ctypes.c_char_p, c_int64, _POINTER)),
    "search_free": (None, (c_void_p,)),
    "search_run": (c_int32, (c_void_p, *_FRAMES, POINTER(c_int64))),
    "search_save": (c_int32, (c_void_p, _POINTER)),
    "search_settle": (c_int32, (c_void_p, c_void_p, c_int64, _POINTER)),
    "search_paths": (c_int32, (c_void_p, c_int64, c_int32, _POINTER)),
    "output_bytes": (c_void_p, (c_void_p,)),
    "output_size": (c_int64, (c_void_p,)),
    "output_free": (None, (c_void_p,)),
    "ctc_score": (c_int32, (*_FRAMES, *_LABELS, POINTER(c_double))),
    "best_path": (c_int32, (*_FRAMES, *_LABELS, c_int64, c_void_p, POINTER(c_double))),
}


@cache
def _load() -> ctypes.CDLL | str:
    """The library, or the reason why there is none."""
    if sys.byteorder != "little":
        return "this is a big-endian machine"
    if not LIBRARY.is_file():
        return f"there is no {LIBRARY.name} in {LIBRARY.parent}: it was installed without a C++ compiler"
    try:
        library = ctypes.CDLL(str(LIBRARY))
        version = library.asr_abi_version()
    except (OSError, AttributeError) as error:
        return f"{LIBRARY} cannot be loaded: {error}"
    if version != ABI_VERSION:
        return f"{LIBRARY} is of another version ({version}, not {ABI_VERSION}): install asr-decoders again"
    for name, (result, arguments) in _FUNCTIONS.items():
        function = getattr(library, f"asr_{name}")
        function.restype, function.argtypes = result, arguments
    return library


def available() -> bool:
    """Whether the native search can be used here."""
    return not isinstance(_load(), str)


def why_not() -> str | None:
    """The reason why the native search cannot be used here; None where it can."""
    found = _load()
    return found if isinstance(found, str) else None


def library() -> ctypes.CDLL:
    """The library. Raises ValueError where there is none."""
    found = _load()
    if isinstance(found, str):
        raise ValueError(f'backend "native" cannot be used, {found}; use "numpy"')
    return found


def wanted(backend: str) -> str:
    """The backend that was asked for: in place of "auto", the one that the environment variable names.

    Raises ValueError for one that there is not.
    """
    name, source = backend, "backend"
    if backend == "auto" and os.environ.get(VARIABLE):
        name, source = os.environ[VARIABLE], f"environment variable {VARIABLE}"
    if name not in BACKENDS:
        raise ValueError(f"{source} must be one of {', '.join(BACKENDS)}, got {name!r}")
    if name == "native":
        library()
    return name


def check(status: int) -> None:
    """Raises what a status other than those that the caller knows means."""
    if status == BAD_TOKEN:
        raise ValueError("tokens that are ids of the frames' vocabulary expected, got others")
    if status == NO_MEMORY:
        raise MemoryError("the native search has no memory left")
    if status != OK:
        raise RuntimeError(f"the native search failed, status {status}: a fault of asr-decoders")


def address(array: NDArray[Any]) -> int:
    """Where the array's numbers are."""
    return array.ctypes.data


def frames(array: NDArray[np.floating[Any]]) -> tuple[NDArray[np.floating[Any]], tuple[int, bool, int, int]]:
    """The array (T, V) as the library reads it, float32 or float64, and the arguments that say where it is."""
    if array.dtype != np.float32:
        array = array.astype(np.float64, copy=False)
    array = np.ascontiguousarray(array)
    return array, (address(array), array.dtype == np.float64, *array.shape)
