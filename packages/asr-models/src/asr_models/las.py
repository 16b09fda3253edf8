"""Listen, Attend and Spell (Chan et al., 2015, arXiv:1508.01211)."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from asr_models.configs import LasConfig
from asr_models.interfaces import Encoded
from asr_models.layers import Dense
from asr_models.lengths import as_batch
from asr_models.listener import Listener
from asr_models.speller import RecurrentSpeller, SpellerState


class Las(keras.Model):
    """Frames and the tokens so far to logits of the next token.

    Args:
        config: what it is made of.
        features: F, the number of features a frame.
        vocab_size: V, with the begin and end tokens.
        channels: C, of features `(B, T, F, C)` such as deltas beside them; 1 for features `(B, T, F)`.
        seed: of the first weights; equal seeds give equal models.
    """

    def __init__(self, config: LasConfig, *, features: int, vocab_size: int, channels: int = 1, seed: int = 0) -> None:
        super().__init__(name="las", autocast=False)
        rng = np.random.default_rng(seed)
        self.config, self.features, self.vocab_size, self.stride = config, features, vocab_size, config.stride
        self.channels = channels
        self.listener = Listener(config, features=features, channels=channels, rng=rng)
        self.speller = RecurrentSpeller(config, memory=self.listener.width, vocab_size=vocab_size, rng=rng)
        width = self.listener.width
        self.ctc_head = Dense(width, vocab_size, rng=rng, name="ctc_head") if config.ctc_head else None
        self.built = True

    def frame_logits(self, memory: Encoded) -> Encoded:
        """CTC logits `(B, T', V)` of the listener's memory, with its lengths.

        Raises:
            ValueError: the model was built without `ctc_head`.
        """
        if self.ctc_head is None:
            raise ValueError("this Las has no CTC head: build it with LasConfig(ctc_head=True)")
        return Encoded(self.ctc_head(memory.values), memory.lengths)

    def listen(
        self,
        features: tf.Tensor,
        lengths: tf.Tensor,
        *,
        training: bool = False,
        seed: tf.Tensor | None = None,
    ) -> Encoded:
        """`features` `(B, T, F)`, `lengths` `(B,)` int32 -> memory `(B, T', D)` and its lengths, ceil(length / stride).

        Raises:
            ValueError: the features are not `(B, T, F)`; or training with dropout and no seed.
        """
        features, lengths = as_batch("Las", features, lengths, width=self.features, channels=self.channels)
        return self.listener(features, lengths, training=training, seed=seed)

    def call(
        self,
        features: tf.Tensor,
        lengths: tf.Tensor,
        tokens: tf.Tensor,
        *,
        training: bool = False,
        seed: tf.Tensor | None = None,
        sampling: tf.Tensor | float | None = None,
        token_lengths: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Teacher forcing: `tokens` `(B, U)` int32 that start with the begin token -> logits `(B, U, V)`.

        Logits at u are for the token after `tokens[:, u]`; those beyond a text's length mean nothing. `sampling` is
        the rate of scheduled sampling in this step, a number or a scalar tensor; None is that of the configuration.
        With `token_lengths` `(B,)`, how many of the tokens are real, the speller ends at the longest, not at U.
        """
        memory = self.listen(features, lengths, training=training, seed=seed)
        return self.speller(
            memory, tokens, training=training, seed=seed, sampling=sampling, token_lengths=token_lengths
        )

    def alignments(self, memory: Encoded, tokens: tf.Tensor) -> tf.Tensor:
        """Where each next token is heard, under teacher forcing: `tokens` `(B, U)` -> `(B, U, T')`, rows sum to one."""
        return self.speller.alignments(memory, tokens)

    def start(self, memory: Encoded, *, beams: int = 1) -> SpellerState:
        """The speller's state before the begin token, `N = B * beams` rows, utterance by utterance."""
        return self.speller.start(memory, beams)

    def step(self, tokens: tf.Tensor, state: SpellerState) -> tuple[tf.Tensor, Any]:
        """`tokens` `(N,)` int32 -> natural log-probabilities `(N, V)` of the next token, and the new state.

        `state.alignment` `(N, T')` then says where the token was heard.
        """
        spoken, state = self.speller.step(tf.cast(tokens, tf.int32), state)
        return tf.nn.log_softmax(self.speller.logits(spoken)), state
