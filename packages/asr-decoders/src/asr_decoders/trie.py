"""The prefixes of a search: their tokens, and keys to know them by."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.intp]
Keys = NDArray[np.uint64]

EMPTY = np.uint64(0xBF58476D1CE4E5B9)  # the key of the empty prefix
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_SHIFT = np.uint64(31)


def longer(keys: Keys, tokens: Ints) -> Keys:
    """The keys of prefixes one token longer: hashes of 64 bits, of which no two in a beam will ever be equal."""
    mixed = keys + tokens.view(np.uint64)
    mixed *= _MULTIPLIER
    mixed ^= mixed >> _SHIFT
    return mixed


def shared(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two prefixes begin with alike."""
    least = min(len(one), len(other))
    return next((i for i in range(least) if one[i] != other[i]), least)


class Trie:
    """Every prefix that ever came into the beam, as a number; the empty one is 0.

    It only grows, so the states of one stream share it, and so do the branches of a stream that forks. A prefix
    that leaves the beam and comes back gets another number, but has the same key.
    """

    def __init__(self) -> None:
        self._parents = [0]
        self._tokens = [0]
        self._new: list[tuple[Ints, Ints]] = []  # parents and tokens that are not yet in the lists
        self._size = 1

    def add(self, parents: Ints, tokens: Ints) -> Ints:
        """The numbers of prefixes one token longer."""
        self._new.append((parents, tokens))
        self._size += tokens.size
        return np.arange(self._size - tokens.size, self._size)

    def tokens(self, node: int) -> tuple[int, ...]:
        """The tokens of a prefix."""
        if self._new:
            for nodes, new in zip((self._parents, self._tokens), zip(*self._new, strict=True), strict=True):
                nodes.extend(np.concatenate(new).tolist())
            self._new = []
        backwards = []
        while node:
            backwards.append(self._tokens[node])
            node = self._parents[node]
        return tuple(reversed(backwards))

    @classmethod
    def of(cls, prefixes: Iterable[Sequence[int]]) -> tuple["Trie", Ints]:
        """A trie of the prefixes alone, and their numbers."""
        trie = cls()
        known: dict[tuple[int, int], int] = {}
        numbers = []
        for tokens in prefixes:
            node = 0
            for token in tokens:
                node = known.setdefault((node, token), len(known) + 1)
            numbers.append(node)
        trie._parents.extend(parent for parent, _ in known)
        trie._tokens.extend(token for _, token in known)
        trie._size += len(known)
        return trie, np.array(numbers, dtype=np.intp)
