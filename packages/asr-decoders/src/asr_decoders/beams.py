"""The places of an attention beam search: which sequences are in them, and which longer ones take them next.

Arrays (B, K) are of B utterances with K places each, the best sequence first; rows (N,), N = B * K, are the same,
flat. A place that is not in use has the score -inf.
"""

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from asr_decoders.attention_rules import Floats, Ints, Scores
from asr_decoders.fusion import Fusion, Weights

GROUP = 64  # tokens of which only the best is looked at to see what it takes to be among the best
ROUNDING = 1e-6  # how much more, in sums and differences of scores, is no more
LOWEST = -1e300  # less than every score but -inf


class Places(NamedTuple):
    """The sequences that live."""

    score: Floats  # (B, K), what the step functions have given
    language: Floats  # (B, K), what of it language models have
    weights: Weights | None  # of N rows: what models of few tokens have given, see `grow`

    @classmethod
    def empty(cls, batch: int, size: int, fusion: Fusion | None) -> "Places":
        """One empty sequence for each utterance."""
        score = np.full((batch, size), -np.inf)
        score[:, 0] = 0.0
        rows = np.zeros(batch * size, dtype=np.intp)
        return cls(score, np.zeros((batch, size)), None if fusion is None else fusion.start().take(rows))

    def best(self) -> Floats:
        """(B,), the greatest of everything."""
        return self.score[:, 0] if self.weights is None else self.total().max(axis=1)

    def total(self) -> Floats:
        """(B, K) of everything."""
        if self.weights is None:
            return self.score
        return self.score + (self.weights.language + self.weights.bonus).reshape(self.score.shape)


class Grown(NamedTuple):
    """The best sequences that are one token longer."""

    places: Places
    rank: Floats  # (B, K), what they are ranked by: everything, and a lookahead
    parents: Ints  # (N,), rows; a row that is not in use has itself
    tokens: NDArray[np.int32]  # (N,), the end in a row that is not in use


class _Candidates(NamedTuple):
    """Some of the sequences one token longer, (e,), those of an utterance together."""

    flat: Ints  # places in values.ravel()
    rows: Ints  # of the parents
    tokens: Ints
    score: Floats  # what the step functions have given
    rank: Floats
    weights: Weights | None  # of e rows


