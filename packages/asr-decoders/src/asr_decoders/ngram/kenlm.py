"""KenLM's binary files, mapped and not read: a model of any size opens at once.

The format is version 5 of lm/binary_format.cc: a header, the words' hashes (lm/vocab.hh), the n-grams
(lm/search_hashed.hh, lm/search_trie.hh), and at the end the words themselves, one after the other. Nothing in
the file says where its parts lie: that follows from the counts, and the length of the file is the check.
"""

import mmap
import struct
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from asr_decoders.ngram.layout import (
    LONGEST,
    MIDDLE,
    TRIE_UNIGRAM,
    UNIGRAM,
    WORD,
    Keys,
    Layout,
    Packed,
    Probing,
    Table,
    Trie,
)
from asr_decoders.ngram.words import ProbingWords, SortedWords, Words

MAGIC = b"mmap lm http://kheafield.com/code "
_VERSION = b"format version 5\n"
# What a foreign machine would have written otherwise: three floats, two words, padding, an integer.
_SANITY = struct.pack("<56s3f3IQ", MAGIC + _VERSION, 0.0, 1.0, -0.5, 1, 0xFFFFFFFF, 0, 1)
_FIXED = struct.Struct("<B3xfIB3xI")  # order, probing multiplier, kind of model, has words, search version
_KINDS = ("probing", "probing with rest costs", "trie", "trie -q", "trie -a", "trie -q -a")
_SEARCH_VERSION = {"probing": 0, "trie": 1}
_QUANTISER_VERSION = 2
_ARRAY_VERSION = 0


@dataclass(frozen=True, eq=False)
class Binary:
    """What a file holds."""

    layout: Layout
    words: Words
    size: int  # how many words, <unk> included
    strings: NDArray[np.uint8]  # the words, each ended by a 0; empty where the file is built without


class _Header(NamedTuple):
    kind: str
    multiplier: float
    has_words: bool
    counts: tuple[int, ...]  # of n-grams of order 1, 2 ...


def is_binary(start: bytes) -> bool:
    """Whether a file that begins so is one of KenLM's."""
    return start.startswith(MAGIC)


def read(path: str | Path) -> Binary:
    """Maps a file of build_binary: probing, or trie with or without -q, -b and -a.

    Raises ValueError for what is not one, for other versions and kinds, and for a file that is cut.
    """
    if sys.byteorder != "little":
        raise ValueError(f"{path}: KenLM's files can only be mapped on little-endian machines: read the ARPA file")
    with open(path, "rb") as file:
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    header, at = _header(path, data)
    take = _Taker(path, data, at)
    if header.kind == "probing":
        return _probing(take, header)
    return _trie(take, header)


def _header(path: str | Path, data: mmap.mmap) -> tuple[_Header, int]:
    start = data[: len(_SANITY)]
    if start[: len(_SANITY)] != _SANITY:
        if start.startswith(MAGIC + b"incomplete\n"):
            raise ValueError(f"{path}: a KenLM file whose build did not finish: build it again")
        if start.startswith(MAGIC) and not start.startswith(MAGIC + _VERSION):
            found = bytes(start[len(MAGIC) :]).split(b"\n")[0].decode("ascii", "replace")
            raise ValueError(f"{path}: a KenLM file of 'format version 5' expected, got {found!r}: build it again")
        raise ValueError(f"{path}: not a KenLM file of format version 5 of a little-endian 64-bit machine")
    at = len(_SANITY)
    if len(data) < at + _FIXED.size:
        raise ValueError(f"{path}: a KenLM file that ends in its header, after {len(data)} bytes")
    order, multiplier, kind, has_words, version = _FIXED.unpack_from(data, at)
    at += _FIXED.size
    if kind >= len(_KINDS) or kind == 1:
        name = _KINDS[kind] if kind < len(_KINDS) else f"number {kind}"
        raise ValueError(f"{path}: a KenLM model of kind probing or trie expected, got {name}: build it again")
    expected = _SEARCH_VERSION[_KINDS[kind].split()[0]]
    if version != expected:
        raise ValueError(f"{path}: search version {expected} of KenLM's {_KINDS[kind]} expected, got {version}")
    if order < 2 or len(data) < at + 8 * order:
        raise ValueError(f"{path}: a KenLM file of order 2 or more, with as many counts, expected, got order {order}")
    if not 1.0 <= multiplier < 1e6:
        raise ValueError(f"{path}: a probing multiplier of at least 1 expected, got {multiplier}")
    counts = struct.unpack_from(f"<{order}Q", data, at)
    if max(counts) >= 1 << 48 or counts[0] == 0:
        given = ", ".join(str(count) for count in counts[:5])
        raise ValueError(f"{path}: n-grams of order 1 to {order} cannot be {given} ...: the header is damaged")
    return _Header(_KINDS[kind], multiplier, bool(has_words), counts), _align(at + 8 * order)


