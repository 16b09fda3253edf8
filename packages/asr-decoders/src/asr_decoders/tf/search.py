"""The searches of `attention.py` as functions of tensors."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from asr_decoders import checks
from asr_decoders.attention import AttentionBeam, AttentionGreedy
from asr_decoders.ensemble import Scorer
from asr_decoders.interfaces import Hypothesis, Step
from asr_decoders.tf.loop import WORST, Found, Loop
from asr_decoders.tf.models import Model

# What needs Python at every step, or attention; the options of `AttentionBeam` and their values without.
ABSENT = {"ctc_weight": 0.0, "lm": None, "hotwords": None, "coverage_penalty": 0.0, "keep_attention": False}
SHARED = ("begin", "end", "min_length", "min_length_ratio", "max_length_ratio", "end_threshold", "vocabulary")


def in_graph(search: AttentionBeam | AttentionGreedy) -> "GraphSearch":
    """The search as a function of tensors.

    Of the options of `AttentionBeam` the graph has all but ctc_weight, lm, hotwords, coverage_penalty and
    keep_attention. Raises ValueError for a search that has one of these.
    """
    if not isinstance(search, AttentionBeam | AttentionGreedy):
        raise ValueError(f"AttentionBeam or AttentionGreedy expected, got {type(search).__name__}")
    for name, value in ABSENT.items():
        if getattr(search, name, value) != value:
            raise ValueError(f"a search without {', '.join(ABSENT)} expected for a graph, got one with {name}")
    if isinstance(search, AttentionGreedy):
        search = AttentionBeam(beam_size=1, **{name: getattr(search, name) for name in SHARED})
    return GraphSearch(search)


@dataclass(frozen=True)
class GraphSearch:
    """A search in a graph, see `in_graph`."""

    search: AttentionBeam

    def __call__(
        self,
        step: Step,
        state: Any,
        *,
        batch: Any,
        longest: int,
        max_lengths: Any = None,
        memory_lengths: Any = None,
        scorers: Sequence[Scorer] = (),
    ) -> Found:
        """The n best hypotheses of each of B utterances.

        step: called with tokens (N,) int32 and the state, N = B * beam_size; row b * beam_size + k is beam k of
            utterance b. A third value, attention, is passed over.
        state: of N rows, a nest of tensors, arrays and numbers, which keep their shapes and dtypes, and of other
            things, which stay as they are. After each step those with the leading dimension N are put in the order
            of the new beams; others are left alone.
        batch: B, an integer, or outside of XLA a scalar tensor.
        longest: L, the most tokens of any utterance, without the end.
        max_lengths: those of each utterance, an integer or (B,) int32; of more than L, L.
        memory_lengths: frames of each utterance's memory, an integer or (B,) int32, for ratios.
        scorers: other step functions in TensorFlow, whose log-probabilities are added.

        Raises ValueError for wrong shapes. Wrong values make scores of NaN, as a graph cannot raise: then
        `hypotheses` does.
        """
        checks.integer("longest", longest, least=0)
        if not tf.is_tensor(batch):
            checks.integer("batch", batch, least=1)
        models = [Model("the step", step, state)]
        for i, scorer in enumerate(scorers):
            if scorer.weight:
                models.append(Model(f"scorer {i}", scorer.step, scorer.state, scorer.weight))
        loop = Loop(self.search, models, _bounds(self.search, batch, longest, max_lengths, memory_lengths), batch)
        (run,) = tf.while_loop(
            lambda run: (run.length <= longest) & tf.reduce_any(run.score > WORST),
            lambda run: (loop.step(run),),
            (loop.start(longest),),
        )
        found: Found = run.found
        return found._replace(scores=tf.where(run.bad[:, None], np.float64(np.nan), found.scores))

    def hypotheses(self, found: Found) -> list[list[Hypothesis]]:
        """The same as the search in numpy gives. Raises ValueError where the step gave no log-probabilities."""
        tokens, lengths, scores, acoustic, language, finished = (np.asarray(tensor) for tensor in found)
        bad = np.flatnonzero(np.isnan(scores[:, 0]))
        if bad.size:
            raise ValueError(
                "log-probabilities expected of the step (natural log, at most 0), got others for utterance "
                f"{bad[0]}: apply log_softmax to logits"
            )
        vocabulary = self.search.vocabulary
        return [
            [
                Hypothesis(
                    tokens=(ids := tuple(tokens[b, i, : lengths[b, i]].tolist())),
                    score=float(scores[b, i]),
                    text="" if vocabulary is None else vocabulary.text(ids),
                    finished=bool(finished[b, i]),
                    acoustic=float(acoustic[b, i]),
                    language=float(language[b, i]),
                )
                for i in np.flatnonzero(scores[b] > -np.inf).tolist()
            ]
            for b in range(len(scores))
        ]


def _bounds(search: AttentionBeam, batch: Any, longest: int, max_lengths: Any, memory_lengths: Any) -> tuple[Any, Any]:
    """The least and the most tokens of each utterance, (B,) int32."""
    least, most = _each("min_length", search.min_length, batch), _each("longest", longest, batch)
    if max_lengths is not None:
        most = tf.minimum(most, _each("max_lengths", max_lengths, batch))
    if memory_lengths is not None:
        frames = tf.cast(_each("memory_lengths", memory_lengths, batch), tf.float64)
        least = tf.maximum(least, tf.cast(tf.floor(frames * search.min_length_ratio), tf.int32))
        if search.max_length_ratio is not None:
            most = tf.minimum(most, tf.cast(tf.math.ceil(frames * search.max_length_ratio), tf.int32))
    elif search.min_length_ratio or search.max_length_ratio is not None:
        raise ValueError("min_length_ratio and max_length_ratio are of the memory's frames: give memory_lengths")
    return least, most


def _each(name: str, counts: Any, batch: Any) -> tf.Tensor:
    counts = tf.convert_to_tensor(counts)
    fits = counts.shape.rank == 0 or (
        counts.shape.rank == 1 and (tf.is_tensor(batch) or counts.shape[0] in (None, batch))
    )
    if not fits or not counts.dtype.is_integer:
        raise ValueError(f"{name} must be one integer or {batch}, got {counts.dtype.name} of shape {counts.shape}")
    return tf.broadcast_to(tf.cast(counts, tf.int32), [batch])
