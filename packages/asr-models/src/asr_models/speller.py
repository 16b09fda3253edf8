"""Attend and spell (Chan et al., 2015): recurrent layers that read the last token and the last context, and look again.

    values = [embedding(token), context]                 (input feeding; else the embedding alone)
    state' = cells(values, state)
    context', alignment' = attention(top of state', memory, alignment)
    logits = output([top of state', context'])

With `attend_first` the attention asks with the top of the old state, and the cells read the context that it gives.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from asr_models.attention import LoopStep, Memory, attention_of
from asr_models.attention_loop import attention_loop
from asr_models.configs import LasConfig
from asr_models.deferred import Later, through
from asr_models.initial import glorot, weight
from asr_models.interfaces import Encoded
from asr_models.layers import Dense, dropout, fold_in, product, uniform
from asr_models.stack import Cell


class SpellerState(NamedTuple):
    """What one token leaves to the next. All but the memory has one row a hypothesis."""

    hidden: tuple[tf.Tensor, ...]
    """`(N, H)` for each layer."""
    cells: tuple[tf.Tensor, ...]
    """`(N, H)` for each layer of an LSTM; none otherwise."""
    context: tf.Tensor
    """`(N, D)`."""
    alignment: tf.Tensor
    """`(N, T)`: where the last token was heard."""
    memory: Memory
    """One row an utterance."""


_Changing = tuple[Any, Any, Any, Any]
"""A SpellerState without its memory."""


class _Rows(NamedTuple):
    """What is added at a step in training: the weights' gradient passes through it after the loop (`deferred.py`)."""

    embedded: Any
    """`(N, E)`."""
    attention: LoopStep
    layers: tuple[Later, ...]


_SAMPLING, _OUTPUT, _EMBEDDING = 101, 102, 103
"""Places in the model that draw random numbers."""


