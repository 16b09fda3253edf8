"""From n-grams in lists to hash tables: what an ARPA file holds, or an estimate, becomes the layout `Probing`."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from asr_decoders.ngram.layout import LONGEST, MIDDLE, UNIGRAM, Keys, Probing, Table
from asr_decoders.ngram.tables import Ints, combine, fill, find

Rows = NDArray[np.int32]
Floats = NDArray[np.float32]


class Order(NamedTuple):
    """The n-grams of one order, as an ARPA file has them."""

    words: Rows  # (n, order) numbers, the first word first; the unigrams are 0, 1, 2 ...
    prob: Floats  # (n,) log10
    backoff: Floats  # (n,) log10


class RepeatedError(ValueError):
    """The n-gram `row` of the order is there twice."""

    def __init__(self, order: int, row: int) -> None:
        super().__init__(f"{order}-grams all different expected, got number {row} once more")
        self.order = order
        self.row = row


def probing(orders: Sequence[Order]) -> Probing:
    """The tables of n-grams of order 1, 2 ...; raises `RepeatedError` for one that is there twice.

    Contexts and suffixes that are not there are added (SRILM leaves them out where they were pruned), with the
    probability that they have by backing off and without a back-off: no score changes.
    """
    levels = [_Level.unigrams(orders[0])]
    for n, order in enumerate(orders[1:], start=2):
        levels.append(_Level.hashed(order, longest=n == len(orders)))
        levels[-1].check(n)
    parts: list[_Parts] = []
    for n in range(len(levels) - 1, 0, -1):
        levels[n - 1], part = levels[n - 1].completed(levels[n].words)
        parts.insert(0, part)
    for lower, level, part in zip(levels, levels[1:], parts, strict=False):
        level.back_off(lower.table, part)
    for lower, (context, suffix) in zip(levels, parts, strict=False):
        lower.table["backoff"][context] += np.float32(0.0)  # of -0.0 it makes 0.0: a longer n-gram begins so
        lower.table["prob"][suffix] = np.abs(lower.table["prob"][suffix])  # one ends so
    if len(levels) == 1:
        return Probing(1, levels[0].table, (), np.zeros(1, dtype=LONGEST))
    return Probing(len(levels), levels[0].table, tuple(level.table for level in levels[1:-1]), levels[-1].table)


class _Level:
    """The n-grams of one order and their table, of which some entries are still without a probability: NaN."""

    def __init__(self, words: Rows, table: Table, places: Ints) -> None:
        self.words = words
        self.table = table
        self.places = places

    @classmethod
    def unigrams(cls, order: Order) -> "_Level":
        table = np.zeros(order.prob.size, dtype=UNIGRAM)
        table["prob"], table["backoff"] = -np.abs(order.prob), _marked(order.backoff)
        return cls(order.words, table, np.arange(order.prob.size))

    @classmethod
    def hashed(cls, order: Order, *, longest: bool) -> "_Level":
        keys, prob = _keys(order.words), -np.abs(order.prob)
        if longest:
            table, places = fill(LONGEST, keys, prob=prob)
        else:
            table, places = fill(MIDDLE, keys, prob=prob, backoff=_marked(order.backoff))
        return cls(order.words, table, places)

    def find(self, words: Rows) -> Ints:
        """The places (n,) of n-grams (n, order) in the table; -1 where there is none."""
        return words[:, 0].astype(np.intp) if self.words.shape[1] == 1 else find(self.table, _keys(words))

    def check(self, order: int) -> None:
        """Raises `RepeatedError` where an n-gram is there twice: the second is not found where it stands."""
        keys = np.sort(self.table["key"])
        if (keys[1:] == keys[:-1])[keys[1:] != 0].any():
            raise RepeatedError(order, int(np.flatnonzero(self.find(self.words) != self.places).max()))

    def completed(self, longer: Rows) -> tuple["_Level", "_Parts"]:
        """With all parts of the longer n-grams, and where these are."""
        parts = _Parts(self.find(longer[:, :-1]), self.find(longer[:, 1:]))
        added = np.concatenate((longer[parts.context < 0, :-1], longer[parts.suffix < 0, 1:]))
        if not len(added):
            return self, parts
        added = np.unique(added, axis=0)
        old = self.table[self.places]
        order = Order(
            np.concatenate((self.words, added)),
            np.concatenate((old["prob"], np.full(len(added), np.nan, dtype=np.float32))),
            np.concatenate((old["backoff"], np.zeros(len(added), dtype=np.float32))),
        )
        return _Level.hashed(order, longest=False).completed(longer)

    def back_off(self, lower: Table, parts: "_Parts") -> None:
        """Gives those n-grams a probability that have none."""
        rows = np.flatnonzero(np.isnan(self.table["prob"][self.places]))
        prob = lower["backoff"][parts.context[rows]] + lower["prob"][parts.suffix[rows]]
        self.table["prob"][self.places[rows]] = np.minimum(prob, np.float32(-0.0))


class _Parts(NamedTuple):
    """Of n-grams (n,): where their contexts and their suffixes stand in the table of the shorter ones."""

    context: Ints
    suffix: Ints


def _marked(backoff: Floats) -> Floats:
    """-0.0 in place of 0: not yet known to begin a longer n-gram."""
    return np.where(backoff == 0, np.float32(-0.0), backoff)


def _keys(words: Rows) -> Keys:
    keys = words[:, -1].astype(np.uint64)
    for column in range(words.shape[1] - 2, -1, -1):
        keys = combine(keys, words[:, column])
    return keys
