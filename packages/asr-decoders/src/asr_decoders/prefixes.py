"""The prefixes in the beam of a CTC search and what a frame does to them: the recursion, in numpy.

A prefix l is a sequence of tokens; its paths are those which collapse to l. After each frame their mass is kept
in two parts: blank(l), of the paths that end in a blank, and label(l), of those that end in the last token of l.
With p(.) the probabilities of the frame, total = blank + label, and l = k + c (the prefix k and then the token c):

  blank'(l) = total(l) p(blank)                   a blank after any path of l
  label'(l) = (label(l) + entry(l)) p(c)          c once more, or c anew after a path of k, where
  entry(l)  = total(k) gain(l)                    if c differs from the last token of k,
            = blank(k) gain(l)                    if not: a c right after a c is the same c

gain(l) = exp(w(k, c)) is what language models and hotwords make of the step (`fusion.py`), 1 without them.

All that l receives comes from l itself and from its parent k, so each prefix *pulls* its new mass:

  stay    l is in the beam: the sums above (entry = 0 if k is not in the beam), `beam_size` numbers at most.
  extend  l is not in the beam but k is: the mass is entry(l) p(c). No other prefix leads to l, so there is
          nothing to merge, and no table of candidates.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from asr_decoders.fusion import Weights
from asr_decoders.trie import Keys

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]


class Prefixes(NamedTuple):
    """The n prefixes in the beam: what changes only when prefixes come and go."""

    last: Ints  # (n,) last token; the blank for the empty prefix, whose label stays 0
    node: Ints  # (n,) its number in the trie
    key: Keys  # (n,) by which its children know it
    parent: Keys  # (n,) its parent's key; of the empty prefix, none's
    source: Ints  # (n,) where entry is found in (total, blank, 0), a vector of 2 n + 1: there is its parent's row
    weights: Weights | None  # of language models and hotwords, if there are any


class Masses(NamedTuple):
    blank: Floats  # (n,) of the paths that end in the blank
    label: Floats  # (n,) of the paths that end in the last token
    total: Floats  # (n,) of both


class Extensions(NamedTuple):
    row: Ints  # (e,) the parents' rows in the beam
    token: Ints  # (e,)
    mass: Floats  # (e,)
    rank: Floats  # (e,) the mass with the lookahead
    weights: Weights | None

    def take(self, some: Ints) -> "Extensions":
        """Some of them; not of the weights."""
        return Extensions(self.row[some], self.token[some], self.mass[some], self.rank[some], self.weights)


ZERO = np.zeros(1)


def link(last: Ints, node: Ints, key: Keys, parent: Keys, weights: Weights | None) -> Prefixes:
    """Finds the rows of the parents."""
    n = node.size
    order = key.argsort()
    place = key.searchsorted(parent, sorter=order)
    place[place == n] = 0
    row = order[place]
    source = np.where(key[row] == parent, row + n * (last[row] == last), 2 * n)
    return Prefixes(last, node, key, parent, source, weights)


def stay(prefixes: Prefixes, masses: Masses, row: Floats, p_blank: float) -> Masses:
    """The masses of the same prefixes one frame later."""
    entry = np.concatenate((masses.total, masses.blank, ZERO))[prefixes.source]
    if prefixes.weights is not None:
        entry *= prefixes.weights.gain
    blank = masses.total * p_blank
    label = (masses.label + entry) * np.exp(row[prefixes.last])
    return Masses(blank, label, blank + label)


def extend(
    prefixes: Prefixes, masses: Masses, row: Floats, tokens: Ints, cut: float, most: Floats | None
) -> Extensions:
    """The prefixes longer by one of the tokens that are not in the beam and may rank above the cut.

    most: (V,) the greatest gain that each token can have, if there are gains. The extensions come without; their rank
    is the greatest that they can have, and their weights are those of the beam.
    """
    p = np.exp(row[tokens])
    mass = np.multiply.outer(masses.total, p).ravel()  # (n * tokens,)
    column = np.full(row.size, -1)
    column[tokens] = np.arange(tokens.size)
    own = column[prefixes.last]  # the column of every prefix's last token
    again = (own >= 0).nonzero()[0]
    own = own[again]
    mass[again * tokens.size + own] = masses.blank[again] * p[own]  # a c after a c needs a blank between
    n = masses.total.size
    source = prefixes.source[again]
    mass[(source % n * tokens.size + own)[source < 2 * n]] = 0.0  # this extension is in the beam: it stays

    rank = mass if most is None else (mass.reshape(-1, tokens.size) * most[tokens]).ravel()
    places = (rank > cut).nonzero()[0]
    rows, columns = np.divmod(places, tokens.size)
    return Extensions(rows, tokens[columns], mass[places], rank[places], prefixes.weights)
