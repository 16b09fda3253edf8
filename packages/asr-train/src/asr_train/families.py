"""The two families of recognisers: what training and decoding need to know of each, and nothing of it elsewhere.

A family joins a model to its loss and to its search; `build_family` is the one place where a configuration becomes one.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf

import asr_decoders
import asr_models
from asr_decoders import Hypothesis, NGram
from asr_train.batches import Batch
from asr_train.config import DecodeConfig
from asr_train.tokenizer import Tokenizer


class Family(Protocol):
    """A model that can be trained and searched."""

    model: Any
    """The Keras model: its variables are what is trained and saved."""

    def loss(
        self, batch: Batch, *, training: bool, seed: tf.Tensor | None, sampling: tf.Tensor | float = 1.0
    ) -> tf.Tensor:
        """`(B,)`: the loss of each utterance, summed over its labels.

        `seed` is `(2,)`, or `(B, 2)` for each utterance its own; `sampling` the part of the model's scheduled sampling.
        """
        ...

    def decode(
        self, features: tf.Tensor, lengths: tf.Tensor, options: DecodeConfig, lm: NGram | None = None
    ) -> list[list[Hypothesis]]:
        """`(B, T, F)` and `(B,)` -> the n-best of each utterance; tokens without begin and end.

        `lm` is of words, and for a beam.
        """
        ...


class Ctc:
    """DeepSpeech2: logits for each frame, CTC loss, CTC search."""

    def __init__(self, config: asr_models.DeepSpeech2Config, *, features: int, tokenizer: Tokenizer, seed: int) -> None:
        self.blank, self.tokenizer = tokenizer.pad, tokenizer
        self.model = asr_models.DeepSpeech2(config, features=features, vocab_size=tokenizer.size, seed=seed)
        # Traced once, for batches of any size and length.
        signature = [tf.TensorSpec([None, None, features], tf.float32), tf.TensorSpec([None], tf.int32)]
        self.logits = tf.function(lambda *inputs: self.model(*inputs), input_signature=signature, autograph=False)

    def loss(
        self, batch: Batch, *, training: bool, seed: tf.Tensor | None, sampling: tf.Tensor | float = 1.0
    ) -> tf.Tensor:
        """CTC from each utterance's own lengths; infinite where the text is too long for the audio."""
        logits, lengths = self.model(batch.features, batch.feature_lengths, training=training, seed=seed)
        return asr_models.ctc_loss(logits, lengths, batch.labels, batch.label_lengths, blank=self.blank)

    def decode(
        self, features: tf.Tensor, lengths: tf.Tensor, options: DecodeConfig, lm: NGram | None = None
    ) -> list[list[Hypothesis]]:
        """Greedy at beam size 1, else the prefix beam search."""
        search: Any = asr_decoders.CtcGreedy(blank=self.blank)
        if options.beam_size > 1:
            search = asr_decoders.CtcBeam(
                blank=self.blank,
                beam_size=options.beam_size,
                n_best=options.beam_size,
                vocabulary=vocabulary_of(self.tokenizer) if lm else None,
                lm=lm,
                lm_weight=options.lm_weight,
                word_bonus=options.word_bonus if lm else 0.0,
            )
        return [search(scores) for scores in asr_models.log_probabilities(self.logits, features, lengths)]


