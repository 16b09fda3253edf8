"""The doors out of TensorFlow: numpy log-probabilities for a CTC decoder, a step function for an attention search."""

from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from asr_models.interfaces import AcousticModel, Encoded
from asr_models.las import Las


def log_probabilities(
    model: AcousticModel, features: tf.Tensor | NDArray[np.float32], lengths: tf.Tensor | NDArray[np.int32]
) -> list[NDArray[np.float32]]:
    """Natural log-probabilities of each utterance, `(T', V)` float32, cut to its own length.

    Args:
        model: an acoustic model.
        features: `(B, T, F)` float32.
        lengths: `(B,)` int32.
    """
    logits, frames = model(tf.convert_to_tensor(features), tf.convert_to_tensor(lengths))
    scores = tf.nn.log_softmax(logits).numpy()
    return [row[:count] for row, count in zip(scores, frames.numpy(), strict=True)]


class SpellerStep:
    """A Las as the step function of an attention search.

    The listener and the step are traced once, for any batch, number of frames and number of beams.
    """

    def __init__(self, model: Las) -> None:
        self.model = model
        features = tf.TensorSpec([None, None, model.features], tf.float32)
        self._listen = tf.function(
            self._start,
            input_signature=[features, tf.TensorSpec([None], tf.int32), tf.TensorSpec([], tf.int32)],
        )
        self._step = tf.function(model.step, reduce_retracing=True)

    def _start(self, features: tf.Tensor, lengths: tf.Tensor, beams: tf.Tensor) -> tuple[Any, tf.Tensor]:
        memory: Encoded = self.model.listen(features, lengths)
        return self.model.start(memory, beams=beams), memory.lengths

    def start(self, features: Any, lengths: Any, *, beams: int = 1) -> tuple[Any, NDArray[np.int32]]:
        """`features` `(B, T, F)`, `lengths` `(B,)` -> the state of `B * beams` rows, and the frames of each memory."""
        state, frames = self._listen(features, lengths, beams)
        return state, frames.numpy()

    def __call__(self, tokens: NDArray[np.int32], state: Any, /) -> tuple[NDArray[np.float32], Any]:
        """`tokens` `(N,)` -> natural log-probabilities `(N, V)`, and the new state (tensors)."""
        log_probs, state = self._step(tf.convert_to_tensor(tokens, tf.int32), state)
        return log_probs.numpy(), state