class RecurrentSpeller(keras.Layer):
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
        super().__init__(name=name, autocast=False)
        self.config, self.memory_units, self.vocab_size = config, memory, vocab_size
        units = config.speller_units
        self.embedding = weight(self, "embedding", glorot(rng, vocab_size, config.embedding_units))
        self.layers, width = [], config.embedding_units + (memory if config.input_feeding else 0)
        for n in range(config.speller_layers):
            self.layers.append(Cell(config.cell, width, units, rng=rng, name=f"{name}.cell_{n}"))
            width = units
        self.attention = attention_of(config, memory=memory, rng=rng, name=f"{name}.attention")
        self.spoken_units = units + (memory if config.output_context else 0)
        outputs = config.embedding_units if config.tied_output else vocab_size
        self.output_layer = Dense(self.spoken_units, outputs, rng=rng, name=f"{name}.output")
        self.output_bias = weight(self, "output_bias", np.zeros(vocab_size, np.float32)) if config.tied_output else None
        self.first = None
        if config.start_from_memory:
            states = self.layers[0].states * config.speller_layers
            self.first = Dense(2 * memory, states * units, rng=rng, name=f"{name}.first")
        self.built = True

    def start(self, memory: Encoded, beams: int = 1) -> SpellerState:
        """The state before the first token, `N = B * beams` rows, utterance by utterance."""
        batch, frames = tf.shape(memory.values)[0], tf.shape(memory.values)[1]
        real = tf.sequence_mask(memory.lengths, frames)
        states, layers = self._first_states(memory, beams), self.config.speller_layers
        return SpellerState(
            tuple(states[:layers]),
            tuple(states[layers:]),
            tf.zeros([batch * beams, self.memory_units]),
            # Nothing was heard yet: the reading begins at the first frame.
            tf.repeat(tf.one_hot(tf.where(memory.lengths > 0, 0, -1), frames), beams, axis=0),
            self.attention.memory(memory.values, real),
        )

    def _first_states(self, memory: Encoded, beams: int) -> list[tf.Tensor]:
        """All hidden states, then all cells."""
        batch, layers, units = tf.shape(memory.values)[0], self.config.speller_layers, self.config.speller_units
        count = self.layers[0].states * layers
        if self.first is None:
            return [tf.zeros([batch * beams, units])] * count
        last = tf.gather(memory.values, tf.maximum(memory.lengths - 1, 0), axis=1, batch_dims=1)
        heard = self.first(tf.concat([memory.values[:, 0], last], -1))
        return tf.split(tf.repeat(heard, beams, axis=0), count, axis=-1)

    def step(
        self, tokens: tf.Tensor, state: SpellerState, *, training: bool = False, seed: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, SpellerState]:
        """`tokens` `(N,)` -> what the output layer reads, `(N, H + D)`, and the new state."""
        return self._step(tokens, state, None, training=training, seed=seed)[:2]

    def _step(
        self,
        tokens: tf.Tensor,
        state: SpellerState,
        rows: _Rows | None,
        *,
        training: bool,
        seed: tf.Tensor | None,
    ) -> tuple[tf.Tensor, SpellerState, list[tf.Tensor]]:
        """Also the attention's query, and what each layer read."""
        embedding = tf.convert_to_tensor(self.embedding)
        values = (
            tf.gather(embedding, tokens)
            if rows is None
            else tf.gather(tf.stop_gradient(embedding), tokens) + rows.embedded
        )
        values = dropout(values, self.config.embedding_dropout, seed, _EMBEDDING, training=training)
        context, alignment, query = state.context, state.alignment, state.hidden[-1]
        if self.config.attend_first:
            context, alignment = self._attend(query, state, rows)
        if self.config.input_feeding:
            values = tf.concat([values, context], -1)
        hidden, cells, read = [], [], []
        later = rows.layers if rows else [None] * len(self.layers)
        for layer, old, own in zip(self.layers, self._by_layer(state), later, strict=True):
            read.append(layer.read(values, old))
            values, *rest = layer(values, old, own)
            hidden.append(values)
            cells.extend(rest)
        if not self.config.attend_first:
            query = values
            context, alignment = self._attend(query, state, rows)
        state = SpellerState(tuple(hidden), tuple(cells), context, alignment, state.memory)
        return tf.concat([values, context], -1) if self.config.output_context else values, state, [query, *read]

    def _attend(self, query: tf.Tensor, state: SpellerState, rows: _Rows | None) -> tuple[tf.Tensor, tf.Tensor]:
        found: tuple[tf.Tensor, tf.Tensor] = self.attention(
            query, state.memory, state.alignment, None if rows is None else rows.attention
        )
        return found

    def _by_layer(self, state: SpellerState) -> list[tuple[tf.Tensor, ...]]:
        return list(zip(state.hidden, state.cells, strict=True)) if state.cells else [(h,) for h in state.hidden]

    def logits(
        self, spoken: tf.Tensor, *, training: bool = False, seed: tf.Tensor | None = None, place: int = 0
    ) -> tf.Tensor:
        """`(..., H + D)` -> `(..., V)`."""
        values = self.output_layer(dropout(spoken, self.config.dropout, seed, place, training=training))
        if self.output_bias is None:
            return values
        embedding = tf.transpose(tf.convert_to_tensor(self.embedding))
        return product(values, embedding, self.compute_dtype) + tf.convert_to_tensor(self.output_bias)

    def call(
        self,
        memory: Encoded,
        tokens: tf.Tensor,
        *,
        training: bool = False,
        seed: tf.Tensor | None = None,
        sampling: tf.Tensor | float | None = None,
        token_lengths: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Teacher forcing: `tokens` `(B, U)`, of which the first is the begin token -> logits `(B, U, V)`.

        `token_lengths` `(B,)` says how many are real: nothing is spelled behind the longest, though U be more.
        In training a token is replaced by the speller's own last guess with probability `sampling`, a number or a
        scalar tensor that grows from step to step; None is `config.sampling`.

        Raises:
            ValueError: training draws numbers and there is no seed.
        """
        spoken, _ = self._spell(memory, tokens, token_lengths, training=training, seed=seed, sampling=sampling)
        return self.logits(spoken, training=training, seed=seed, place=_OUTPUT)

    def alignments(self, memory: Encoded, tokens: tf.Tensor) -> tf.Tensor:
        """`tokens` `(B, U)` -> `(B, U, T')`: where each next token was heard; rows sum to one, padding is zero."""
        return self._spell(memory, tokens)[1]

    def _spell(
        self,
        memory: Encoded,
        tokens: tf.Tensor,
        lengths: tf.Tensor | None = None,
        *,
        training: bool = False,
        seed: tf.Tensor | None = None,
        sampling: tf.Tensor | float | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """What the output layer reads `(B, U, H + D)`, and the alignments `(B, U, T')`."""
        tokens, state = tf.cast(tokens, tf.int32), self.start(memory)
        by_step, known = tf.transpose(tokens), tokens.shape[1]
        steps = tf.shape(tokens)[1] if known is None else known
        # The arrays have U rows, whatever is spelled: those that no step writes are zero.
        longest = steps if lengths is None else tf.minimum(tf.reduce_max(tf.cast(lengths, tf.int32)), steps)
        own_guess = self._own_guess(by_step, seed, sampling) if training else None
        read: dict[str, tf.Tensor] = {}  # by the steps, once the loop has run
        fixed, later = state.memory, None
        if training and known != 0:
            fixed, later = self._later(steps, tf.shape(tokens)[0], state.memory, read)

        def body(u: tf.Tensor, guess: tf.Tensor, changing: _Changing, *out: tf.TensorArray) -> tuple[Any, ...]:
            token = by_step[u] if own_guess is None else tf.where(own_guess[u], guess, by_step[u])
            place = fold_in(seed, u) if training and self.config.embedding_dropout else None
            before, rows = SpellerState(*changing, fixed), None if later is None else later(u)
            spoken, after, inputs = self._step(token, before, rows, training=training, seed=place)
            if own_guess is not None:
                guess = tf.argmax(tf.stop_gradient(self.logits(spoken)), -1, output_type=tf.int32)
            # What is only read again gets no gradient: else zeros for each row are made, read and added.
            kept = [after.alignment] if later is None else map(tf.stop_gradient, (after.alignment, token, *inputs))
            written = (array.write(u, row) for array, row in zip(out, (spoken, *kept), strict=True))
            return u + 1, guess, tuple(after[:-1]), *written

        shapes = {"spoken": [self.spoken_units], "alignments": [memory.values.shape[1]]}
        if later is not None:
            shapes |= {"tokens": [], "query": [self.config.speller_units]}
            shapes |= {each.name: [each.reads] for each in self.layers}
        arrays = [
            tf.TensorArray(tf.int32 if name == "tokens" else tf.float32, steps, element_shape=[tokens.shape[0], *shape])
            for name, shape in shapes.items()
        ]
        # Nothing was guessed before the first step: its guess is its token. The memory stays out of the loop's state:
        # what a loop carries is kept for the gradient once a step.
        first = (0, tf.zeros_like(tokens[:, 0]) if known == 0 else by_step[0], tuple(state[:-1]), *arrays)
        _, _, _, *found = tf.while_loop(lambda u, *_: u < longest, body, first, maximum_iterations=known)
        read.update((name, array.stack()) for name, array in zip(shapes, found, strict=True))
        return tf.transpose(read["spoken"], [1, 0, 2]), tf.transpose(read["alignments"], [1, 0, 2])

    def _later(
        self, steps: Any, batch: Any, memory: Memory, read: dict[str, tf.Tensor]
    ) -> tuple[Memory, Callable[[tf.Tensor], _Rows]]:
        """The memory as the loop reads it, and the rows of each step."""
        embedding = tf.convert_to_tensor(self.embedding)

        def of_embedding(upstream: tf.Tensor) -> list[tf.Tensor]:
            rows, tokens = tf.reshape(upstream, [-1, embedding.shape[1]]), tf.reshape(read["tokens"], [-1])
            return [tf.math.unsorted_segment_sum(rows, tokens, embedding.shape[0])]

        embedded = through(tf.zeros([steps, batch, embedding.shape[1]]), [embedding], of_embedding)
        memory, attention, attend = attention_loop(self.attention, memory, steps, batch, read)
        biases = [layer.biases(steps, batch, functools.partial(read.__getitem__, layer.name)) for layer in self.layers]
        matrices = [(matrix, tf.transpose(matrix)) for matrix in (layer.matrix() for layer in self.layers)]

        def rows(u: tf.Tensor) -> _Rows:
            embedded, query, context, *biases = (array.read(u) for array in arrays)
            layers = tuple(Later(bias, *pair) for bias, pair in zip(biases, matrices, strict=True))
            return _Rows(embedded, attend((query, context)), layers)

        arrays = [
            tf.TensorArray(each.dtype, steps, clear_after_read=False).unstack(each)
            for each in (embedded, *attention, *biases)
        ]
        return memory, rows

    def _own_guess(
        self, by_step: tf.Tensor, seed: tf.Tensor | None, rate: tf.Tensor | float | None
    ) -> tf.Tensor | None:
        """`(U, B)` bool: where a token is replaced by the guess; None where none ever is."""
        rate = self.config.sampling if rate is None else rate
        if isinstance(rate, int | float) and rate == 0:
            return None
        steps, batch = tf.unstack(tf.shape(by_step))
        shape = {"token": [batch, steps], "utterance": [batch, 1], "batch": [1, 1]}[self.config.sampling_per]
        draws = tf.transpose(uniform(tf.stack(shape), seed, _SAMPLING))
        return tf.broadcast_to(draws < tf.cast(rate, tf.float32), [steps, batch])
