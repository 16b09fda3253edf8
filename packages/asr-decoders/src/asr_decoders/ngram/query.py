"""Scores of words after histories, many at a time: the score and the state of `layout.py`, in numpy."""

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from asr_decoders.ngram.layout import LN10, Keys, Layout, Packed, Probing, Table, Trie
from asr_decoders.ngram.tables import combine, eights, find

Ints = NDArray[np.intp]
States = NDArray[np.int32]  # (n, 2 * (order - 1))

_NEGATIVE_ZERO = np.int32(-(2**31))  # the bits of -0.0


class Found(NamedTuple):
    """What was found for the r rows that were asked for."""

    rows: Ints  # (f,) those found, a part of the rows
    prob: NDArray[np.float32]  # (f,)
    backoff: NDArray[np.float32]  # (f,)
    longer: NDArray[np.bool_]  # (f,) whether there may be longer n-grams


class _Walk(Protocol):
    """A look-up of longer and longer n-grams, for n words at a time."""

    def first(self, words: Ints) -> Found: ...

    def extend(self, length: int, rows: Ints, words: NDArray[np.int32]) -> Found:
        """The n-grams of `rows`, extended to `length` by words (r,)."""
        ...


def query(layout: Layout, states: States, words: Ints) -> tuple[NDArray[np.float64], States]:
    """ln p (n,) of words (n,) after the histories of states (n, 2 * (order - 1)), and the states after them."""
    history, backoffs = np.split(states, 2, axis=1)
    new_states = np.full_like(states, -1)
    new_states[:, history.shape[1] :] = 0
    new_history, new_backoffs = np.split(new_states, 2, axis=1)

    walk: _Walk = _Hashed(layout) if isinstance(layout, Probing) else _Packed(layout)
    found = walk.first(words)
    prob = found.prob.copy()
    matched = np.ones(words.size, dtype=np.intp)  # the length of the longest n-gram found
    kept = np.zeros(words.size, dtype=np.intp)  # how many words the new state has
    for length in range(1, layout.order):
        new_backoffs[found.rows, length - 1] = found.backoff.view(np.int32)
        kept[found.rows[found.backoff.view(np.int32) != _NEGATIVE_ZERO]] = length
        rows = found.rows[found.longer]
        rows = rows[history[rows, length - 1] >= 0]
        if not rows.size:
            break
        found = walk.extend(length + 1, rows, history[rows, length - 1])
        prob[found.rows] = found.prob
        matched[found.rows] = length + 1

    log10 = prob.astype(np.float64)
    for column, backoff in enumerate(backoffs.view(np.float32).T):
        log10 += np.where(matched <= column + 1, backoff, 0.0)
    for column in range(history.shape[1]):
        keep = kept > column
        new_history[:, column] = np.where(keep, words if column == 0 else history[:, column - 1], -1)
        new_backoffs[:, column] *= keep
    return log10 * LN10, new_states


class _Hashed:
    def __init__(self, layout: Probing) -> None:
        self._layout = layout
        self._keys: Keys = np.zeros(0, dtype=np.uint64)

    def first(self, words: Ints) -> Found:
        self._keys = words.astype(np.uint64)
        return _entries(np.arange(words.size), self._layout.unigrams[words])

    def extend(self, length: int, rows: Ints, words: NDArray[np.int32]) -> Found:
        keys = combine(self._keys[rows], words)
        self._keys[rows] = keys
        table = self._layout.longest if length == self._layout.order else self._layout.middle[length - 2]
        places = find(table, keys)
        hit = places >= 0
        return _entries(rows[hit], table[places[hit]])


def _entries(rows: Ints, entries: Table) -> Found:
    prob = entries["prob"]
    backoff = entries["backoff"] if "backoff" in (entries.dtype.names or ()) else np.zeros_like(prob)
    return Found(rows, -np.abs(prob), np.ascontiguousarray(backoff), ~np.signbit(prob))


class _Packed:
    def __init__(self, layout: Trie) -> None:
        self._layout = layout
        self._begin = self._end = np.zeros(0, dtype=np.intp)

    def first(self, words: Ints) -> Found:
        entries, following = self._layout.unigrams[words], self._layout.unigrams["next"][words + 1]
        count = self._layout.packed[0].count if self._layout.packed else 0
        self._begin, self._end = _ranges(entries["next"], following, count)
        backoff = np.ascontiguousarray(entries["backoff"])
        return Found(np.arange(words.size), entries["prob"], backoff, self._begin < self._end)

    def extend(self, length: int, rows: Ints, words: NDArray[np.int32]) -> Found:
        packed = self._layout.packed[length - 2]
        places = _search(packed, self._begin[rows], self._end[rows], words)
        hit = places >= 0
        rows, places = rows[hit], places[hit]
        if length < self._layout.order:
            begin, end = _ranges(_next(packed, places), _next(packed, places + 1), packed.next_count)
            self._begin[rows], self._end[rows] = begin, end
            longer = begin < end
        else:
            longer = np.zeros(rows.size, dtype=np.bool_)
        return Found(rows, _prob(packed, places), _backoff(packed, places), longer)


def _ranges(begin: Keys, end: Keys, count: int) -> tuple[Ints, Ints]:
    most = np.uint64(count)
    return np.minimum(begin, most).astype(np.intp), np.minimum(end, most).astype(np.intp)


def _search(packed: Packed, begin: Ints, end: Ints, words: NDArray[np.int32]) -> Ints:
    """The places (n,) of words in the ranges; -1 where a word is not there."""
    low, high = begin.copy(), np.maximum(begin, end)
    for _ in range(int((high - low).max(initial=0)).bit_length()):
        middle = (low + high) >> 1
        less = (_integers(packed, middle, 0, packed.word_bits) < words) & (low < high)
        low = np.where(less, middle + 1, low)
        high = np.where(less, high, middle)
    there = (low < end) & (_integers(packed, low, 0, packed.word_bits) == words)
    return np.where(there, low, -1)


def _integers(packed: Packed, places: Ints, at: int, bits: int) -> NDArray[np.int64]:
    """The integers of so many bits, `at` bits into the entries."""
    bit = places * packed.bits + at
    words: Keys = eights(packed.data)[bit >> 3] >> (bit & 7).astype(np.uint64)
    return (words & np.uint64((1 << bits) - 1)).astype(np.int64)


def _prob(packed: Packed, places: Ints) -> NDArray[np.float32]:
    value = _integers(packed, places, packed.prob_at, packed.prob_bits)
    if packed.probs is not None:
        return packed.probs[value]
    return (value | 2**31).astype(np.uint32).view(np.float32)


def _backoff(packed: Packed, places: Ints) -> NDArray[np.float32]:
    if not packed.backoff_bits:
        return np.zeros(places.size, dtype=np.float32)
    value = _integers(packed, places, packed.backoff_at, packed.backoff_bits)
    return value.astype(np.uint32).view(np.float32) if packed.backoffs is None else packed.backoffs[value]


def _next(packed: Packed, places: Ints) -> Keys:
    value = _integers(packed, places, packed.next_at, packed.next_bits).astype(np.uint64)
    if packed.offsets is None:
        return value
    high = np.maximum(np.searchsorted(packed.offsets, places.astype(np.uint64), side="right") - 1, 0)
    return (high.astype(np.uint64) << np.uint64(packed.next_bits)) | value