class Attention:
    """Listen, attend and spell: label-smoothed cross-entropy, attention search."""

    def __init__(
        self,
        config: asr_models.LasConfig,
        *,
        features: int,
        tokenizer: Tokenizer,
        seed: int,
        smoothing: float = 0.0,
        ctc_weight: float = 0.0,
    ) -> None:
        self.begin, self.end, self.blank = tokenizer.begin, tokenizer.end, tokenizer.pad
        self.smoothing, self.ctc_weight = smoothing, ctc_weight if config.ctc_head else 0.0
        self.model = asr_models.Las(config, features=features, vocab_size=tokenizer.size, seed=seed)
        self.step = asr_models.SpellerStep(self.model)
        self.tokenizer = tokenizer
        signature = [tf.TensorSpec([None, None, features], tf.float32), tf.TensorSpec([None], tf.int32)]
        self.listen = tf.function(self._listen, [*signature, tf.TensorSpec([], tf.int32)], autograph=False)

    def loss(
        self, batch: Batch, *, training: bool, seed: tf.Tensor | None, sampling: tf.Tensor | float = 1.0
    ) -> tf.Tensor:
        """Cross-entropy of the labels and the end token, given the begin token and the labels.

        In training it is joined by CTC on the listener, where the model has a head for it.
        """
        rows = tf.shape(batch.labels)[0]
        inputs = tf.concat([tf.fill([rows, 1], self.begin), batch.labels], 1)
        # The end token stands right after each text's own last label.
        ends = tf.one_hot(batch.label_lengths, tf.shape(batch.labels)[1] + 1, dtype=tf.int32) * self.end
        real = tf.sequence_mask(batch.label_lengths, tf.shape(batch.labels)[1], dtype=tf.int32)
        targets = tf.pad(batch.labels * real, [[0, 0], [0, 1]]) + ends
        memory = self.model.listen(batch.features, batch.feature_lengths, training=training, seed=seed)
        rate = self.model.config.sampling * sampling if self.model.config.sampling else None
        lengths = batch.label_lengths + 1
        logits = self.model.speller(memory, inputs, training=training, seed=seed, sampling=rate, token_lengths=lengths)
        smoothing = self.smoothing if training else 0.0
        spelled = asr_models.cross_entropy(logits, targets, lengths, smoothing=smoothing)
        if not (training and self.ctc_weight):
            return spelled
        ctc = asr_models.ctc_loss(*self.model.frame_logits(memory), batch.labels, batch.label_lengths, blank=self.blank)
        joint = (1 - self.ctc_weight) * spelled + self.ctc_weight * ctc
        # A text too long for a CTC path can still be spelled.
        return tf.where(tf.math.is_finite(ctc), joint, spelled)

    def _listen(self, features: tf.Tensor, lengths: tf.Tensor, beams: tf.Tensor) -> tuple[Any, tf.Tensor, Any]:
        """The speller's first state, the frames of each memory, and what the CTC head says of them."""
        memory = self.model.listen(features, lengths)
        head = self.model.config.ctc_head
        heard = tf.nn.log_softmax(self.model.frame_logits(memory).values) if head else ()
        return self.model.start(memory, beams=beams), memory.lengths, heard

    def decode(
        self, features: tf.Tensor, lengths: tf.Tensor, options: DecodeConfig, lm: NGram | None = None
    ) -> list[list[Hypothesis]]:
        """Greedy at beam size 1, else the beam search with the GNMT length norm, joined by the CTC head if there."""
        state, memory, heard = self.listen(features, lengths, options.beam_size)
        frames = memory.numpy()
        limits = np.ceil(frames * options.max_length_ratio).astype(int)
        if options.beam_size == 1:
            greedy = asr_decoders.AttentionGreedy(begin=self.begin, end=self.end)
            found: list[list[Hypothesis]] = greedy(self.step, state, batch=len(frames), max_lengths=limits)
            return found
        joint = options.ctc_weight if self.model.config.ctc_head else 0.0
        search = asr_decoders.AttentionBeam(
            begin=self.begin,
            end=self.end,
            beam_size=options.beam_size,
            n_best=options.beam_size,
            length_norm="gnmt",
            length_penalty=options.length_penalty,
            ctc_weight=joint,
            blank=self.blank,
            vocabulary=vocabulary_of(self.tokenizer) if lm else None,
            lm=lm,
            lm_weight=options.lm_weight,
            word_bonus=options.word_bonus if lm else 0.0,
        )
        ctc = [rows[:count] for rows, count in zip(heard.numpy(), frames, strict=True)] if joint else None
        return search(self.step, state, batch=len(frames), max_lengths=limits, ctc=ctc)


def vocabulary_of(tokenizer: Tokenizer) -> asr_decoders.Vocabulary:
    """The pieces as a decoder with a language model reads them."""
    special = (tokenizer.pad, tokenizer.begin, tokenizer.end)
    return asr_decoders.Vocabulary(tokenizer.pieces, boundary="sentencepiece", special=special)


def build_family(
    config: asr_models.DeepSpeech2Config | asr_models.LasConfig,
    *,
    features: int,
    tokenizer: Tokenizer,
    seed: int = 0,
    smoothing: float = 0.0,
    ctc_weight: float = 0.0,
    precision: str = "float32",
) -> Family:
    """The family of a model configuration, with fresh weights; `precision` is that of the large products."""
    with computing_in(precision):
        if isinstance(config, asr_models.LasConfig):
            return Attention(
                config, features=features, tokenizer=tokenizer, seed=seed, smoothing=smoothing, ctc_weight=ctc_weight
            )
        return Ctc(config, features=features, tokenizer=tokenizer, seed=seed)


@contextmanager
def computing_in(precision: str) -> Iterator[None]:
    """Models that are built inside the block multiply in this precision; their weights are float32."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision if precision == "float32" else f"mixed_{precision}")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
