"""CTC prefix beam search (Hannun et al. 2014) in numpy. `prefixes.py` has the recursion.

Few extensions matter. Where the beam is full, the worst prefix of the next beam is no worse than the worst that
stays, so an extension with less is cut at once and nothing is lost. Nor is the gain asked for where the mass would
be cut even with the greatest gain that a token can have. If the greatest total times the greatest p(c) is below the
cut, there is nothing to extend and the frame is done, as three frames of four are in typical speech. The result is
that of the search which expands everything (`testing.full_expansion`).

Masses are linear numbers. Every frame is divided by its greatest probability. Then, without gains, the best mass at
most halves in a frame: if the greatest is the blank's, all of total goes to blank'; if the last token's, all of
label stays and all of blank goes to the extension; if another's, all of total goes to the extension. And it at most
triples: total' is not more than total + label + entry. So masses move slowly whatever the input, and dividing them
by the best now and then replaces all logarithms; log_scale is the logarithm of what has been divided by. Gains move
them further, by the weight of a step at a time, for which float64 has room.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, NamedTuple, Protocol, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from asr_decoders.align import best_path
from asr_decoders.frames import Preparation
from asr_decoders.fusion import Fusion, Weights
from asr_decoders.prefixes import Extensions, Masses, Prefixes, extend, link, stay
from asr_decoders.trie import EMPTY, Trie, longer, shared

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
Array = NDArray[np.floating[Any]]
S = TypeVar("S")

# A prefix whose score is 500 nats under the best leaves the beam: with the best kept between 1e-60 and 1e60, the
# smallest mass is 1e-60 * exp(-500) = 7e-278, a normal float64 of full precision.
RANGE = 500.0
SMALL = 1e-60
SLACK = 1e-9  # nats, for rounding where nothing must be lost


class Path(NamedTuple):
    """A prefix in the beam, and the parts of its score."""

    tokens: tuple[int, ...]
    acoustic: float
    language: float
    bonus: float


class Backend(Protocol[S]):
    """The search of one `CtcBeam`. A state is a value, which pickles: no method changes what it was given."""

    def start(self) -> S:
        """The beam before the first frame."""
        ...

    def step(self, state: S, log_probs: Array, /) -> S:
        """The beam after (T, V) frames more, which have been checked; float32 or float64."""
        ...

    def settle(self, state: S, tokens: Sequence[int], /) -> tuple[S, tuple[int, ...]]:
        """Takes the past out of the beam, that long streams may be decoded in bounded memory.

        Prefixes that do not begin with the tokens leave the beam (at least one begins so). The tokens that all
        others begin with are returned, and are no part of the new state.
        """
        ...

    def paths(self, state: S, count: int, /, *, final: bool) -> list[Path]:
        """At most `count` prefixes: with the scores of the whole utterance, best first, of those that have not the
        probability 0; or else (not final) by their rank in the beam, with the scores that they have so far.
        """
        ...

    def best_path(self, array: Array, tokens: Sequence[int], state: int | None, /) -> Ints:
        """`align.best_path` with the search's blank."""
        ...


@dataclass(frozen=True, eq=False)
class State:
    """A beam between two frames."""

    trie: Trie
    prefixes: Prefixes
    masses: Masses
    log_scale: float