def grow(places: Places, values: Scores, spoken: Scores | None, fusion: Fusion | None, end: int) -> Grown:
    """The K best of all sequences one token longer, of each utterance; of equal ones, that of the better parent
    first, then that of the lower token.

    values: (B, K, V), what the step functions give each token, -inf where it must not follow, and for the end.
    spoken: (B, K, V), what of the values is of language models; None for nothing.
    fusion: models that are asked for few tokens only. Nothing is lost by that: they are asked for the tokens that
        come into the beam if they give as much as they can at most, the most promising first, as long as any that is
        left out could come in.
    """
    batch, size, vocab_size = values.shape
    total = places.total()
    hopes = values if fusion is None else values + fusion.bound(vocab_size)
    count = size if fusion is None else 2 * size
    while True:
        flat, left = _reaching(hopes, total, count, end)
        candidates = _ask(places, values, flat, fusion)
        chosen, taken = _best(candidates.rank, candidates.rows // size, batch, size)
        rank = _spread(candidates.rank[chosen], taken, (batch, size), -np.inf)
        if fusion is None or (left <= rank[:, -1]).all():
            break
        count *= 4
    flat, rows, tokens, score, _, asked = candidates
    parents = _spread(rows[chosen], taken, (batch * size,), np.arange(batch * size))
    following = _spread(tokens[chosen].astype(np.int32), taken, (batch * size,), end)
    grown = Places(rank, places.language, None)
    if spoken is not None:
        language = places.language.ravel()[rows[chosen]] + spoken.ravel()[flat[chosen]]
        grown = grown._replace(language=_spread(language, taken, (batch, size), 0.0))
    if asked is not None:
        scores = _spread(score[chosen], taken, (batch, size), -np.inf)
        source = _spread(chosen, taken, (batch * size,), 0)
        grown = grown._replace(score=scores, weights=asked.take(source) if chosen.size else places.weights)
    return Grown(grown, rank, parents, following)


def _spread(found: NDArray[Any], rows: Ints, shape: tuple[int, ...], empty: Any) -> NDArray[Any]:
    """What was found for these of all rows, with something for the empty ones; mostly there are none."""
    if rows.size == math.prod(shape):
        return found.reshape(shape)
    array = np.full(shape, empty, dtype=found.dtype)
    array.ravel()[rows] = found
    return array


def _ask(places: Places, values: Scores, flat: Ints, fusion: Fusion | None) -> _Candidates:
    """What the models give the candidates at these places in values.ravel()."""
    rows, tokens = np.divmod(flat, values.shape[2])
    score = places.score.ravel()[rows] + values.ravel()[flat]
    if fusion is None or places.weights is None:
        return _Candidates(flat, rows, tokens, score, score, None)
    asked = fusion.step(places.weights, rows, tokens)
    rank = score + asked.language + asked.bonus + np.log(asked.factor)
    return _Candidates(flat, rows, tokens, score, rank, asked)


def _reaching(hopes: Scores, total: Floats, count: int, end: int) -> tuple[Ints, Floats]:
    """The candidates of each utterance that are at least as good as some `count` of them: places in hopes.ravel().

    Not many more than `count`; and (B,) what those that are left out fall short of, -inf where there are none.
    """
    batch, size, vocab_size = hopes.shape
    tokens = _groups(vocab_size, end)
    best = (np.maximum.reduceat(hopes, tokens[:, 0], axis=2) + total[:, :, None]).reshape(batch, -1)
    if count <= best.shape[1]:
        least = np.partition(best, best.shape[1] - count, axis=1)[:, -count]
    else:
        least = np.full(batch, -np.inf)
    needed = np.maximum(least, LOWEST) - ROUNDING  # which -inf never reaches
    reached = (best >= needed[:, None]).ravel().nonzero()[0]  # groups: only their tokens are looked at
    rows, group = np.divmod(reached, len(tokens))
    flat = tokens.take(group, axis=0) + (rows * vocab_size)[:, None]
    among = hopes.take(flat) + total.take(rows)[:, None] >= (needed if batch == 1 else needed[rows // size, None])
    return flat[among], least


@lru_cache(maxsize=16)
def _groups(vocab_size: int, end: int) -> Ints:
    """The tokens (G, GROUP) in groups; the last one is filled up with the end, whose value is -inf."""
    tokens: Ints = np.full((-(-vocab_size // GROUP), GROUP), end)
    tokens.ravel()[:vocab_size] = np.arange(vocab_size)
    tokens.flags.writeable = False  # it is kept
    return tokens


def _best(rank: Floats, utterance: Ints, batch: int, size: int) -> tuple[Ints, Ints]:
    """Which of the candidates are among the best of their utterance, and the rows that they take.

    utterance: of each candidate, rising.
    """
    if batch == 1:  # the same, quicker
        chosen = (-rank).argsort(kind="stable")[:size]
        if chosen.size and rank[chosen[-1]] == -np.inf:
            chosen = chosen[rank[chosen] > -np.inf]
        return chosen, np.arange(chosen.size)
    order = np.lexsort((-rank, utterance))  # stable
    position = np.arange(order.size) - utterance.searchsorted(utterance)
    among = ((position < size) & (rank[order] > -np.inf)).nonzero()[0]
    chosen = order[among]
    return chosen, utterance[chosen] * size + position[among]


def ending(ends: Floats, grown: Floats) -> list[tuple[int, int]]:
    """(b, k) of the ends (B, K) that are possible and among the K best of ends and grown sequences (B, K).

    grown: the best first. Of equal ones, ends are first.
    """
    size = ends.shape[1]
    hopeful = ends >= np.maximum(grown[:, -1:], LOWEST)
    if not np.count_nonzero(hopeful):
        return []
    both = np.concatenate((ends, grown), axis=1)
    rank = np.argsort(np.argsort(-both, axis=1, kind="stable"), axis=1)
    return [(b, k) for b, k in np.argwhere(hopeful).tolist() if rank[b, k] < size]
