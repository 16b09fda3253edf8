"""The loop of a search in tensors."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from asr_decoders import checks
from asr_decoders.attention import AttentionBeam
from asr_decoders.attention_rules import Norm
from asr_decoders.tf.models import Model

WORST = np.float64(-np.inf)


class Found(NamedTuple):
    """The n best of each utterance, best first. Where there are fewer, the rest has scores of -inf.

    An utterance for which the step gave something else than log-probabilities has scores of NaN.
    """

    tokens: tf.Tensor  # (B, n, L) int32, the end token after the last
    lengths: tf.Tensor  # (B, n) int32
    scores: tf.Tensor  # (B, n) float64
    acoustic: tf.Tensor  # (B, n) float64
    language: tf.Tensor  # (B, n) float64
    finished: tf.Tensor  # (B, n) bool


class Run(NamedTuple):
    """The variables of the loop; K places, N = B * K rows."""

    length: tf.Tensor  # () int32
    tokens: tf.Tensor  # (N,) int32, the last ones
    states: Any  # tensors of the model's and the scorers' states
    score: tf.Tensor  # (B, K) float64, -inf in a place that is not in use
    language: tf.Tensor  # (B, K) float64
    history: tf.Tensor  # (B, K, L) int32
    found: Found
    ended: tf.Tensor  # (B,) int32, how many hypotheses
    bad: tf.Tensor  # (B,) bool, whether there was something else than log-probabilities


class _Asked(NamedTuple):
    """What the models say, (B, K, V)."""

    values: tf.Tensor  # of tokens, -inf where they must not follow
    language: tf.Tensor | None  # what of the values is of scorers
    ends: tf.Tensor  # (B, K) float64, -inf where the end must not follow
    states: Any
    bad: tf.Tensor  # (B,)


class Loop:
    """What does not change in the loop, and its body: `attention_search.Search.step` in tensors."""

    def __init__(self, search: AttentionBeam, models: Sequence[Model], bounds: tuple[Any, Any], batch: Any) -> None:
        self.search, self.models, self.batch = search, models, batch
        self.least, self.most = bounds  # tokens, (B,) int32
        self.norm = Norm(search.length_norm, search.length_penalty)
        self.rows = None if tf.is_tensor(batch) else batch * search.beam_size

    def start(self, longest: int) -> Run:
        B, K, n, end = self.batch, self.search.beam_size, self.search.n_best, self.search.end
        score = tf.concat([tf.zeros([B, 1], tf.float64), tf.fill([B, K - 1], WORST)], 1)
        none = tf.zeros([B, n], tf.float64)
        history, never = tf.fill([B, K, longest], end), tf.zeros([B, n], tf.bool)
        found = Found(history[:, :n], tf.zeros([B, n], tf.int32), tf.fill([B, n], WORST), none, none, never)
        return Run(
            length=tf.constant(0),
            tokens=tf.fill([B * K], self.search.begin),
            states=tuple(model.state for model in self.models),
            score=score,
            language=tf.zeros([B, K], tf.float64),
            history=history,
            found=found,
            ended=tf.zeros([B], tf.int32),
            bad=tf.zeros([B], tf.bool),
        )

    def step(self, run: Run) -> Run:
        K = self.search.beam_size
        asked = self._ask(run)
        grown, parents, tokens = self._grow(run.score, asked.values)
        found, ended = self._end(run, asked, grown)
        best = grown[:, 0]
        bound = best / self.norm(tf.cast(self.most + 1, tf.float64))
        patience = np.inf if self.search.patience is None else self.search.patience * K
        done = (found.scores[:, -1] >= bound) | (tf.cast(ended, tf.float64) >= patience)
        stuck = (run.score[:, 0] > WORST) & (best == WORST) & (found.scores[:, 0] == WORST)
        found = self._unfinished(run, stuck, found)

        score = tf.where(done[:, None], WORST, grown)
        tokens = tf.where(score > WORST, tokens, self.search.end)
        language = tf.gather(run.language, parents, batch_dims=1)
        if asked.language is not None:
            language += _double(tf.gather(tf.gather(asked.language, parents, batch_dims=1), tokens, batch_dims=2))
        history = tf.gather(run.history, parents, batch_dims=1)
        history = tf.where(tf.range(tf.shape(history)[2]) == run.length, tokens[:, :, None], history)
        rows = tf.reshape(tf.range(self.batch)[:, None] * K + parents, [-1])
        states = tf.nest.map_structure(lambda leaf: self._reorder(leaf, rows), asked.states)
        last = tf.reshape(tokens, [-1])
        return Run(run.length + 1, last, states, score, language, history, found, ended, run.bad | asked.bad)

    def _ask(self, run: Run) -> _Asked:
        """All models, after the last tokens."""
        used = run.score > WORST
        bad = tf.zeros_like(run.bad)
        states: list[Any] = []
        said: Any = None
        language: Any = None
        for model, state in zip(self.models, run.states, strict=True):
            log_probs, state = model(run.tokens, state, self.rows, self.search)
            states.append(state)
            log_probs = tf.reshape(log_probs, [self.batch, self.search.beam_size, log_probs.shape[1]])
            wrong = tf.reduce_any(tf.math.is_nan(log_probs) | (log_probs > checks.ROUNDING), 2)
            bad |= tf.reduce_any(used & wrong, 1)
            log_probs = tf.where(used[:, :, None], log_probs, tf.cast(WORST, log_probs.dtype))
            if said is None:
                said = log_probs
                continue
            if log_probs.shape[2] != said.shape[2]:
                raise ValueError(
                    f"V = {said.shape[2]} log-probabilities expected of {model.name}, got {log_probs.shape[2]}"
                )
            part = log_probs * model.weight
            language = part if language is None else _add(language, part)
        values = said if language is None else _add(said, language)
        worst = tf.cast(WORST, values.dtype)
        last = (self.most <= run.length)[:, None]
        ends = tf.where((self.least <= run.length)[:, None], values[:, :, self.search.end], worst)
        choices = np.array([token not in (self.search.begin, self.search.end) for token in range(values.shape[2])])
        if self.search.end_threshold is not None:
            others = tf.reduce_max(tf.where(choices, said, tf.cast(WORST, said.dtype)), 2)
            likely = said[:, :, self.search.end] > self.search.end_threshold * others
            ends = tf.where(likely | last, ends, worst)
        values = tf.where(choices & ~last[:, :, None], values, worst)
        return _Asked(values, language, _double(ends), tuple(states), bad)

    def _grow(self, score: tf.Tensor, values: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Scores, parents (places) and tokens (B, K) of the best that are one token longer, best first."""
        K = self.search.beam_size
        width = min(K, values.shape[2])
        best, tokens = tf.math.top_k(values, width)  # of each row: more of one row than K cannot be among the K best
        grown, places = tf.math.top_k(tf.reshape(score[:, :, None] + _double(best), [self.batch, K * width]), K)
        tokens = tf.gather(tf.reshape(tokens, [self.batch, K * width]), places, batch_dims=1)
        return grown, places // width, tokens

    def _end(self, run: Run, asked: _Asked, grown: tf.Tensor) -> tuple[Found, tf.Tensor]:
        """The n best with those that end now, being among the best of their utterance; how many ended so far."""
        K = self.search.beam_size
        ends = run.score + asked.ends
        language = run.language
        if asked.language is not None:
            language += _double(asked.language[:, :, self.search.end])
        top = tf.math.top_k(tf.concat([ends, grown], 1), K).indices
        ending = tf.reduce_any(top[:, :, None] == tf.range(K), 1) & (ends > WORST)
        new = self._scored(run, ends, language, run.length + 1, ending)
        both = Found(*(tf.concat(pair, 1) for pair in zip(run.found, new, strict=True)))
        order = tf.math.top_k(both.scores, self.search.n_best).indices
        found = Found(*(tf.gather(values, order, batch_dims=1) for values in both))
        return found, run.ended + tf.reduce_sum(tf.cast(ending, tf.int32), 1)

    def _scored(self, run: Run, score: tf.Tensor, language: tf.Tensor, counted: tf.Tensor, real: tf.Tensor) -> Found:
        """The sequences (B, K) as hypotheses, with scores of -inf where they are not real."""
        norm = self.norm(tf.cast(counted, tf.float64))
        zero = tf.zeros_like(score)
        acoustic = tf.where(real, score - language, zero) / norm
        language = tf.where(real, language, zero) / norm
        lengths = tf.fill(tf.shape(score), run.length)
        return Found(run.history, lengths, tf.where(real, acoustic + language, WORST), acoustic, language, real)

    def _unfinished(self, run: Run, stuck: tf.Tensor, found: Found) -> Found:
        """Where an utterance is stuck, its best sequences as they are."""
        used = run.score > WORST
        places = self._scored(run, run.score, run.language, tf.maximum(run.length, 1), used)
        order = tf.math.top_k(places.scores, self.search.n_best).indices
        places = Found(*(tf.gather(values, order, batch_dims=1) for values in places))
        places = places._replace(finished=tf.zeros_like(places.finished))
        chosen = [
            tf.where(tf.reshape(stuck, [-1] + [1] * (len(kept.shape) - 1)), new, kept)
            for new, kept in zip(places, found, strict=True)
        ]
        return Found(*chosen)

    def _reorder(self, leaf: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
        """The leaf with those rows, if it has as many."""
        if leaf.shape.rank == 0:
            return leaf
        if self.rows is not None and leaf.shape[0] is not None:
            return tf.gather(leaf, rows) if leaf.shape[0] == self.rows else leaf
        same = tf.shape(leaf)[0] == tf.size(rows)
        return tf.ensure_shape(tf.cond(same, lambda: tf.gather(leaf, rows), lambda: leaf), leaf.shape)


def _double(values: tf.Tensor) -> tf.Tensor:
    return tf.cast(values, tf.float64)


def _add(left: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
    """As numpy does: in float64 where one of them is."""
    return left + right if left.dtype == right.dtype else _double(left) + _double(right)