@dataclass(frozen=True, kw_only=True)
class NumpySearch:
    """The reference `Backend`. beam_threshold: in nats, at most RANGE."""

    blank: int
    beam_size: int
    beam_threshold: float
    prepare: Preparation
    fusion: Fusion | None

    def start(self) -> State:
        weights = None if self.fusion is None else self.fusion.start()
        node, key = np.zeros(1, dtype=np.intp), np.array([EMPTY])
        prefixes = link(node + self.blank, node, key, ~key, weights)
        return State(Trie(), prefixes, Masses(blank=np.ones(1), label=np.zeros(1), total=np.ones(1)), 0.0)

    def step(self, state: State, log_probs: Array, /) -> State:
        _check(state)
        frames, level = self.prepare(log_probs)
        p_blank = np.exp(frames[:, self.blank].copy()).tolist()
        frames[:, self.blank] = -np.inf  # from here on, of tokens alone
        bound = None if self.fusion is None else self.fusion.bound(frames.shape[1]) + SLACK
        most = None if bound is None else np.exp(bound)
        reach = frames if bound is None else frames + bound
        p_reach = np.exp(reach.max(axis=1)).tolist()
        least_ratio = math.exp(-self.beam_threshold)

        trie, prefixes, masses, log_scale = state.trie, state.prefixes, state.masses, state.log_scale
        best = float(masses.total.max())
        for t, log_peak in enumerate(level.tolist()):
            log_scale += log_peak
            same = stay(prefixes, masses, frames[t], p_blank[t])
            rank = same.total if prefixes.weights is None else same.total * prefixes.weights.factor
            worst, top = float(rank.min()), float(rank.max())
            cut = top * least_ratio
            if rank.size == self.beam_size:
                cut = max(cut, worst)
            new = _NONE
            if best * p_reach[t] > cut:
                tokens = (reach[t] > _log_ratio(cut, best)).nonzero()[0]
                new = extend(prefixes, masses, frames[t], tokens, cut, most)
                if self.fusion is not None and new.mass.size:
                    new = self._weigh(self.fusion, new, rank, cut)
            if new.mass.size or worst < cut:
                prefixes, masses = self._select(trie, prefixes, same, rank, new, least_ratio)
            else:
                masses = same
            best = top if masses.total is rank else float(masses.total.max())
            if not SMALL < best < 1 / SMALL:
                if best == 0:
                    raise ValueError("no hypothesis is possible any more: the language model gives -inf to all of them")
                masses = Masses(masses.blank / best, masses.label / best, masses.total / best)
                log_scale += math.log(best)
                best = 1.0
        return State(trie, prefixes, masses, log_scale)

    def _weigh(self, fusion: Fusion, candidates: Extensions, rank: Floats, cut: float) -> Extensions:
        """The candidates with their weights; none, where none of them ranks above the cut.

        Where they are many they are weighed from the best on, and those that rank high raise the cut for the others.
        """
        count = max(2 * self.beam_size, 64)
        if candidates.mass.size <= count:
            weighed = _weighed(fusion, candidates)
            return weighed if weighed.rank.max() > cut else _NONE
        order = np.argsort(-candidates.rank, kind="stable")
        found: list[Extensions] = []
        while order.size:
            some, order = order[:count], order[count:]
            count *= 2  # a few calls are enough
            some = some[candidates.rank[some] > cut]
            if not some.size:
                break
            weighed = _weighed(fusion, candidates.take(some))
            found.append(weighed)
            rank = np.concatenate((rank, found[-1].rank))
            if rank.size > self.beam_size:
                cut = max(cut, float(np.partition(rank, rank.size - self.beam_size)[rank.size - self.beam_size]))
        return _join(found)

    def _select(
        self, trie: Trie, prefixes: Prefixes, same: Masses, rank: Floats, new: Extensions, least_ratio: float
    ) -> tuple[Prefixes, Masses]:
        """The next beam: the best of those that stay, which rank (n,), and of the extensions."""
        rank = np.concatenate((rank, new.rank))
        chosen = np.arange(rank.size)
        if rank.size > self.beam_size:
            chosen = rank.argpartition(rank.size - self.beam_size)[rank.size - self.beam_size :]
            rank = rank[chosen]
        chosen = chosen[rank >= rank.max() * least_ratio]

        n = prefixes.node.size
        stays = chosen < n
        old, added = chosen[stays], chosen[~stays] - n
        row, token, mass = new.row[added], new.token[added], new.mass[added]
        weights = prefixes.weights
        if weights is not None:
            weights = weights.take(old)
            weights = weights if new.weights is None else weights.join(new.weights.take(added))
        parent = prefixes.key[row]
        linked = link(
            np.concatenate((prefixes.last[old], token)),
            np.concatenate((prefixes.node[old], trie.add(prefixes.node[row], token))),
            np.concatenate((prefixes.key[old], longer(parent, token))),
            np.concatenate((prefixes.parent[old], parent)),
            weights,
        )
        blank = np.concatenate((same.blank[old], np.zeros(added.size)))
        label = np.concatenate((same.label[old], mass))
        return linked, Masses(blank, label, np.concatenate((same.total[old], mass)))

    def settle(self, state: State, tokens: Sequence[int], /) -> tuple[State, tuple[int, ...]]:
        prefixes = state.prefixes
        spelt = [state.trie.tokens(node) for node in prefixes.node.tolist()]
        rows = np.array([row for row, prefix in enumerate(spelt) if prefix[: len(tokens)] == tuple(tokens)])
        spelt = [spelt[row] for row in rows]
        first, last = min(spelt), max(spelt)  # all others are between, and begin with what both begin with
        common = shared(first, last)
        trie, node = Trie.of(prefix[common:] for prefix in spelt)
        weights = None if prefixes.weights is None else prefixes.weights.take(rows)
        linked = link(prefixes.last[rows], node, prefixes.key[rows], prefixes.parent[rows], weights)
        masses = Masses(*(mass[rows] for mass in state.masses))
        return State(trie, linked, masses, state.log_scale), first[:common]

    def best_path(self, array: Array, tokens: Sequence[int], state: int | None, /) -> Ints:
        return best_path(array, tokens, blank=self.blank, state=state)

    def paths(self, state: State, count: int, /, *, final: bool) -> list[Path]:
        _check(state)
        prefixes, weights = state.prefixes, state.prefixes.weights
        acoustic = np.log(state.masses.total) + state.log_scale
        language = bonus = np.zeros(acoustic.size)
        rank = acoustic
        if weights is not None and self.fusion is not None:
            language, bonus = weights.language, weights.bonus
            acoustic = acoustic - language - bonus
            rank = rank + np.log(weights.factor)
            if final:
                last_language, last_bonus = self.fusion.finish(weights)
                language, bonus = language + last_language, bonus + last_bonus
                rank = acoustic + language + bonus
        order = np.argsort(-rank, kind="stable")
        best = order[rank[order] > -np.inf][:count]
        return [
            Path(state.trie.tokens(node), *parts)
            for node, *parts in zip(
                *(column[best].tolist() for column in (prefixes.node, acoustic, language, bonus)), strict=True
            )
        ]


_NONE = Extensions(np.zeros(0, dtype=np.intp), np.zeros(0, dtype=np.intp), np.zeros(0), np.zeros(0), None)


def _check(state: State) -> None:
    if not isinstance(state, State):
        raise ValueError(f"a state of the numpy search expected, got {type(state).__name__}: of another backend?")


def _log_ratio(cut: float, best: float) -> float:
    return math.log(cut / best) - SLACK if cut > 0 else -math.inf


def _weighed(fusion: Fusion, candidates: Extensions) -> Extensions:
    """Candidates of `_extend` with their weights."""
    row, token, mass, _, of_beam = candidates
    weights = fusion.step(cast(Weights, of_beam), row, token)
    mass = mass * weights.gain
    return Extensions(row, token, mass, mass * weights.factor, weights)


def _join(parts: list[Extensions]) -> Extensions:
    weights = [part.weights for part in parts if part.weights is not None]
    row, token, mass, rank = (np.concatenate(column) for column in zip(*(part[:4] for part in parts), strict=True))
    return Extensions(row, token, mass, rank, reduce(Weights.join, weights))
