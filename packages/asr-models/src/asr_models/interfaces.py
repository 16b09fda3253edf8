"""What a model gives to the world: tensors with their lengths."""

from typing import Any, NamedTuple, Protocol

import tensorflow as tf

State = Any
"""Any nest of tensors; leaves with one row per hypothesis may be reordered between steps, others are shared."""


class Encoded(NamedTuple):
    """A padded batch and how much of it is real."""

    values: tf.Tensor
    """`(B, T', D)` float32: logits (D = V) of an acoustic model, or the listener's memory."""
    lengths: tf.Tensor
    """`(B,)` int32, at most T'."""


class AcousticModel(Protocol):
    """Frames to logits, trained by CTC."""

    def __call__(
        self,
        features: tf.Tensor,
        lengths: tf.Tensor,
        *,
        training: bool = False,
        seed: tf.Tensor | None = None,
    ) -> Encoded:
        """`features` `(B, T, F)` float32, `lengths` `(B,)` int32; `seed` `(2,)` int32 drives dropout."""
        ...


class Speller(Protocol):
    """What an attention search needs of a model."""

    def start(self, memory: Encoded, *, beams: int = 1) -> State:
        """The state before the first token, with `N = B * beams` rows, utterance by utterance."""
        ...

    def step(self, tokens: tf.Tensor, state: State) -> tuple[tf.Tensor, State]:
        """`tokens` `(N,)` int32 -> natural log-probabilities of the next token `(N, V)` float32, and the new state."""
        ...
