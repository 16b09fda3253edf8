"""Philox4x32-10: random words that are a function of a key and a counter, and of nothing else.

Salmon, Moraes, Dror and Shaw, Parallel random numbers: as easy as 1, 2, 3 (2011), and their library Random123.
There is no state: any word can be had at any time, alone or with others, and it is the same on every machine.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

ROUNDS = 10
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
"""What the key grows by after every round: the fractions of the golden ratio and of the square root of 3."""

HALF = np.uint64(32)
LOW = np.uint64(0xFFFFFFFF)

Words = NDArray[np.uint32]


def philox4x32(counter: ArrayLike, key: ArrayLike) -> Words:
    """Counters `(..., 4)` and keys `(..., 2)` to words `(..., 4)`, all uint32; shapes before the last broadcast."""
    # Words of 32 bits in 64, so that products keep their upper half.
    counters, keys = np.asarray(counter, np.uint64), np.asarray(key, np.uint64)
    a, b, c, d = (counters[..., n] for n in range(4))
    for number in range(ROUNDS):
        first, second = (keys[..., n] + np.uint64(number * WEYL[n]) & LOW for n in range(2))
        product, other = a * np.uint64(MULTIPLIERS[0]), c * np.uint64(MULTIPLIERS[1])
        a, b, c, d = other >> HALF ^ b ^ first, other & LOW, product >> HALF ^ d ^ second, product & LOW
    return np.stack([a, b, c, d], axis=-1).astype(np.uint32)


def keys_of(seeds: Sequence[int] | NDArray[np.int64]) -> Words:
    """The keys `(..., 2)` of seeds `(...)` from 0 to 2^63 - 1: lower half, upper half."""
    values = np.asarray(seeds, np.int64).astype(np.uint64)
    return np.stack([values & LOW, values >> HALF], axis=-1).astype(np.uint32)


def at_most(words: Words, most: ArrayLike) -> NDArray[np.int64]:
    """Words to whole numbers from 0 to `most`, which may be an array, every one as likely to within 2^-32.

    Lemire's multiplication, Fast random integer generation in an interval (2019), without its rejection.
    """
    bound = np.asarray(most, np.int64).astype(np.uint64) + np.uint64(1)
    return (words.astype(np.uint64) * bound >> HALF).astype(np.int64)