def _align(offset: int) -> int:
    return -(-offset // 8) * 8


class _Taker:
    """Takes one array after the other from a file."""

    def __init__(self, path: str | Path, data: mmap.mmap, at: int) -> None:
        self.path = path
        self.data = data
        self.at = at

    def table(self, dtype: "np.dtype[np.void] | type[np.generic]", count: int) -> Table:
        """The next `count` entries."""
        end = self.at + np.dtype(dtype).itemsize * count
        if end > len(self.data):
            raise ValueError(
                f"{self.path}: at least {end} bytes expected from the counts in its header, got {len(self.data)}: "
                "the file is cut or damaged"
            )
        found = np.frombuffer(self.data, dtype=dtype, count=count, offset=self.at)
        self.at = end
        return found

    def rest(self) -> NDArray[np.uint8]:
        return self.table(np.uint8, len(self.data) - self.at)


def _probing(take: _Taker, header: _Header) -> Binary:
    def buckets(count: int) -> int:
        return max(count + 1, int(np.float32(header.multiplier) * np.float32(count)))

    counts = header.counts
    version, size = (int(number) for number in take.table(np.uint32, 2))
    if version or not 1 <= size <= counts[0] + 1:
        raise ValueError(f"{take.path}: version 0 and at most {counts[0] + 1} words expected, got {version}, {size}")
    words = take.table(WORD, buckets(counts[0]))
    unigrams = take.table(UNIGRAM, counts[0] + 1)[:size]
    middle = tuple(take.table(MIDDLE, buckets(count)) for count in counts[1:-1])
    longest = take.table(LONGEST, buckets(counts[-1]))
    layout = Probing(len(counts), unigrams, middle, longest)
    return Binary(layout, ProbingWords(words), size, _strings(take, header))


def _trie(take: _Taker, header: _Header) -> Binary:
    counts = header.counts
    hashed = int(take.table(np.uint64, 1)[0])
    if hashed >= counts[0]:
        raise ValueError(f"{take.path}: at most {counts[0] - 1} words and <unk> expected, got {hashed}: it is damaged")
    hashes = take.table(np.uint64, counts[0])[:hashed]
    bits, bins = _quantiser(take, header)
    unigrams = take.table(TRIE_UNIGRAM, counts[0] + 2)[: hashed + 2]
    packed = [_middle(take, header, n, bits, bins) for n in range(2, len(counts))]
    packed.append(_longest(take, header, bits, bins))
    layout = Trie(len(counts), unigrams, tuple(packed))
    return Binary(layout, SortedWords(hashes), hashed + 1, _strings(take, header))


class _Bits(NamedTuple):
    """Of the values of an n-gram."""

    prob: int
    backoff: int


_Bins = list[tuple[NDArray[np.float32], ...]]  # the quantiser's tables of orders 2 ...; no list where there are none


def _quantiser(take: _Taker, header: _Header) -> tuple[_Bits, _Bins]:
    if "-q" not in header.kind:
        return _Bits(31, 32), []
    version, prob, backoff = take.table(np.uint8, 8)[:3].tolist()
    if version != _QUANTISER_VERSION or not (1 <= prob <= 25 and 1 <= backoff <= 25):
        raise ValueError(
            f"{take.path}: quantisation of version {_QUANTISER_VERSION} to 1 ... 25 bits expected, "
            f"got version {version}, {prob} and {backoff} bits"
        )
    sizes = [(prob, backoff)] * (len(header.counts) - 2) + [(prob,)]
    return _Bits(prob, backoff), [tuple(take.table(np.float32, 1 << bits) for bits in order) for order in sizes]


def _middle(take: _Taker, header: _Header, n: int, bits: _Bits, bins: _Bins) -> Packed:
    """The n-grams of an order between the first and the last."""
    count, longer = header.counts[n - 1 : n + 1]
    next_bits = longer.bit_length()
    offsets = None
    if "-a" in header.kind:
        offsets, next_bits = _offsets(take, count, longer)
    quantised = bool(bins)
    word_bits = header.counts[0].bit_length()
    # Quantised, the back-off comes first.
    prob_at, backoff_at = (word_bits + bits.backoff, word_bits) if quantised else (word_bits, word_bits + bits.prob)
    next_at = word_bits + bits.prob + bits.backoff
    return Packed(
        data=_packed_data(take, count, next_at + next_bits),
        count=count,
        bits=next_at + next_bits,
        word_bits=word_bits,
        prob_at=prob_at,
        prob_bits=bits.prob,
        backoff_at=backoff_at,
        backoff_bits=bits.backoff,
        next_at=next_at,
        next_bits=next_bits,
        next_count=longer,
        probs=bins[n - 2][0] if quantised else None,
        backoffs=bins[n - 2][1] if quantised else None,
        offsets=offsets,
    )


def _longest(take: _Taker, header: _Header, bits: _Bits, bins: _Bins) -> Packed:
    word_bits = header.counts[0].bit_length()
    return Packed(
        data=_packed_data(take, header.counts[-1], word_bits + bits.prob),
        count=header.counts[-1],
        bits=word_bits + bits.prob,
        word_bits=word_bits,
        prob_at=word_bits,
        prob_bits=bits.prob,
        probs=bins[-1][0] if bins else None,
    )


def _packed_data(take: _Taker, count: int, bits: int) -> NDArray[np.uint8]:
    # One entry more, for the last next, and eight bytes, so that the last entry can be read eight at a time.
    return take.table(np.uint8, ((1 + count) * bits + 7) // 8 + 8)


def _offsets(take: _Taker, count: int, longer: int) -> tuple[Keys, int]:
    """The array of the high bits of next, and how many bits are left in the entries (lm/bhiksha.cc)."""
    start = take.at
    version, most = take.table(np.uint8, 2).tolist()
    if version != _ARRAY_VERSION:
        raise ValueError(f"{take.path}: array compression of version {_ARRAY_VERSION} expected, got {version}")
    required = longer.bit_length()

    def cost(chopped: int) -> int:  # in bits: 64 for each offset, less what the entries save
        return (longer >> (required - chopped)) * 64 - (count + 1) * chopped

    chopped = min(range(min(required, most) + 1), key=cost)
    size = (longer >> (required - chopped)) + 1
    take.at = _align(start) + 8
    offsets = take.table(np.uint64, size)
    take.at = start + 8 * (1 + size) + 7
    return offsets, required - chopped


def _strings(take: _Taker, header: _Header) -> NDArray[np.uint8]:
    if not header.has_words:
        return np.zeros(0, dtype=np.uint8)
    strings = take.rest()
    if strings[:6].tobytes() != b"<unk>\0":
        raise ValueError(f"{take.path}: the words expected at byte {take.at}, <unk> first: the file is cut or damaged")
    return strings
