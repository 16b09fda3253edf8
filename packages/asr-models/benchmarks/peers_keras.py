"""The networks of `whole_step.py` of stock Keras layers."""

import keras
import numpy as np
import tensorflow as tf
from training_step import BEGIN, END
from whole_step import DS2, LAS, batch_of

layers = keras.layers


class DeepSpeech2(keras.Model):
    """Two convolutions, bidirectional LSTM layers, CTC."""

    def __init__(self, vocabulary):
        super().__init__()
        self.convolutions = []
        for each in DS2.convolutions:
            convolution = layers.Conv2D(each.channels, each.kernel, each.stride, padding="same", use_bias=False)
            self.convolutions += [convolution, layers.BatchNormalization(), layers.ReLU(20.0)]
        lstms = [layers.LSTM(DS2.recurrent_units, return_sequences=True) for _ in range(DS2.recurrent_layers)]
        self.recurrent = [layers.Bidirectional(each) for each in lstms]
        self.output_layer = layers.Dense(vocabulary, dtype="float32")

    def call(self, batch):
        values, lengths = batch.features[..., None], -(-batch.lengths // DS2.stride)
        for layer in self.convolutions:
            values = layer(values, training=True)
        values = tf.reshape(values, [*values.shape[:2], values.shape[2] * values.shape[3]])
        mask = tf.sequence_mask(lengths, values.shape[1])
        for layer in self.recurrent:
            values = layer(values, mask=mask)
        logits = self.output_layer(values)
        return keras.ops.ctc_loss(batch.labels, logits, batch.label_lengths, lengths), batch.label_lengths


class SpellerCell(layers.Layer):
    """A step of the speller, for `keras.layers.RNN`; the memory is given to it before."""

    def __init__(self, frames):
        super().__init__()
        units, width = LAS.speller_units, LAS.location_width
        self.cells = [layers.LSTMCell(units) for _ in range(LAS.speller_layers)]
        self.query, self.key = (layers.Dense(LAS.attention_units, use_bias=bias) for bias in (True, False))
        self.filters = layers.Conv1D(LAS.location_channels, width, padding="same", use_bias=False)
        self.location = layers.Dense(LAS.attention_units, use_bias=False)
        self.score = layers.Dense(1)
        memory = 2 * LAS.listener_units
        self.state_size = [units, units] * LAS.speller_layers + [memory, frames]
        self.output_size = units + memory

    def build(self, _):
        """The parts build themselves at their first call."""

    def attend(self, memory, mask):
        self.memory, self.keys, self.low = memory, self.key(memory), tf.where(mask, 0.0, -1e9)

    def call(self, inputs, states):
        *states, context, alignment = states
        values, after = tf.concat([inputs, context], -1), []
        for n, cell in enumerate(self.cells):
            values, state = cell(values, states[2 * n : 2 * n + 2])
            after += state
        location = self.location(self.filters(alignment[..., None]))
        scores = self.score(tf.tanh(self.keys + self.query(values)[:, None] + location))[..., 0]
        alignment = tf.cast(tf.nn.softmax(tf.cast(scores, tf.float32) + self.low), values.dtype)
        context = tf.matmul(alignment[:, None], self.memory)[:, 0]
        return tf.concat([values, context], -1), [*after, context, alignment]


class Las(keras.Model):
    """A pyramid of LSTM layers, location-aware attention, a speller with input feeding."""

    def __init__(self, vocabulary, frames):
        super().__init__()
        lstms = [layers.LSTM(LAS.listener_units, return_sequences=True) for _ in range(LAS.listener_layers)]
        self.listener = [layers.Bidirectional(each) for each in lstms]
        self.embedding = layers.Embedding(vocabulary, LAS.embedding_units)
        self.cell = SpellerCell(frames)
        self.speller = layers.RNN(self.cell, return_sequences=True)
        self.output_layer = layers.Dense(vocabulary, dtype="float32")

    def call(self, batch):
        values, lengths = batch.features, batch.lengths
        for n, layer in enumerate(self.listener):
            if n:
                values = tf.reshape(values, [values.shape[0], values.shape[1] // 2, 2 * values.shape[2]])
                lengths = -(-lengths // 2)
            mask = tf.sequence_mask(lengths, values.shape[1])
            values = layer(values, mask=mask)
        self.cell.attend(values, mask)
        spoken = self.speller(self.embedding(tf.pad(batch.labels, [[0, 0], [1, 0]], constant_values=BEGIN)))
        at_end = tf.one_hot(batch.label_lengths, spoken.shape[1], on_value=True, off_value=False)
        targets = tf.where(at_end, END, tf.pad(batch.labels, [[0, 0], [0, 1]]))
        log_probs = tf.nn.log_softmax(self.output_layer(spoken))
        tokens = batch.label_lengths + 1
        each = 0.9 * tf.gather(log_probs, targets, batch_dims=2) + 0.1 * tf.reduce_mean(log_probs, -1)
        return -tf.reduce_sum(each * tf.sequence_mask(tokens, spoken.shape[1], dtype=tf.float32), -1), tokens


def step_of(family, dtype):
    """A training step that gives its loss."""
    keras.config.set_dtype_policy("mixed_bfloat16" if dtype == "bfloat16" else "float32")
    batch, (_, vocabulary) = batch_of(family)
    frames = batch.features.shape[1] // LAS.stride
    model = Las(vocabulary, frames) if family == "las" else DeepSpeech2(vocabulary)
    batch = type(batch)(*map(tf.constant, batch))
    model(batch)
    optimizer = keras.optimizers.Adam(1e-3, global_clipnorm=5.0)
    optimizer.build(model.trainable_variables)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            losses, tokens = model(batch)
            loss = tf.reduce_sum(losses) / tf.cast(tf.reduce_sum(tokens), tf.float32)
        variables = model.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return loss

    return lambda: float(step()), sum(int(np.prod(each.shape)) for each in model.trainable_variables)
