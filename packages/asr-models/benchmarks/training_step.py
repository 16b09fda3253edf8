"""The whole training step of either family: forward, loss, gradients, clipping, Adam.

What the benchmark measures, the test compiles and the lowering for a TPU lowers.
"""

from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from asr_models import DeepSpeech2, Las, cross_entropy, ctc_loss
from asr_models.losses import average_loss, joint_loss

BEGIN, END = 1, 2
"""Tokens that no text holds; 0 is the blank."""


class Batch(NamedTuple):
    """Features `(B, T, F)` and labels `(B, L)`, with their lengths `(B,)`."""

    features: Any
    lengths: Any
    labels: Any
    label_lengths: Any


def random_batch(*, batch: int, frames: int, features: int, labels: int, vocabulary: int, seed: int = 0) -> Batch:
    """Noise of different lengths, with any text."""
    rng = np.random.default_rng(seed)
    return Batch(
        rng.normal(size=(batch, frames, features)).astype(np.float32),
        np.linspace(0.6 * frames, frames, batch).astype(np.int32),
        rng.integers(END + 1, vocabulary, (batch, labels)).astype(np.int32),
        np.linspace(0.5 * labels, labels, batch).astype(np.int32),
    )


def deepspeech2_losses(model: DeepSpeech2, batch: Batch, seed: Any) -> tuple[Any, Any]:
    """CTC of each utterance, and how many labels that was."""
    logits, lengths = model(batch.features, batch.lengths, training=True, seed=seed)
    return ctc_loss(logits, lengths, batch.labels, batch.label_lengths), batch.label_lengths


def las_losses(model: Las, batch: Batch, seed: Any) -> tuple[Any, Any]:
    """Label-smoothed cross-entropy of each utterance, with CTC where there is a head for it."""
    texts = tf.convert_to_tensor(batch.labels)
    inputs = tf.pad(texts, [[0, 0], [1, 0]], constant_values=BEGIN)
    at_end = tf.one_hot(batch.label_lengths, texts.shape[1] + 1, on_value=True, off_value=False)
    targets = tf.where(at_end, END, tf.pad(texts, [[0, 0], [0, 1]]))
    memory = model.listen(batch.features, batch.lengths, training=True, seed=seed)
    logits = model.speller(memory, inputs, training=True, seed=seed)
    tokens = batch.label_lengths + 1
    losses = cross_entropy(logits, targets, tokens, smoothing=0.1)
    if model.ctc_head is not None:
        ctc = ctc_loss(*model.frame_logits(memory), batch.labels, batch.label_lengths)
        losses = joint_loss(losses, ctc, ctc_weight=0.3)
    return losses, tokens


class TrainingStep:
    """One step of Adam (Kingma and Ba, 2015) on clipped gradients; call it in a `tf.function`, compiled or not.

    All that it changes are Keras variables, so that a `keras.StatelessScope` makes a pure function of it.
    """

    def __init__(self, model: Any, *, rate: float = 1e-3, clip_norm: float = 5.0) -> None:
        self.model, self.rate, self.clip_norm = model, rate, clip_norm
        self.losses = las_losses if isinstance(model, Las) else deepspeech2_losses
        self.steps = keras.Variable(0.0, trainable=False)
        zeros = [np.zeros(variable.shape, np.float32) for variable in model.trainable_variables]
        self.means, self.squares = ([keras.Variable(each, trainable=False) for each in zeros] for _ in range(2))

    @property
    def variables(self) -> list[keras.Variable]:
        """What a step changes."""
        return [*self.model.variables, self.steps, *self.means, *self.squares]

    def __call__(self, features: Any, lengths: Any, labels: Any, label_lengths: Any, seed: Any) -> Any:
        """The loss before the step, scalar."""
        batch = Batch(features, lengths, labels, label_lengths)
        weights = [variable.value for variable in self.model.trainable_variables]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(weights)
            loss = average_loss(*self.losses(self.model, batch, seed))
        self.apply(tape.gradient(loss, weights))
        return loss

    def apply(self, gradients: list[Any]) -> None:
        """Clip them by their common norm, and move the weights."""
        gradients, _ = tf.clip_by_global_norm(list(map(tf.convert_to_tensor, gradients)), self.clip_norm)
        self.steps.assign(self.steps + 1.0)
        rate = self.rate * tf.sqrt(1 - 0.999**self.steps) / (1 - 0.9**self.steps)
        moments = zip(self.means, self.squares, strict=True)
        for weight, gradient, (mean, square) in zip(self.model.trainable_variables, gradients, moments, strict=True):
            mean.assign(0.9 * mean + 0.1 * gradient)
            square.assign(0.999 * square + 0.001 * tf.square(gradient))
            weight.assign(weight - rate * mean / (tf.sqrt(square) + 1e-8))
