"""CTC and attention together: in the search (Watanabe et al. 2017), or over a list of hypotheses after it."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from asr_decoders import checks
from asr_decoders.align import ctc_score
from asr_decoders.attention_rules import Reader, check_log_probs, weighted
from asr_decoders.interfaces import Hypothesis, LogProbs, Step

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]


class CtcState(NamedTuple):
    """Of the prefixes in N rows; T frames of the longest utterance."""

    mass: Floats  # (N, T, 2) log mass of the prefix's paths up to each frame, that end in its last token, in a blank
    last: Ints  # (N,) last tokens, -1 for the empty prefix
    log_prob: Floats  # (N,) of the prefix
    fresh: bool  # before the first step


class CtcPrefix:
    """The log-probabilities of CTC as a step function: what follows a prefix, summed over all paths.

    The probability of a prefix is that of all labellings that begin with it, so that

        p(c | prefix) = p(prefix c) / p(prefix),    p(end | prefix) = p(labelling is prefix) / p(prefix)

    and the log-probabilities of a sequence and its end add up to its `ctc_score`. Paths more than some 700 nats under
    the best of the same prefix may count as impossible; a row of a prefix that is impossible is -inf throughout.

    log_probs: (T, V) natural log-probabilities of each of B utterances. Kept, as probabilities, padded to the longest.
    end: the end token, at most V - 1; what CTC says of it as a token is lost.

    The blank is never next, unless it is the end.
    """

    def __init__(self, log_probs: Sequence[LogProbs], /, *, end: int, blank: int = 0) -> None:
        checks.integer("blank", blank, least=0)
        checks.integer("end", end, least=0)
        arrays = [checks.ctc_log_probs(array, blank=blank) for array in log_probs]
        if not arrays or len({array.shape[1] for array in arrays}) != 1:
            sizes = [array.shape[1] for array in arrays]
            raise ValueError(f"log-probabilities (T, V) of at least one utterance, of one V, expected, got V {sizes}")
        size = arrays[0].shape[1]
        if end >= size:
            raise ValueError(f"end must be less than V = {size} of the CTC log-probabilities, got {end}")
        self.batch, self.end, self.blank = len(arrays), end, blank
        # Frames of certain blanks after an utterance change none of its probabilities.
        self._log_probs = np.full((len(arrays), max(max(map(len, arrays)), 1), size), -np.inf)
        self._log_probs[:, :, blank] = 0.0
        for padded, array in zip(self._log_probs, arrays, strict=True):
            padded[: len(array)] = array
        self._probs = np.exp(self._log_probs)
        self._probs[:, :, blank] = 0.0

    def start(self, beam_size: int = 1) -> CtcState:
        """The state of B * beam_size rows before the first token."""
        rows = self.batch * beam_size
        empty = np.full((rows, self._log_probs.shape[1], 2), -np.inf)
        empty[:, :, 1] = np.repeat(self._log_probs[:, :, self.blank].cumsum(axis=1), beam_size, axis=0)
        return CtcState(empty, np.full(rows, -1), np.zeros(rows), fresh=True)

    def __call__(self, tokens: NDArray[np.int32], state: CtcState, /) -> tuple[Floats, CtcState]:
        """Last tokens (N,), state -> log-probabilities (N, V) float64 of the next, new state.

        The first tokens, before which there is nothing, do not count, whatever they are. Raises ValueError for tokens
        that are not ids, or not of as many rows as the state.
        """
        rows, size = len(state.last), self._log_probs.shape[2]
        if tokens.shape != (rows,) or not 0 <= tokens.min() <= tokens.max() < (np.inf if state.fresh else size):
            raise ValueError(f"tokens ({rows},) under V = {size} expected, got {tokens.shape} up to {tokens.max()}")
        if state.fresh:
            state = state._replace(fresh=False)
        else:
            state = self._longer(tokens.astype(np.intp), state)
        before = self._before(state)
        total = np.logaddexp(before[:, :, 0], before[:, :, 1])  # (N, T)
        top = total.max(axis=1, keepdims=True)
        top[np.isneginf(top)] = 0.0
        probs = self._probs
        following = (np.exp(total - top).reshape(self.batch, -1, total.shape[1]) @ probs).reshape(len(total), -1)
        repeated = np.flatnonzero(state.last >= 0)  # the same token again needs a blank between
        emitted = probs[self._utterance(len(total))[repeated], :, state.last[repeated]]
        blanks = np.exp(before[repeated, :, 1] - top[repeated])
        following[repeated, state.last[repeated]] = (blanks * emitted).sum(axis=1)
        following[:, self.blank] = 0.0
        following[:, self.end] = np.exp(np.logaddexp(*state.mass[:, -1].T) - top[:, 0])
        before_it = np.where(state.log_prob > -np.inf, state.log_prob, 0.0)  # nothing follows what is impossible
        with np.errstate(divide="ignore"):
            log_probs = np.log(following) + (top - before_it[:, None])
        return log_probs, state

    def _longer(self, tokens: Ints, state: CtcState) -> CtcState:
        """The state of the prefixes with the tokens: Watanabe et al. 2017, algorithm 2."""
        before = self._before(state)  # (N, T, 2)
        repeated = (tokens == state.last)[:, None]
        enters = np.where(repeated, before[:, :, 1], np.logaddexp(before[:, :, 0], before[:, :, 1]))  # (N, T)
        utterance = self._utterance(len(tokens))
        frames = self._log_probs.shape[1]
        coming = np.full((frames + 1, 2, len(tokens)), -np.inf)  # into the token, into the blank after it
        coming[:-1, 0] = enters.T
        emitted = np.stack((self._log_probs[utterance, :, tokens], self._log_probs[utterance, :, self.blank]), axis=1)
        emitted = np.ascontiguousarray(emitted.transpose(2, 1, 0))  # (T, 2, N)
        log_prob = np.logaddexp.reduce(coming[:-1, 0] + emitted[:, 0], axis=0)
        mass = np.empty_like(emitted)
        now = np.full(mass.shape[1:], -np.inf)
        for t in range(frames):
            now = np.logaddexp(now, coming[t], out=mass[t])
            now += emitted[t]
            coming[t + 1, 1] = now[0]
        return CtcState(mass.transpose(2, 0, 1), tokens, log_prob, fresh=False)

    def _before(self, state: CtcState) -> Floats:
        """Log mass (N, T, 2) of the paths before each frame."""
        before = np.full(state.mass.shape, -np.inf)
        before[:, 1:] = state.mass[:, :-1]
        before[state.last < 0, 0, 1] = 0.0
        return before

    def _utterance(self, rows: int) -> Ints:
        return np.repeat(np.arange(self.batch), rows // self.batch)


def attention_scores(step: Step, state: Any, sequences: Sequence[Sequence[int]], /, *, begin: int, end: int) -> Floats:
    """ln p of each of N sequences of tokens and the end, (N,): the model is told the tokens (teacher forcing).

    state: of N rows. Raises ValueError for wrong ids, and where the step does not return log-probabilities.
    """
    checks.integer("begin", begin, least=0)
    checks.integer("end", end, least=0)
    lengths = np.array([len(sequence) for sequence in sequences], dtype=np.intp)
    if not lengths.size:
        return np.zeros(0)
    told = np.full((lengths.size, lengths.max() + 1), end)
    for row, sequence in zip(told, sequences, strict=True):
        row[: len(sequence)] = sequence
    read = Reader("the step", end)
    scores = np.zeros(lengths.size)
    last = np.full(lengths.size, begin)
    for length, tokens in enumerate(told.T):
        said = read(step, last.astype(np.int32), state)
        used = lengths >= length
        strange = told[(told < 0) | (told >= said.log_probs.shape[1])]
        if strange.size:
            raise ValueError(f"tokens are ids under V = {said.log_probs.shape[1]} of the step, got {strange[0]}")
        check_log_probs("the step", said.log_probs, used, length)
        chosen = said.log_probs[np.arange(lengths.size), tokens]
        scores += np.where(used, chosen, 0.0)
        last, state = tokens, said.state
    return scores


def rescore(
    hypotheses: Sequence[Hypothesis],
    step: Step,
    state: Any,
    log_probs: LogProbs,
    /,
    *,
    begin: int,
    end: int,
    ctc_weight: float = 0.3,
    blank: int = 0,
) -> list[Hypothesis]:
    """The n best of one search by CTC and attention together, best first:

        acoustic = ctc_weight * ln p_ctc(tokens) + (1 - ctc_weight) * ln p_attention(tokens and end)

    hypotheses: n of one utterance, of whichever search. What is in their language and bonus is added as before.
    step, state: the attention model, and its state of n rows.
    log_probs: (T, V) natural log-probabilities of CTC.

    Raises ValueError for wrong arguments.
    """
    checks.between("ctc_weight", ctc_weight, 0.0, 1.0)
    sequences = [hypothesis.tokens for hypothesis in hypotheses]
    attention = attention_scores(step, state, sequences, begin=begin, end=end)
    ctc = np.array([ctc_score(log_probs, tokens, blank=blank) for tokens in sequences])
    acoustic = weighted(ctc_weight, ctc) + weighted(1 - ctc_weight, attention)
    mixed = [
        replace(hypothesis, score=score + hypothesis.language + hypothesis.bonus, acoustic=score, finished=True)
        for hypothesis, score in zip(hypotheses, acoustic.tolist(), strict=True)
    ]
    return sorted(mixed, key=lambda hypothesis: hypothesis.score, reverse=True)
