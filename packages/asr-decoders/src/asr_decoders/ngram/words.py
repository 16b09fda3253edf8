"""From words to their numbers, by the hashes that KenLM's files keep of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from asr_decoders.ngram.layout import WORD, Keys, Table
from asr_decoders.ngram.tables import PADDING, fill, find, murmur

UNKNOWN = ("<unk>", "<UNK>")


class Words(Protocol):
    """The words of a model."""

    def find(self, hashes: Keys) -> NDArray[np.int64]:
        """The numbers (n,) of words with these hashes; 0 where there is none."""
        ...


@dataclass(frozen=True, eq=False)
class ProbingWords:
    """A hash table, in the files of `build_binary probing`."""

    table: Table  # (buckets,) of WORD

    def find(self, hashes: Keys) -> NDArray[np.int64]:
        places = find(self.table, hashes)
        return np.where(places < 0, 0, self.table["id"][places])

    @classmethod
    def of(cls, hashes: Keys) -> "ProbingWords":
        """The words with distinct hashes, numbered from 1 on."""
        return cls(fill(WORD, hashes, id=np.arange(1, hashes.size + 1))[0])


@dataclass(frozen=True, eq=False)
class SortedWords:
    """A sorted array, in the files of `build_binary trie`; the numbers are the places, from 1 on."""

    hashes: Keys

    def find(self, hashes: Keys) -> NDArray[np.int64]:
        if not self.hashes.size:
            return np.zeros(hashes.size, dtype=np.int64)
        places = np.minimum(np.searchsorted(self.hashes, hashes), self.hashes.size - 1)
        return np.where(self.hashes[places] == hashes, places + 1, 0)


def word_hashes(words: Sequence[str | bytes]) -> Keys:
    """The hashes (n,) of words."""
    encoded = [word.encode() if isinstance(word, str) else word for word in words]
    lengths = np.fromiter(map(len, encoded), dtype=np.intp, count=len(encoded))
    text = np.frombuffer(b"".join(encoded) + PADDING, dtype=np.uint8)
    return murmur(text, np.cumsum(lengths) - lengths, lengths)
