"""How an n-gram model lies in memory: flat arrays, which numpy and the native search read alike.

There are two layouts, those of KenLM's binary files (Heafield, "KenLM: Faster and Smaller Language Model
Queries", 2011), so that a file is mapped and read where it lies. `Probing` is the default of build_binary, and
what an ARPA file is read into; `Trie` is that of `build_binary trie`, `-q -b` and `-a` included. All numbers are
little-endian, none need be aligned, and logarithms are of base 10, as in the files.

Words    are numbers: 0 is <unk>, the others less than len(unigrams). The history of a word is written backwards:
         h1 is the word before, h2 the one before that; an n-gram (w, h1, ..., h(n-1)) is looked up in this order.

Tables   A hash table is an array of entries (key uint64, values), of any length. The entry of a key is searched
         from `key % len(table)` on, one by one, around the end, up to the key or to an empty entry, of key 0; a
         whole round without either (a broken file) means that it is not there.

Keys     of n-grams: key(w) = w, key(w, h1, ..., hk) = combine(key(w, h1, ..., h(k-1)), hk), where
         combine(key, h) = (key * 8978948897894561157) xor ((1 + h) * 17894857484156487943), modulo 2^64.
         of words (`words.py`): MurmurHash64A of the UTF-8 bytes, seed 0.
         of the beginnings of words (`lexicon.py`): see there; a search needs no other for words.

Probing  Order n is in `unigrams` (at index w), `middle[n - 2]`, and `longest` for n = order; longest has no
         back-off. For every n-gram, its context (without w) and its suffix (without the last h) are there
         too: a reader adds what an ARPA file leaves out. The sign of prob is a flag, prob = -abs(prob): the
         sign bit is clear where some longer n-gram begins with (w, h1, ..., hk), and where it is set there is
         no need to look.

Trie     `unigrams[w]` has its longer n-grams (w, h1) at the entries [next(w), next(w + 1)) of order 2, sorted by
         h1; an entry i of order 2 has its longer ones at [next(i), next(i + 1)) of order 3, and so on: the range
         is empty where there are none. Entry i of a `Packed` begins at bit i * bits of its data; its fields lie
         in bits from there on: the word in the lowest word_bits, then, from bit prob_at, backoff_at and next_at
         on, what their names say. An integer of b bits at bit k is (the 8 bytes from byte k // 8 on, as uint64)
         >> (k % 8), masked to b bits: b is at most 57, and 8 bytes can be read at any entry up to `count`,
         which is one past the last: it has the last next.
           prob     quantised: probs[integer of prob_bits]. Otherwise the 31 lowest bits of a float32 whose sign
                    is set.
           backoff  quantised: backoffs[integer of backoff_bits]. Otherwise a float32 (32 bits). The longest order
                    has none, and backoff_bits 0.
           next     integer of next_bits. With `offsets` (array-compressed) these are its lowest bits, and the
                    others are the last k with offsets[k] <= i, offsets being sorted: k << next_bits | integer.
         A next above the `count` of the longer order (a broken file) is that count, and a range whose end is
         before its begin is empty. A quantised value needs no check: its table has 2^bits entries.

Score    of w after the history h1 ... hL, L < order (for what L is, see State). Look up (w), (w, h1),
         (w, h1, h2) ... until one is missing; (w, ..., hk) is the last that is there, and p its probability.
         With b(j) the back-off of the n-gram (h1, ..., hj), whose length is j, in float64:

             ln p(w | h) = ln(10) * (prob(w, h1, ..., hk) + b(k + 1) + b(k + 2) + ... + b(L)),

         added from left to right, each float32 made float64 first.

State    What the next word needs of a history: the words h1 ... hL with the smallest L that gives the same
         scores, and their b(1) ... b(L). The new state after w has the words w, h1, ..., h(M-1): M is the
         greatest n < order for which the n-gram (w, ..., h(n-1)) was found above and its back-off is not -0.0
         (a zero with its sign set, by which KenLM marks what has no longer n-gram), or 0 if there is none. So
         histories that differ where no longer n-gram begins are equal states. In numpy a state is a row of
         2 * (order - 1) int32: h1 ... hL, padded by -1; b(1) ... b(L), the bits of float32, padded by 0.
"""

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Table: TypeAlias = NDArray[Any]  # of the dtypes below
Keys: TypeAlias = NDArray[np.uint64]

UNIGRAM = np.dtype([("prob", "<f4"), ("backoff", "<f4")])  # 8 bytes
MIDDLE = np.dtype([("key", "<u8"), ("prob", "<f4"), ("backoff", "<f4")])  # 16 bytes
LONGEST = np.dtype([("key", "<u8"), ("prob", "<f4")])  # 12 bytes
WORD = np.dtype([("key", "<u8"), ("id", "<u4")])  # 12 bytes
TRIE_UNIGRAM = np.dtype([("prob", "<f4"), ("backoff", "<f4"), ("next", "<u8")])  # 16 bytes

LN10 = 2.302585092994046


@dataclass(frozen=True, eq=False)
class Probing:
    """Hash tables."""

    order: int
    unigrams: Table  # (U,) of UNIGRAM
    middle: tuple[Table, ...]  # orders 2 ... order - 1, (buckets,) of MIDDLE
    longest: Table  # (buckets,) of LONGEST; for order 1 one empty bucket


@dataclass(frozen=True, eq=False)
class Packed:
    """The n-grams of one order of a trie."""

    data: NDArray[np.uint8]  # at least (count + 1) * bits bits and 8 bytes
    count: int
    bits: int  # of an entry
    word_bits: int
    prob_at: int
    prob_bits: int  # 31, or those of the quantised value
    backoff_at: int = 0
    backoff_bits: int = 0  # 32, or those of the quantised value; 0 in the longest order, which has no back-off
    next_at: int = 0
    next_bits: int = 0  # 0 in the longest order, which has no next
    next_count: int = 0  # the longer order's count
    probs: NDArray[np.float32] | None = None  # (2^prob_bits,) where quantised
    backoffs: NDArray[np.float32] | None = None  # (2^backoff_bits,) where quantised; None in the longest order
    offsets: Keys | None = None  # where array-compressed


@dataclass(frozen=True, eq=False)
class Trie:
    """Sorted n-grams, packed to the bit."""

    order: int
    unigrams: Table  # (U + 1,) of TRIE_UNIGRAM; the last has the last next
    packed: tuple[Packed, ...]  # orders 2 ... order


Layout: TypeAlias = Probing | Trie
