"""Hashes and hash tables of `layout.py`, in numpy."""

import numpy as np
from numpy.typing import NDArray

from asr_decoders.ngram.layout import Keys, Table

Ints = NDArray[np.intp]

_MURMUR = np.uint64(0xC6A4A7935BD1E995)
_COMBINE_KEY = np.uint64(8978948897894561157)
_COMBINE_WORD = np.uint64(17894857484156487943)
_ONE = np.uint64(1)
PADDING = bytes(8)  # after a text that is read eight bytes at a time


def combine(keys: Keys, words: NDArray[np.integer]) -> Keys:
    """The keys of n-grams (n,) one word longer, to the left."""
    return (keys * _COMBINE_KEY) ^ ((words.astype(np.uint64) + _ONE) * _COMBINE_WORD)


def eights(data: NDArray[np.uint8]) -> Keys:
    """The little-endian integers of eight bytes that begin at every byte but the last seven: a view."""
    return np.ndarray((max(0, data.size - 7),), dtype="<u8", buffer=data, strides=(1,))


def murmur(text: NDArray[np.uint8], starts: Ints, lengths: Ints) -> Keys:
    """MurmurHash64A of pieces of a text, seed 0; eight bytes must follow the last piece."""
    words = eights(text)
    hashes = lengths.astype(np.uint64) * _MURMUR
    blocks = lengths >> 3
    rows = np.flatnonzero(blocks)
    block = 0
    while rows.size:
        k = words[starts[rows] + 8 * block] * _MURMUR
        k ^= k >> np.uint64(47)
        hashes[rows] = (hashes[rows] ^ (k * _MURMUR)) * _MURMUR
        block += 1
        rows = rows[blocks[rows] > block]
    rows = np.flatnonzero(lengths & 7)
    mask = (_ONE << (8 * (lengths[rows] & 7)).astype(np.uint64)) - _ONE
    tail = words[starts[rows] + 8 * blocks[rows]] & mask
    hashes[rows] = (hashes[rows] ^ tail) * _MURMUR
    hashes ^= hashes >> np.uint64(47)
    hashes *= _MURMUR
    hashes ^= hashes >> np.uint64(47)
    return hashes


def find(table: Table, keys: Keys) -> Ints:
    """The places (n,) of keys in a hash table; -1 where a key is not in it."""
    stored, size = table["key"], len(table)
    home = (keys % np.uint64(size)).astype(np.intp)
    got = stored[home]
    places = np.where((got == keys) & (keys != 0), home, -1)
    rows = np.flatnonzero((got != keys) & (got != 0))
    # Most are where they should be. For the others, more and more entries are looked at together.
    tried, width = 1, 4
    while rows.size and tried < size:
        index = home[rows, None] + np.arange(tried, tried + width)
        index[index >= size] -= size
        got = stored[index]
        stop = (got == keys[rows, None]) | (got == 0)
        at = np.arange(rows.size), stop.argmax(axis=1)
        hit = (got[at] == keys[rows]) & (keys[rows] != 0)
        places[rows[hit]] = index[at][hit]
        rows = rows[~stop[at]]
        tried += width
        width = min(2 * width, size - tried, 1024)
    return places


def place(keys: Keys, size: int) -> Ints:
    """Where distinct keys (n,), n < size, stand in a hash table of that size, filled in the order of their homes.

    A key stands at its home or, if it is taken, right after the key before it. Those that come to stand past the
    end are the first ones of the next round, as though the beginning were their home.
    """
    home = (keys % np.uint64(size)).astype(np.intp)
    order = np.argsort(home, kind="stable")
    steps = np.arange(keys.size)
    wrapped = 0
    while True:
        places = np.maximum.accumulate(np.maximum(home[order], 0) - steps) + steps
        past = int((places >= size).sum())
        if not past:
            break
        order = np.concatenate((order[keys.size - past :], order[: keys.size - past]))
        wrapped += past
        home[order[:wrapped]] = 0
    result = np.empty_like(places)
    result[order] = places
    return result


def fill(dtype: np.dtype[np.void], keys: Keys, **values: NDArray[np.generic]) -> tuple[Table, Ints]:
    """A hash table of distinct keys, as full as KenLM's (two thirds), and their places in it."""
    size = max(keys.size + 1, keys.size * 3 // 2)
    table = np.zeros(size, dtype)
    places = place(keys, size)
    table["key"][places] = keys
    for name, value in values.items():
        table[name][places] = value
    return table, places
