"""The models that an attention search asks: the speech model's step function, CTC, and language models."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from asr_decoders import checks, nest
from asr_decoders.attention_rules import AttendingStep, Bools, Ints, Reader, Scores, check_log_probs, weighted
from asr_decoders.interfaces import Step
from asr_decoders.joint import CtcPrefix


@dataclass(frozen=True)
class Scorer:
    """A step function besides the model's, for a call of `AttentionBeam`: a neural language model, mostly.

    Its log-probabilities, of the same tokens and the end, times the weight are added to the model's.
    step, state: as of the model; the state has the same number of rows.
    weight: at least 0.
    """

    step: Step
    state: Any
    weight: float

    def __post_init__(self) -> None:
        checks.between("weight", self.weight, 0.0, 100.0)


class Answer(NamedTuple):
    """What all models say together, (B, K, V); -inf in rows that are not in use."""

    values: Scores  # the caller's to write into
    language: Scores | None  # what of the values is of scorers
    said: Scores  # (N, V), what the model itself says; its rows may be those of values
    attention: Scores | None  # (N, T')


class Ensemble:
    """The model, CTC and the scorers, with their states."""

    def __init__(
        self,
        step: Step | AttendingStep,
        state: Any,
        read: Reader,
        scorers: Sequence[Scorer],
        ctc: CtcPrefix | None,
        ctc_weight: float,
        beam_size: int,
    ) -> None:
        self._read, self._step, self._ctc, self._ctc_weight = read, step, ctc, ctc_weight
        self._scorers = [
            (Reader(f"scorer {i}", read.end, read.vocabulary), scorer)
            for i, scorer in enumerate(scorers)
            if scorer.weight
        ]
        self._state = (
            state,
            None if ctc is None else ctc.start(beam_size),
            [scorer.state for _, scorer in self._scorers],
        )

    def step(self, tokens: NDArray[np.int32], used: Bools, length: int) -> Answer:
        """After the last tokens (N,); used: (B, K), the places in use."""
        state, ctc_state, states = self._state
        said = self._read(self._step, tokens, state)
        values = _of_places(self._read.name, said.log_probs, used, length)
        if self._ctc is not None and ctc_state is not None:
            ctc, ctc_state = self._ctc(tokens, ctc_state)
            if ctc.shape != said.log_probs.shape:
                raise ValueError(f"CTC log-probabilities of V = {values.shape[2]} expected, got {ctc.shape[1]}")
            weight = self._ctc_weight
            values = weighted(1 - weight, values) + weighted(weight, ctc.reshape(values.shape))
        language, after = None, []
        for (read, scorer), before in zip(self._scorers, states, strict=True):
            added = read(scorer.step, tokens, before)
            if added.log_probs.shape != said.log_probs.shape:
                shapes = f"{said.log_probs.shape} expected of {read.name}, got {added.log_probs.shape}"
                raise ValueError(f"log-probabilities {shapes}")
            part = weighted(scorer.weight, _of_places(read.name, added.log_probs, used, length))
            language = part if language is None else language + part
            after.append(added.state)
        self._state = (said.state, ctc_state, after)
        return Answer(values if language is None else values + language, language, said.log_probs, said.attention)

    def reorder(self, rows: Ints) -> None:
        self._state = nest.reorder(self._state, rows)


def _of_places(name: str, log_probs: Scores, used: Bools, length: int) -> Scores:
    """(N, V) as (B, K, V), checked, -inf in places that are not in use, whatever is there."""
    check_log_probs(name, log_probs, used.ravel(), length)
    placed = log_probs.reshape(*used.shape, -1)
    if np.count_nonzero(used) < used.size:
        placed[~used] = -np.inf
    return placed
