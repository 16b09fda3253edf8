"""Attend and spell (Chan et al., 2015): LSTM layers that read the last token and the last context, and look again."""

from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from asr_models.attention import DotAttention, LocationAttention, Memory
from asr_models.configs import LasConfig
from asr_models.initial import glorot, orthogonal, weight
from asr_models.interfaces import Encoded
from asr_models.layers import Dense, dropout, uniform
from asr_models.recurrent import lstm_cell


class SpellerState(NamedTuple):
    """What one token leaves to the next. All but the memory has one row a hypothesis."""

    hidden: tuple[tf.Tensor, ...]
    """`(N, H)` for each layer."""
    cells: tuple[tf.Tensor, ...]
    """`(N, H)` for each layer."""
    context: tf.Tensor
    """`(N, D)`."""
    alignment: tf.Tensor
    """`(N, T)`: where the last token was heard."""
    memory: Memory
    """One row an utterance."""


_Changing = tuple[Any, Any, Any, Any]
"""A SpellerState without its memory."""


class Cell(keras.Layer):
    """The weights of one LSTM step."""

    def __init__(self, inputs: int, units: int, *, rng: np.random.Generator, name: str) -> None:
        super().__init__(name=name)
        self.projection = Dense(inputs, 4 * units, rng=rng, bias=False, name=f"{name}.projection")
        self.bias = weight(
            self, "bias", np.repeat(np.array([0, 1, 0, 0], np.float32), units)
        )  # the forget gate starts open
        self.recurrent = weight(self, "recurrent", np.hstack([orthogonal(rng, units) for _ in range(4)]))
        self.built = True

    def call(self, values: tf.Tensor, hidden: tf.Tensor, cell: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """`(N, D)` and the state `(N, H)` -> the new `(h, c)`."""
        z = self.projection(values) + tf.matmul(hidden, tf.convert_to_tensor(self.recurrent))
        return lstm_cell(z + tf.convert_to_tensor(self.bias), cell)


class LstmSpeller(keras.Layer):
    """Memory and tokens to logits of the next token."""

    def __init__(
        self,
        config: LasConfig,
        *,
        memory: int,
        vocab_size: int,
        rng: np.random.Generator,
        name: str = "speller",
    ) -> None:
        super().__init__(name=name)
        self.config, self.memory_units, self.vocab_size = config, memory, vocab_size
        units = config.speller_units
        self.embedding = weight(self, "embedding", glorot(rng, vocab_size, config.embedding_units))
        self.cells, width = [], config.embedding_units + memory
        for n in range(config.speller_layers):
            self.cells.append(Cell(width, units, rng=rng, name=f"{name}.cell_{n}"))
            width = units
        if config.attention == "location":
            self.attention = LocationAttention(
                units,
                memory,
                config.attention_units,
                channels=config.location_channels,
                width=config.location_width,
                rng=rng,
                name=f"{name}.attention",
            )
        else:
            self.attention = DotAttention(units, memory, config.attention_units, rng=rng, name=f"{name}.attention")
        self.output_layer = Dense(units + memory, vocab_size, rng=rng, name=f"{name}.output")
        self.built = True

    def start(self, memory: Encoded, beams: int = 1) -> SpellerState:
        """The state before the first token, `N = B * beams` rows, utterance by utterance."""
        batch, frames = tf.shape(memory.values)[0], tf.shape(memory.values)[1]
        real = tf.sequence_mask(memory.lengths, frames)
        hidden = tf.zeros([batch * beams, self.config.speller_units])
        zeros = (hidden,) * len(self.cells)
        return SpellerState(
            zeros,
            zeros,
            tf.zeros([batch * beams, self.memory_units]),
            tf.zeros([batch * beams, frames]),
            self.attention.memory(memory.values, real),
        )

    def step(self, tokens: tf.Tensor, state: SpellerState) -> tuple[tf.Tensor, SpellerState]:
        """`tokens` `(N,)` -> what the output layer reads, `(N, H + D)`, and the new state."""
        values = tf.concat([tf.gather(tf.convert_to_tensor(self.embedding), tokens), state.context], -1)
        hidden, cells = [], []
        for layer, h, c in zip(self.cells, state.hidden, state.cells, strict=True):
            values, c = layer(values, h, c)
            hidden.append(values)
            cells.append(c)
        context, alignment = self.attention(values, state.memory, state.alignment)
        state = SpellerState(tuple(hidden), tuple(cells), context, alignment, state.memory)
        return tf.concat([values, context], -1), state

    def logits(
        self, spoken: tf.Tensor, *, training: bool = False, seed: tf.Tensor | None = None, place: int = 0
    ) -> tf.Tensor:
        """`(..., H + D)` -> `(..., V)`."""
        return self.output_layer(dropout(spoken, self.config.dropout, seed, place, training=training))

    def call(
        self,
        memory: Encoded,
        tokens: tf.Tensor,
        *,
        training: bool = False,
        seed: tf.Tensor | None = None,
        sampling: tf.Tensor | float | None = None,
    ) -> tf.Tensor:
        """Teacher forcing: `tokens` `(B, U)`, of which the first is the begin token -> logits `(B, U, V)`.

        In training a token is replaced by the speller's own last guess with probability `sampling`, a number or a
        scalar tensor that grows from step to step; None is `config.sampling`.
        """
        rate = self.config.sampling if sampling is None else sampling
        guesses = training and self.config.sampling > 0
        known = tokens.shape[1]
        steps, state = tf.shape(tokens)[1] if known is None else known, self.start(memory)
        by_step = tf.transpose(tokens)
        if guesses:
            draws = tf.transpose(uniform(tokens, seed, 101))
            own_guess = draws < rate

        out = tf.TensorArray(tf.float32, steps, element_shape=[tokens.shape[0], self.output_layer.kernel.shape[0]])

        def body(u: tf.Tensor, guess: tf.Tensor, changing: _Changing, out: tf.TensorArray) -> tuple[Any, ...]:
            token = by_step[u]
            if guesses:
                token = tf.where(own_guess[u], guess, token)
            spoken, after = self.step(token, SpellerState(*changing, state.memory))
            if guesses:
                guess = tf.argmax(tf.stop_gradient(self.logits(spoken)), -1, output_type=tf.int32)
            return u + 1, guess, tuple(after[:-1]), out.write(u, spoken)

        # Nothing was guessed before the first step: its guess is its token. The memory stays out of the loop's state:
        # what a loop carries is kept for the gradient once a step.
        *_, out = tf.while_loop(
            lambda u, *_: u < steps, body, (0, by_step[0], tuple(state[:-1]), out), maximum_iterations=known
        )
        spoken = tf.transpose(out.stack(), [1, 0, 2])
        return self.logits(spoken, training=training, seed=seed, place=102)
