"""The beginnings of a model's words, by rolling hash: is this unfinished word one of them, is it a word?

A search spells a word piece by piece and never holds its text: what it holds is a hash, which a piece extends
by one product and one sum. With bytes c (UTF-8) and B = 0x9E3779B97F4A7C15, modulo 2^64,

    hash("") = 0,    hash(s + c) = hash(s) * B + c + 1,    hash(s + t) = hash(s) * B^len(t) + hash(t).

`Lexicon.table` is a hash table (see `layout.py`: linear probing from key % length on) of all beginnings but the
empty one; the key is mix(hash), 1 in place of 0, where

    mix(x):  x ^= x >> 32;  x *= 0xD6E8FEB86659FD93;  x ^= x >> 32;  x *= 0xD6E8FEB86659FD93;  x ^= x >> 32,

and the value is the number of the word that is spelt so, or BEGINNING where it is only a beginning.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from asr_decoders.ngram.layout import WORD, Keys, Table
from asr_decoders.ngram.tables import fill, find

BEGINNING = 0xFFFFFFFF  # in the table; -1 as int32

_BASE = 0x9E3779B97F4A7C15
_MIX = np.uint64(0xD6E8FEB86659FD93)
_HALF = np.uint64(32)


class Pieces(NamedTuple):
    """Texts by which others are extended: hash(s + piece) = hash(s) * factor + hash(piece)."""

    factor: Keys  # (n,)
    hash: Keys  # (n,)


def pieces(texts: Sequence[bytes]) -> Pieces:
    """The factors and hashes of texts."""
    factors = np.array([pow(_BASE, len(text), 1 << 64) for text in texts], dtype=np.uint64)
    hashes = []
    for text in texts:
        value = 0
        for byte in text:
            value = (value * _BASE + byte + 1) & 0xFFFFFFFFFFFFFFFF
        hashes.append(value)
    return Pieces(factors, np.array(hashes, dtype=np.uint64))


@dataclass(frozen=True, eq=False)
class Lexicon:
    """All beginnings of a list of words."""

    table: Table  # (buckets,) of WORD

    @classmethod
    def of(cls, words: Sequence[str]) -> "Lexicon":
        """The words numbered 0, 1, 2 ...; the empty word is not in it. Of equal words, the first counts."""
        encoded = [word.encode() for word in words]
        lengths = np.fromiter(map(len, encoded), dtype=np.intp, count=len(encoded))
        text = np.frombuffer(b"".join(encoded), dtype=np.uint8)
        starts = np.cumsum(lengths) - lengths
        rows = np.flatnonzero(lengths)
        hashes = np.zeros(len(words), dtype=np.uint64)
        keys, ids = [np.zeros(0, dtype=np.uint64)], [np.zeros(0, dtype=np.uint32)]
        at = 0
        while rows.size:
            hashes[rows] = hashes[rows] * np.uint64(_BASE) + text[starts[rows] + at] + np.uint64(1)
            at += 1
            keys.append(_mix(hashes[rows]))
            ids.append(np.where(lengths[rows] == at, rows, BEGINNING).astype(np.uint32))
            rows = rows[lengths[rows] > at]
        key, number = np.concatenate(keys), np.concatenate(ids)
        order = np.argsort(key)
        key, number = key[order], number[order]
        first = np.flatnonzero(np.diff(key, prepend=~key[:1]))  # of equal keys
        if first.size:
            number = np.minimum.reduceat(number, first)  # a word is less than BEGINNING
        return cls(fill(WORD, key[first], id=number)[0])

    def find(self, hashes: Keys) -> NDArray[np.int64]:
        """For every hash (n,) the number of the word; -1 where it is only a beginning; -2 where it is neither."""
        places = find(self.table, _mix(hashes))
        ids = self.table["id"][places].astype(np.int64)
        return np.where(places < 0, -2, np.where(ids == BEGINNING, -1, ids))


def _mix(hashes: Keys) -> Keys:
    x = hashes ^ (hashes >> _HALF)
    x *= _MIX
    x ^= x >> _HALF
    x *= _MIX
    x ^= x >> _HALF
    return np.where(x == 0, np.uint64(1), x)
