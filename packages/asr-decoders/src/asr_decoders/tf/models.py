"""Step functions in the loop of a search: what they say and their states, checked."""

from typing import Any

import numpy as np
import tensorflow as tf

from asr_decoders import checks
from asr_decoders.attention import AttentionBeam
from asr_decoders.interfaces import Step


class Model:
    """A step function with its first state, whose arrays are the loop's and whose other leaves stay as they are."""

    def __init__(self, name: str, step: Step, state: Any, weight: float = 1.0) -> None:
        self.name, self.weight = name, weight
        self._step, self._nest = step, state
        self.state = [tf.convert_to_tensor(leaf) for leaf in tf.nest.flatten(state) if _is_array(leaf)]

    def __call__(
        self, tokens: tf.Tensor, state: list[tf.Tensor], rows: int | None, search: AttentionBeam
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Log-probabilities (N, V), new state. Raises ValueError where shapes or dtypes are wrong."""
        arrays = iter(state)
        leaves = [next(arrays) if _is_array(leaf) else leaf for leaf in tf.nest.flatten(self._nest)]
        answer = self._step(tokens, tf.nest.pack_sequence_as(self._nest, leaves))
        if not isinstance(answer, tuple | list) or len(answer) not in (2, 3):
            raise ValueError(f"log-probabilities and state expected of {self.name}, got {type(answer).__name__}")
        log_probs = tf.convert_to_tensor(answer[0])
        if log_probs.shape.rank != 2 or log_probs.shape[1] is None or rows not in (None, log_probs.shape[0] or rows):
            raise ValueError(f"log-probabilities ({rows}, V) expected of {self.name}, got shape {log_probs.shape}")
        if not log_probs.dtype.is_floating or search.end >= log_probs.shape[1]:
            raise ValueError(
                f"log-probabilities of floats, with V > end = {search.end}, expected of {self.name}, "
                f"got {log_probs.dtype.name} of shape {log_probs.shape}"
            )
        checks.vocabulary_size(search.vocabulary, log_probs.shape[1])
        if log_probs.dtype.size < 4:
            log_probs = tf.cast(log_probs, tf.float32)
        return log_probs, self._arrays(answer[1], state)

    def _arrays(self, nest: Any, state: list[tf.Tensor]) -> list[tf.Tensor]:
        """The arrays of a new state, which must be like those of the old."""
        try:
            tf.nest.assert_same_structure(self._nest, nest, check_types=False)
        except (ValueError, TypeError):
            raise ValueError(f"the state of {self.name} must keep its structure, got another after a step") from None
        arrays = []
        kept = zip(tf.nest.flatten(self._nest), tf.nest.flatten(nest), strict=True)
        for before, (first, leaf) in zip(state, [pair for pair in kept if _is_array(pair[0])], strict=True):
            after = tf.convert_to_tensor(leaf, before.dtype if isinstance(first, int | float) else None)
            if after.dtype != before.dtype or not before.shape.is_compatible_with(after.shape):
                was, got = f"{before.dtype.name} {before.shape}", f"{after.dtype.name} {after.shape}"
                raise ValueError(f"the state of {self.name} must keep its shapes and dtypes, but {was} became {got}")
            arrays.append(tf.ensure_shape(after, before.shape))
        return arrays


def _is_array(leaf: Any) -> bool:
    """Whether it is a variable of the loop; None, strings and bools are not."""
    return tf.is_tensor(leaf) or (
        isinstance(leaf, np.ndarray | np.generic | int | float) and not isinstance(leaf, bool)
    )
