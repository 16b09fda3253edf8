"""The places of an attention beam search: which sequences are in them, and which longer ones take them next.

Arrays (B, K) are of B utterances with K places each, the best sequence first; rows (N,), N = B * K, are the same,
flat. A place that is not in use has the score -inf.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from asr_decoders.attention_rules import Floats, Ints, Scores
from asr_decoders.fusion import Fusion, Weights

GROUP = 64  # tokens of which only the best is looked at to see what it takes to be among the best
ROUNDING = 1e-6  # how much more, in sums and differences of scores, is no more


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

    values: (B, K, V), what the step functions give each token, -inf where it must not follow.
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
        flat, left = _reaching(hopes, total, count)
        candidates = _ask(places, values, flat, fusion)
        chosen, taken = _best(candidates.rank, candidates.rows // size, batch, size)
        rank = np.full((batch, size), -np.inf)
        rank.ravel()[taken] = candidates.rank[chosen]
        if fusion is None or (left <= rank[:, -1]).all():
            break
        count *= 4
    flat, rows, tokens, score, _, asked = candidates
    parents, following = np.arange(batch * size), np.full(batch * size, end, dtype=np.int32)
    parents[taken], following[taken] = rows[chosen], tokens[chosen]
    grown = Places(rank, places.language, None)
    if spoken is not None:
        language = np.zeros((batch, size))
        language.ravel()[taken] = places.language.ravel()[rows[chosen]] + spoken.ravel()[flat[chosen]]
        grown = grown._replace(language=language)
    if asked is not None:
        scores, source = np.full((batch, size), -np.inf), np.zeros(batch * size, dtype=np.intp)
        scores.ravel()[taken], source[taken] = score[chosen], chosen
        grown = grown._replace(score=scores, weights=asked.take(source) if chosen.size else places.weights)
    return Grown(grown, rank, parents, following)


def _ask(places: Places, values: Scores, flat: Ints, fusion: Fusion | None) -> _Candidates:
    """What the models give the candidates at these places in values.ravel()."""
    rows = flat // values.shape[2]
    tokens = flat - rows * values.shape[2]
    score = places.score.ravel()[rows] + values.ravel()[flat]
    if fusion is None or places.weights is None:
        return _Candidates(flat, rows, tokens, score, score, None)
    asked = fusion.step(places.weights, rows, tokens)
    rank = score + asked.language + asked.bonus + np.log(asked.factor)
    return _Candidates(flat, rows, tokens, score, rank, asked)


def _reaching(hopes: Scores, total: Floats, count: int) -> tuple[Ints, Floats]:
    """The candidates of each utterance that are at least as good as some `count` of them: places in hopes.ravel().

    Not many more than `count`; and (B,) what those that are left out fall short of, -inf where there are none.
    """
    batch, _, vocab_size = hopes.shape
    groups = np.maximum.reduceat(hopes, np.arange(0, vocab_size, GROUP), axis=2)
    best = (total[:, :, None] + groups).reshape(batch, -1)
    least = np.full(batch, -np.inf)
    if count <= best.shape[1]:
        best.partition(best.shape[1] - count, axis=1)
        least = best[:, -count]
    # Without a sequence in the place, and with few candidates, -inf - -inf is NaN, which nothing reaches.
    with np.errstate(invalid="ignore"):
        needed = np.nextafter((least[:, None] - total - ROUNDING).astype(hopes.dtype), -np.inf)
        flat = (hopes >= needed[:, :, None]).ravel().nonzero()[0]
    if least.min() == -np.inf:
        flat = flat[hopes.ravel()[flat] > -np.inf]
    return flat, least


def _best(rank: Floats, utterance: Ints, batch: int, size: int) -> tuple[Ints, Ints]:
    """Which of the candidates are among the best of their utterance, and the rows that they take.

    utterance: of each candidate, rising.
    """
    if batch == 1:  # the same, quicker
        chosen = (-rank).argsort(kind="stable")[:size]
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
    hopeful = (ends >= grown[:, -1:]) & (ends > -np.inf)
    if not hopeful.any():
        return []
    both = np.concatenate((ends, grown), axis=1)
    rank = np.argsort(np.argsort(-both, axis=1, kind="stable"), axis=1)
    return [(b, k) for b, k in np.argwhere(hopeful).tolist() if rank[b, k] < size]
