"""CTC decoding: best path (Graves et al. 2006) and prefix beam search (Hannun et al. 2014)."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from asr_decoders import checks
from asr_decoders.interfaces import Hypothesis, LogProbs
from asr_decoders.vocabulary import Vocabulary

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

# Masses are linear numbers. A prefix whose score is 500 nats under the best leaves the beam: with the best
# kept between 1e-60 and 1e60, the smallest mass is 1e-60 * exp(-500) = 7e-278, a normal float64 of full
# precision.
RANGE = 500.0
SMALL = 1e-60


@dataclass(frozen=True, kw_only=True)
class CtcGreedy:
    """The most probable token of every frame, repeats merged, blanks dropped.

    The score is the natural logarithm of the probability of that one path, at most that of the labelling
    (`ctc_score`). `frames` are the runs of the tokens in it. Returns one hypothesis.
    """

    blank: int = 0
    vocabulary: Vocabulary | None = None

    def __post_init__(self) -> None:
        checks.integer("blank", self.blank, least=0)

    def __call__(self, log_probs: LogProbs, /) -> list[Hypothesis]:
        """(T, V) natural log-probabilities, float32 or float64 -> the one hypothesis.

        Raises ValueError for anything else, and for a frame in which every token is impossible.
        """
        array = checks.ctc_log_probs(log_probs, blank=self.blank)
        checks.possible_frames(array)
        checks.vocabulary_size(self.vocabulary, array.shape[1])
        path = array.argmax(axis=1)
        edges = np.flatnonzero(np.diff(path, prepend=-1, append=-1)).tolist()  # where runs begin; last, T
        runs = [run for run in pairwise(edges) if path[run[0]] != self.blank]
        tokens = tuple(int(path[start]) for start, _ in runs)
        score = float(array.max(axis=1).sum(dtype=np.float64))
        return [_hypothesis(tokens, score, self.vocabulary, frames=tuple(runs))]


@dataclass(frozen=True, kw_only=True)
class CtcBeam:
    """Prefix beam search: the most probable labellings, each summed over its paths through the beam.

    The score is the natural logarithm of that sum: exact where the beam holds every prefix, otherwise a
    lower bound of `ctc_score`. The beam holds the `beam_size` best prefixes after every frame, whatever
    their last frame (blank or token); which of equal ones at its edge is not defined. What cannot enter it
    is not computed, so the pruning below is for those who want another search rather than a faster one.

    n_best: how many hypotheses are returned, at most; there may be fewer prefixes.
    token_min_log_prob: in every frame, tokens below it are impossible; the frame's best token always stays.
    top_k: in every frame, only the k best tokens, blank included (and those equal to the k-th), are possible.
    beam_threshold: prefixes so many nats under the best leave the beam. None, and all above 500, means 500.
    """

    blank: int = 0
    beam_size: int = 16
    n_best: int = 1
    token_min_log_prob: float | None = None
    top_k: int | None = None
    beam_threshold: float | None = None
    vocabulary: Vocabulary | None = None

    def __post_init__(self) -> None:
        checks.integer("blank", self.blank, least=0)
        checks.n_best(self.n_best, self.beam_size)
        if self.top_k is not None:
            checks.integer("top_k", self.top_k, least=1)
        if self.token_min_log_prob is not None and not self.token_min_log_prob <= 0:
            raise ValueError(f"token_min_log_prob must be a log-probability, <= 0, got {self.token_min_log_prob}")
        if self.beam_threshold is not None and not self.beam_threshold >= 0:
            raise ValueError(f"beam_threshold must be at least 0 nats, got {self.beam_threshold}")

    def __call__(self, log_probs: LogProbs, /) -> list[Hypothesis]:
        """(T, V) natural log-probabilities, float32 or float64 -> at most n_best hypotheses, best first.

        No frames at all give the empty hypothesis with score 0. Raises ValueError for anything but
        log-probabilities, and for a frame in which every token is impossible.
        """
        array = checks.ctc_log_probs(log_probs, blank=self.blank)
        checks.possible_frames(array)
        checks.vocabulary_size(self.vocabulary, array.shape[1])
        threshold = RANGE if self.beam_threshold is None else min(self.beam_threshold, RANGE)
        trie = _Trie(array.shape[1])
        prefixes, masses, log_scale = _search(self._prune(array), self.blank, self.beam_size, threshold, trie)
        best = np.argsort(-masses.total, kind="stable")[: self.n_best]
        sequences = trie.prefixes(prefixes.node[best].tolist())
        scores = np.log(masses.total[best]) + log_scale
        return [
            _hypothesis(tokens, score, self.vocabulary)
            for tokens, score in zip(sequences, scores.tolist(), strict=True)
        ]

    def _prune(self, log_probs: LogProbs) -> LogProbs:
        """The same log-probabilities, -inf where a token is not to be considered."""
        pruned = log_probs
        if self.token_min_log_prob is not None:
            least = np.minimum(self.token_min_log_prob, log_probs.max(axis=1, keepdims=True))
            pruned = np.where(log_probs >= least, pruned, -np.inf)
        if self.top_k is not None and self.top_k < log_probs.shape[1]:
            kth = -self.top_k
            least = np.partition(log_probs, kth, axis=1)[:, kth, None]
            pruned = np.where(log_probs >= least, pruned, -np.inf)
        return pruned


# The search, in pull form.
#
# A prefix l is a sequence of tokens; its paths are those which collapse to l. After each frame their mass
# is kept in two parts: blank(l), of the paths that end in a blank, and label(l), of those that end in the
# last token of l. With p(.) the probabilities of the frame, total = blank + label, and l = k + c (the
# prefix k and then the token c):
#
#   blank'(l) = total(l) p(blank)                   a blank after any path of l
#   label'(l) = (label(l) + entry(l)) p(c)          c once more, or c anew after a path of k, where
#   entry(l)  = total(k)                            if c differs from the last token of k,
#             = blank(k)                            if not: a c right after a c is the same c
#
# All that l receives comes from l itself and from its parent k, so each prefix *pulls* its new mass:
#
#   stay    l is in the beam: the sums above (entry = 0 if k is not in the beam), `beam_size` numbers at most.
#   extend  l is not in the beam but k is: the mass is entry(l) p(c). No other prefix leads to l, so there is
#           nothing to merge, and no table of candidates.
#
# Few extensions matter. Where the beam is full, the worst prefix of the next beam is no worse than the
# worst that stays, so an extension with less is cut at once and nothing is lost. If the greatest total
# times the greatest p(c) is below the cut, there is nothing to extend and the frame is done, as three
# frames of four are in typical speech. The result is that of the search which expands everything
# (`testing.full_expansion`).
#
# Every frame is divided by its greatest probability. Then the best mass at most halves in a frame: if the
# greatest is the blank's, all of total goes to blank'; if the last token's, all of label stays and all of
# blank goes to the extension; if another's, all of total goes to the extension. And it at most triples:
# total' is not more than total + label + entry. So masses move slowly whatever the input, and dividing them
# by the best now and then replaces all logarithms; log_scale is the logarithm of what has been divided by.


class _Prefixes(NamedTuple):
    """The n prefixes in the beam: what changes only when prefixes come and go."""

    last: Ints  # (n,) last token; the blank for the empty prefix, whose label stays 0
    node: Ints  # (n,) its node in the trie
    parent: Ints  # (n,) its parent's node; -1 for the empty prefix
    parent_row: Ints  # (n,) its parent's row in the beam, -1 where the parent is not in it
    source: Ints  # (n,) where entry is found in (total, blank, 0), a vector of 2 n + 1


class _Masses(NamedTuple):
    blank: Floats  # (n,) of the paths that end in the blank
    label: Floats  # (n,) of the paths that end in the last token
    total: Floats  # (n,) of both


class _Extensions(NamedTuple):
    row: Ints  # (e,) the parents' rows in the beam
    token: Ints  # (e,)
    mass: Floats  # (e,)


_NONE = _Extensions(np.zeros(0, dtype=np.intp), np.zeros(0, dtype=np.intp), np.zeros(0))
_ZERO = np.zeros(1)


class _Trie:
    """Every prefix that was ever in the beam, as a number; the empty one is 0.

    A prefix that leaves the beam and comes back has its old number, by which its children know it.
    """

    def __init__(self, vocab_size: int) -> None:
        self._vocab_size = vocab_size
        self._nodes: dict[int, int] = {}  # parent * V + token -> node; in order, nodes being 1, 2, 3 ...

    def children(self, nodes: Ints, tokens: Ints) -> Ints:
        """The nodes of the prefixes one token longer; new ones where there are none yet."""
        known = self._nodes
        keys = (nodes * self._vocab_size + tokens).tolist()
        return np.array([known.setdefault(key, len(known) + 1) for key in keys], dtype=np.intp)

    def prefixes(self, nodes: Iterable[int]) -> list[tuple[int, ...]]:
        """The tokens of the nodes."""
        keys = list(self._nodes)
        found = []
        for node in nodes:
            backwards = []
            while node:
                node, token = divmod(keys[node - 1], self._vocab_size)
                backwards.append(token)
            found.append(tuple(reversed(backwards)))
        return found


def _search(
    log_probs: LogProbs, blank: int, beam_size: int, threshold: float, trie: _Trie
) -> tuple[_Prefixes, _Masses, float]:
    """The beam after the last frame. The scores are log(total) + log_scale."""
    peak = log_probs.max(axis=1, keepdims=True).astype(np.float64)
    frames = np.subtract(log_probs, peak, dtype=np.float64)  # (T, V), the greatest of each frame is 0
    p_blank = np.exp(frames[:, blank]).tolist()
    p_token = np.exp(np.delete(frames, blank, axis=1).max(axis=1, initial=-np.inf)).tolist()
    log_scale = float(peak.sum())
    least_ratio = math.exp(-threshold)

    empty = np.zeros(1, dtype=np.intp)
    prefixes = _link(last=empty + blank, node=empty, parent=empty - 1)
    masses = _Masses(blank=np.ones(1), label=np.zeros(1), total=np.ones(1))
    best = 1.0
    for t, row in enumerate(frames):
        stay = _stay(prefixes, masses, row, p_blank[t])
        worst = float(stay.total.min())
        cut = float(stay.total.max()) * least_ratio
        if stay.total.size == beam_size:
            cut = max(cut, worst)
        new = _extend(prefixes, masses, row, blank, cut) if best * p_token[t] > cut else _NONE
        if new.mass.size or worst < cut:
            prefixes, masses = _select(prefixes, stay, new, beam_size, least_ratio, trie)
        else:
            masses = stay
        best = float(masses.total.max())
        if not SMALL < best < 1 / SMALL:
            masses = _Masses(masses.blank / best, masses.label / best, masses.total / best)
            log_scale += math.log(best)
            best = 1.0
    return prefixes, masses, log_scale


def _link(*, last: Ints, node: Ints, parent: Ints) -> _Prefixes:
    """Finds the rows of the parents."""
    n = node.size
    order = np.argsort(node)
    place = np.searchsorted(node[order], parent)
    row = order[np.minimum(place, n - 1)]
    in_beam = node[row] == parent
    source = np.where(in_beam, np.where(last[row] == last, n + row, row), 2 * n)
    return _Prefixes(last, node, parent, np.where(in_beam, row, -1), source)


def _stay(prefixes: _Prefixes, masses: _Masses, row: Floats, p_blank: float) -> _Masses:
    """The masses of the same prefixes one frame later."""
    entry = np.concatenate((masses.total, masses.blank, _ZERO))[prefixes.source]
    blank = masses.total * p_blank
    label = (masses.label + entry) * np.exp(row[prefixes.last])
    return _Masses(blank, label, blank + label)


def _extend(prefixes: _Prefixes, masses: _Masses, row: Floats, blank: int, cut: float) -> _Extensions:
    """The prefixes one token longer that are not in the beam and have more mass than the cut."""
    least = math.log(cut / float(masses.total.max())) - 1e-9 if cut > 0 else -math.inf  # 1e-9 is for rounding
    tokens = np.flatnonzero(row > least)
    tokens = tokens[tokens != blank]
    p = np.exp(row[tokens])
    mass = np.multiply.outer(masses.total, p)  # (n, tokens)

    column = np.full(row.size, -1)
    column[tokens] = np.arange(tokens.size)
    own = column[prefixes.last]  # the column of every prefix's last token
    again = np.flatnonzero(own >= 0)
    mass[again, own[again]] = masses.blank[again] * p[own[again]]  # a c after a c needs a blank between
    child = again[prefixes.parent_row[again] >= 0]
    mass[prefixes.parent_row[child], own[child]] = 0.0  # this extension is in the beam: it stays
    rows, columns = np.nonzero(mass > cut)
    return _Extensions(rows, tokens[columns], mass[rows, columns])


def _select(
    prefixes: _Prefixes, stay: _Masses, new: _Extensions, beam_size: int, least_ratio: float, trie: _Trie
) -> tuple[_Prefixes, _Masses]:
    """The next beam: the best of those that stay and of the extensions."""
    total = np.concatenate((stay.total, new.mass))
    chosen = np.arange(total.size)
    if total.size > beam_size:
        chosen = np.argpartition(total, total.size - beam_size)[total.size - beam_size :]
    chosen = chosen[total[chosen] >= total[chosen].max() * least_ratio]

    n = prefixes.node.size
    old, added = chosen[chosen < n], chosen[chosen >= n] - n
    parent, token, mass = prefixes.node[new.row[added]], new.token[added], new.mass[added]
    linked = _link(
        last=np.concatenate((prefixes.last[old], token)),
        node=np.concatenate((prefixes.node[old], trie.children(parent, token))),
        parent=np.concatenate((prefixes.parent[old], parent)),
    )
    blank = np.concatenate((stay.blank[old], np.zeros(added.size)))
    label = np.concatenate((stay.label[old], mass))
    return linked, _Masses(blank, label, np.concatenate((stay.total[old], mass)))


def _hypothesis(
    tokens: tuple[int, ...],
    score: float,
    vocabulary: Vocabulary | None,
    frames: tuple[tuple[int, int], ...] = (),
) -> Hypothesis:
    text = "" if vocabulary is None else vocabulary.text(tokens)
    return Hypothesis(tokens=tokens, score=score, text=text, frames=frames)
