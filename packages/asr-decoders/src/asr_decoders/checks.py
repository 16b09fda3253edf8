"""Checks of what comes in, shared by the decoders."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asr_decoders.vocabulary import Vocabulary

# Rounding may lift the logarithm of 1 a little above 0, more so in half precision.
ROUNDING = 1e-3


def integer(name: str, value: int, *, least: int) -> None:
    """Raises ValueError unless `value` is an integer of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ValueError(f"{name} must be an integer of at least {least}, got {value!r}")


def between(name: str, value: float, least: float, most: float) -> None:
    """Raises ValueError unless least <= value <= most."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not least <= value <= most:
        raise ValueError(f"{name} must be a number from {least:g} to {most:g}, got {value!r}")


def ids(tokens: Any, size: int, *, blank: int) -> None:
    """Raises ValueError unless the tokens are a sequence of ids under `size`, without the blank."""
    if not isinstance(tokens, Sequence | np.ndarray) or isinstance(tokens, str | bytes):
        raise ValueError(f"tokens must be a sequence of ids, got {tokens!r}")
    for token in tokens:
        whole = isinstance(token, int | np.integer) and not isinstance(token, bool)
        if not whole or not 0 <= token < size or token == blank:
            raise ValueError(f"tokens are ids under V = {size} and not the blank {blank}, got {token!r}")


def number(name: str, value: Any) -> None:
    """Raises ValueError unless `value` is a number."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        raise ValueError(f"{name} must be a number, got {value!r}")


def one_of(name: str, value: str, names: Sequence[str]) -> None:
    """Raises ValueError unless the value is one of the names."""
    if value not in names:
        raise ValueError(f"{name} must be one of {', '.join(names)}, got {value!r}")


def n_best(n_best: int, beam_size: int) -> None:
    """Raises ValueError unless 1 <= n_best <= beam_size."""
    integer("beam_size", beam_size, least=1)
    integer("n_best", n_best, least=1)
    if n_best > beam_size:
        raise ValueError(f"n_best must be at most beam_size, got n_best {n_best} of a beam of {beam_size}")


def vocabulary_size(vocabulary: Vocabulary | None, size: int) -> None:
    """Raises ValueError where the vocabulary is not the one of log-probabilities (..., size)."""
    if vocabulary is not None and len(vocabulary) != size:
        raise ValueError(f"a piece for each of V = {size} log-probabilities expected, got {len(vocabulary)} pieces")


def ctc_log_probs(
    log_probs: Any, *, blank: int, logits: bool = False, possible: bool = False
) -> NDArray[np.floating[Any]]:
    """(T, V) log-probabilities (or logits) as an array of floats; raises ValueError where they cannot be that.

    possible: checks `possible_frames` as well, in the same pass.
    """
    array = np.asarray(log_probs)
    if array.ndim != 2 or array.shape[1] == 0:
        raise ValueError(f"log-probabilities (T, V) of one utterance expected, got shape {array.shape}")
    if array.dtype.kind in "iu":  # rounded scores, as text files hold them
        array = array.astype(np.float64)
    if not np.issubdtype(array.dtype, np.floating):
        raise ValueError(f"log-probabilities of float32 or float64 expected, got {array.dtype}: convert them first")
    if blank >= array.shape[1]:
        raise ValueError(f"blank must be less than V = {array.shape[1]}, got {blank}")
    peak = array.max(axis=1)  # a NaN anywhere in a frame is a NaN here
    bad = np.flatnonzero(~(peak < np.inf) if logits else ~(peak <= ROUNDING))
    if bad.size and logits:
        raise ValueError(f"logits expected, finite numbers or -inf, got {peak[bad[0]]:.6g} at frame {bad[0]}")
    if bad.size:
        raise ValueError(
            f"log-probabilities expected (natural log, at most 0), got {peak[bad[0]]:.6g} at frame {bad[0]}: "
            "apply log_softmax to logits, log to probabilities"
        )
    if possible:
        _possible(peak)
    return array


def possible_frames(log_probs: NDArray[np.floating[Any]]) -> None:
    """Raises ValueError where a frame gives every token the probability 0.

    Then every labelling has the probability 0 and none is best. Such frames are padding that was not cut
    off, or a fault of the model: passing over them would hide either.
    """
    _possible(log_probs.max(axis=1))


def _possible(peak: NDArray[np.floating[Any]]) -> None:
    """`possible_frames`, of the greatest log-probability of each frame (T,)."""
    impossible = np.flatnonzero(np.isneginf(peak))
    if impossible.size:
        raise ValueError(
            f"frame {impossible[0]} of {len(peak)} is impossible, all its log-probabilities are -inf: "
            "cut the padding off at the utterance's length"
        )
