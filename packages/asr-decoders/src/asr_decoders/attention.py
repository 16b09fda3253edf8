"""Decoding of autoregressive models, such as listen, attend and spell, through a step function.

Both searches look for a sequence of tokens followed by the end token, at most `max_lengths` tokens without
the end. At that length the end is the only choice left. The begin token, unless it is the end token too, is
never chosen.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from asr_decoders import checks, nest
from asr_decoders.interfaces import Hypothesis, Step
from asr_decoders.vocabulary import Vocabulary

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
Bools = NDArray[np.bool_]
LengthNorm = Literal["none", "gnmt", "power"]


@dataclass(frozen=True, kw_only=True)
class AttentionGreedy:
    """The most probable token at every step, until the end token.

    The score is the natural logarithm of the probability of the tokens and the end.
    min_length: tokens before which the end is not chosen.
    """

    begin: int
    end: int
    min_length: int = 0
    vocabulary: Vocabulary | None = None

    def __post_init__(self) -> None:
        _check_ids(self.begin, self.end, self.min_length)

    def __call__(
        self, step: Step, state: Any, *, batch: int, max_lengths: int | Sequence[int] | NDArray[Any]
    ) -> list[list[Hypothesis]]:
        """One hypothesis in a list for each of the B = `batch` utterances.

        step: called with tokens (B,) int32 and the state; row b is utterance b.
        max_lengths: the most tokens, without the end; one integer or (B,).

        A hypothesis is not `finished` where neither the end nor, under max_lengths, another token was
        possible. Raises ValueError where the step does not return log-probabilities.
        """
        limits = _limits(max_lengths, batch, self.min_length)
        rule = _Rule(self.begin, self.end, self.min_length, limits, self.vocabulary)
        tokens = np.full(batch, self.begin, dtype=np.int32)
        history = np.zeros((batch, int(limits.max())), dtype=np.int32)
        scores = np.zeros(batch)
        live = np.ones(batch, dtype=np.bool_)
        found: list[list[Hypothesis]] = [[] for _ in range(batch)]
        for length in range(int(limits.max()) + 1):
            output, state = step(tokens, state)
            log_probs = rule.log_probs(output, live[:, None], length)[:, 0]  # (B, V)
            tokens = log_probs.argmax(axis=1).astype(np.int32)
            gains = log_probs.max(axis=1)
            for b in np.flatnonzero(live):
                possible = bool(np.isfinite(gains[b]))
                if possible:
                    scores[b] += gains[b]
                if not possible or tokens[b] == self.end:
                    found[b] = [rule.hypothesis(history[b, :length], scores[b], finished=possible)]
                    live[b] = False
                else:
                    history[b, length] = tokens[b]
            if not live.any():
                break
        return found


@dataclass(frozen=True, kw_only=True)
class AttentionBeam:
    """Beam search over the sequences that a step function makes, for a batch of utterances at once.

    At each step the `beam_size` best unfinished sequences of every utterance live on, ranked by their
    log-probability. One that ends, with a rank among the `beam_size` best of all candidates, is finished:
    it leaves the beam once and for all. Hypotheses are ranked by

        score = log-probability / norm(length),  length counting the tokens and the end

    length_norm: "none": 1; "gnmt": ((5 + length) / 6) ** length_penalty (Wu et al. 2016, equation 14);
        "power": length ** length_penalty.
    length_penalty: the exponent, at least 0; greater favours longer hypotheses.
    n_best: how many hypotheses are returned for each utterance, at most.
    min_length: tokens before which the end is not a candidate.

    An utterance is done when no unfinished sequence can enter its n best any more. A log-probability only
    falls as the sequence grows, and dividing by the norm of the greatest length makes the most of it, so
    that

        log-probability of the best unfinished sequence / norm(max_length + 1)

    is a bound that no later hypothesis exceeds. Stopping by it changes no result.
    """

    begin: int
    end: int
    beam_size: int
    n_best: int = 1
    length_norm: LengthNorm = "none"
    length_penalty: float = 0.0
    min_length: int = 0
    vocabulary: Vocabulary | None = None

    def __post_init__(self) -> None:
        _check_ids(self.begin, self.end, self.min_length)
        checks.n_best(self.n_best, self.beam_size)
        if self.length_norm not in get_args(LengthNorm):
            raise ValueError(f"length_norm must be one of {', '.join(get_args(LengthNorm))}, got {self.length_norm!r}")
        if not 0 <= self.length_penalty < np.inf:
            raise ValueError(f"length_penalty must be a finite number of at least 0, got {self.length_penalty}")
        if self.length_norm == "none" and self.length_penalty:
            raise ValueError(f"length_penalty {self.length_penalty} needs a length_norm: choose gnmt or power")

    def __call__(
        self, step: Step, state: Any, *, batch: int, max_lengths: int | Sequence[int] | NDArray[Any]
    ) -> list[list[Hypothesis]]:
        """The n best hypotheses of each of the B = `batch` utterances, best first, all different.

        step: called with tokens (N,) int32 and the state, N = B * beam_size; row b * beam_size + k is beam k
            of utterance b.
        state: of N rows (`repeat` makes them of B). After each step its leaves with the leading dimension N
            are put in the order of the new beams; others, e.g. an encoder's output (B, T, D) shared by the
            beams, are left alone. An array whose leading dimension is N by chance must not be in the state:
            let the step close over it.
        max_lengths: the most tokens, without the end; one integer or (B,).

        Where no sequence of the beam could end (every end had the probability 0), the best unfinished ones
        are returned, with `finished` False and a score without the end. Raises ValueError where the step
        does not return log-probabilities.
        """
        limits = _limits(max_lengths, batch, self.min_length)
        rule = _Rule(self.begin, self.end, self.min_length, limits, self.vocabulary)
        tokens = np.full(batch * self.beam_size, self.begin, dtype=np.int32)
        history = np.zeros((batch, self.beam_size, int(limits.max())), dtype=np.int32)
        scores = np.full((batch, self.beam_size), -np.inf)
        scores[:, 0] = 0.0  # one empty sequence; an unused place has the score -inf
        found: list[list[Hypothesis]] = [[] for _ in range(batch)]
        live = np.ones(batch, dtype=np.bool_)
        for length in range(int(limits.max()) + 1):
            output, state = step(tokens, state)
            totals = scores[:, :, None] + rule.log_probs(output, np.isfinite(scores) & live[:, None], length)
            ends = totals[:, :, self.end].copy()
            totals[:, :, self.end] = -np.inf
            grown, parents, grown_tokens = _best(totals, self.beam_size)
            ending = _among_best(ends, grown)
            for b in np.flatnonzero(live):
                for k in np.flatnonzero(ending[b]):
                    score = ends[b, k] / self._norm(length + 1)
                    found[b].append(rule.hypothesis(history[b, k, :length], score))
                found[b] = sorted(found[b], key=_score, reverse=True)[: self.n_best]
                live[b] = not self._done(found[b], float(grown[b, 0]), int(limits[b]))
                if np.isneginf(grown[b, 0]) and not found[b]:
                    found[b] = self._unfinished(rule, scores[b], history[b, :, :length])
            if not live.any():
                break
            places = np.arange(batch)[:, None]
            history = history[places, parents]
            history[:, :, length] = grown_tokens
            scores, tokens = grown, grown_tokens.reshape(-1).astype(np.int32)
            state = nest.reorder(state, (places * self.beam_size + parents).reshape(-1))
        return found

    def _norm(self, length: int) -> float:
        if self.length_norm == "gnmt":
            return float(((5 + length) / 6) ** self.length_penalty)
        return float(length**self.length_penalty)  # "none": the exponent is 0

    def _done(self, found: list[Hypothesis], best: float, limit: int) -> bool:
        if np.isneginf(best):
            return True
        return len(found) == self.n_best and found[-1].score >= best / self._norm(limit + 1)

    def _unfinished(self, rule: "_Rule", scores: Floats, history: NDArray[np.int32]) -> list[Hypothesis]:
        """The best sequences (beam_size, length) as they are; scores (beam_size,) are in order already."""
        norm = self._norm(max(history.shape[1], 1))
        alive = np.flatnonzero(np.isfinite(scores))[: self.n_best]
        return [rule.hypothesis(history[k], scores[k] / norm, finished=False) for k in alive]


@dataclass(frozen=True)
class _Rule:
    """What may be chosen when, and what a choice is worth."""

    begin: int
    end: int
    min_length: int
    limits: Ints  # (B,)
    vocabulary: Vocabulary | None

    def log_probs(self, output: Any, used: Bools, length: int) -> Floats:
        """The step's output (N, V) as (B, N / B, V), -inf where a token may not follow `length` tokens.

        used: (B, N / B), which rows count; whatever is in the others, they come back as -inf.
        """
        log_probs = nest.to_numpy(output)
        size = log_probs.shape[-1] if log_probs.ndim == 2 else 0
        if log_probs.ndim != 2 or len(log_probs) != used.size or self.end >= size:
            raise ValueError(
                f"log-probabilities ({used.size}, V) with V > end = {self.end} expected of the step, "
                f"got shape {log_probs.shape}"
            )
        checks.vocabulary_size(self.vocabulary, size)
        log_probs = log_probs.reshape(*used.shape, size)
        peak = log_probs.max(axis=-1)
        bad = peak[used & ~(peak <= checks.ROUNDING)]  # NaN is bad, too
        if bad.size:
            raise ValueError(
                f"log-probabilities expected of the step (natural log, at most 0), got {bad[0]:.6g} "
                f"after {length} tokens: apply log_softmax to logits"
            )
        log_probs[~used] = -np.inf
        if self.begin != self.end and self.begin < size:
            log_probs[:, :, self.begin] = -np.inf
        if length < self.min_length:
            log_probs[:, :, self.end] = -np.inf
        last = self.limits <= length
        log_probs[last] = np.where(np.arange(size) == self.end, log_probs[last], -np.inf)
        return log_probs

    def hypothesis(self, tokens: NDArray[np.int32], score: float, *, finished: bool = True) -> Hypothesis:
        ids = tuple(tokens.tolist())
        text = "" if self.vocabulary is None else self.vocabulary.text(ids)
        return Hypothesis(tokens=ids, score=float(score), text=text, finished=finished)


def _best(totals: Floats, beam_size: int) -> tuple[Floats, Ints, Ints]:
    """The best of (B, beam_size, V), best first: their scores, parents and tokens, (B, beam_size) each."""
    size = totals.shape[2]
    flat = totals.reshape(len(totals), -1)
    chosen = np.argpartition(flat, flat.shape[1] - beam_size, axis=1)[:, flat.shape[1] - beam_size :]
    chosen.sort(axis=1)  # equal scores: the better parent first, then the lower id
    order = np.argsort(-np.take_along_axis(flat, chosen, axis=1), axis=1, kind="stable")
    chosen = np.take_along_axis(chosen, order, axis=1)
    return np.take_along_axis(flat, chosen, axis=1), chosen // size, chosen % size


def _among_best(ends: Floats, grown: Floats) -> Bools:
    """Which of the ends (B, beam_size) are possible and among the beam_size best of ends and grown."""
    both = np.concatenate((ends, grown), axis=1)
    rank = np.argsort(np.argsort(-both, axis=1, kind="stable"), axis=1)
    beam_size = ends.shape[1]
    among: Bools = np.isfinite(ends) & (rank[:, :beam_size] < beam_size)
    return among


def _score(hypothesis: Hypothesis) -> float:
    return hypothesis.score


def _check_ids(begin: int, end: int, min_length: int) -> None:
    checks.integer("begin", begin, least=0)
    checks.integer("end", end, least=0)
    checks.integer("min_length", min_length, least=0)


def _limits(max_lengths: int | Sequence[int] | NDArray[Any], batch: int, min_length: int) -> Ints:
    """max_lengths for each utterance, (B,)."""
    checks.integer("batch", batch, least=1)
    lengths = np.asarray(max_lengths)
    if lengths.shape not in ((), (batch,)) or not np.issubdtype(lengths.dtype, np.integer):
        raise ValueError(f"max_lengths must be one integer or {batch}, got {lengths.dtype} of shape {lengths.shape}")
    if lengths.min() < min_length:
        raise ValueError(f"max_lengths must be at least min_length = {min_length}, got {lengths.min()}")
    return np.broadcast_to(lengths.astype(np.intp), (batch,))
