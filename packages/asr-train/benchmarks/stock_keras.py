"""The networks of `training_step.py` of stock Keras layers."""

import keras
import tensorflow as tf
from corpora import BEGIN, END

layers = keras.layers


class Convolutions(layers.Layer):
    """Convolution, batch normalisation, clipped ReLU; `(B, T, F)` -> `(B, T', width)`."""

    def __init__(self, configs, features):
        super().__init__()
        self.configs, self.blocks, self.width = configs, [], features
        for each in configs:
            convolution = layers.Conv2D(each.channels, each.kernel, each.stride, padding="same", use_bias=False)
            self.blocks.append((convolution, layers.BatchNormalization(), layers.ReLU(20.0)))
            features = -(-features // each.stride[1])
            self.width = features * each.channels

    def call(self, values, lengths):
        values = values[..., None] if self.blocks else values
        for each, (convolution, norm, activation) in zip(self.configs, self.blocks, strict=True):
            values, lengths = activation(norm(convolution(values), training=True)), -(-lengths // each.stride[0])
        return tf.reshape(values, [tf.shape(values)[0], tf.shape(values)[1], self.width]), lengths


def ctc(logits, lengths, batch):
    """`(B,)`; what has no path counts as nothing, as in ours."""
    return keras.ops.ctc_loss(batch.labels, logits, batch.label_lengths, lengths)


class DeepSpeech2(keras.Model):
    """Convolutions, recurrent layers, batch normalisation before all but the first, CTC."""

    def __init__(self, config, vocabulary):
        super().__init__()
        self.convolutions = Convolutions(config.model.convolutions, config.features.dim)
        units, merge = config.model.recurrent_units, config.model.merge
        lstms = [layers.LSTM(units, return_sequences=True) for _ in range(config.model.recurrent_layers)]
        self.recurrent = [layers.Bidirectional(each, merge_mode=merge) for each in lstms]
        self.norms = [layers.BatchNormalization() for _ in lstms]
        self.dropout, self.output_layer = layers.Dropout(config.model.dropout), layers.Dense(vocabulary)

    def call(self, batch):
        values, lengths = self.convolutions(batch.features, batch.feature_lengths)
        mask = tf.sequence_mask(lengths, tf.shape(values)[1])
        for layer, norm in zip(self.recurrent, self.norms, strict=True):
            values = norm(self.dropout(layer(values, mask=mask), training=True), training=True, mask=mask)
        return ctc(self.output_layer(values), lengths, batch)


class SpellerCell(layers.Layer):
    """A step of the speller, for `keras.layers.RNN`; the memory is given to it before."""

    def __init__(self, config, vocabulary):
        super().__init__()
        self.config, units = config, config.speller_units
        self.embedding = layers.Embedding(vocabulary, config.embedding_units)
        self.cells = [layers.LSTMCell(units) for _ in range(config.speller_layers)]
        self.query, self.key = (layers.Dense(config.attention_units, use_bias=bias) for bias in (True, False))
        self.filters = layers.Conv1D(config.location_channels, config.location_width, padding="same", use_bias=False)
        self.location = layers.Dense(config.attention_units, use_bias=False)
        self.score = layers.Dense(1, use_bias=False)
        self.output_layer = layers.Dense(vocabulary)
        self.memory_units = 2 * config.listener_units
        self.state_size = [units, units] * config.speller_layers + [self.memory_units, 1, 1]
        self.output_size = units + self.memory_units

    def build(self, _):
        """The parts build themselves at their first call."""

    def attend(self, memory, mask, tokens):
        """Take the memory in; the first state."""
        self.memory, self.keys, self.low = memory, self.key(memory), tf.where(mask, 0.0, -1e9)
        rows, frames = tf.shape(memory)[0], tf.shape(memory)[1]
        first = tf.cast(tokens[:, :1], tf.float32)  # states are float
        zeros = [tf.zeros([rows, self.config.speller_units])] * (2 * self.config.speller_layers)
        return [*zeros, tf.zeros([rows, self.memory_units]), tf.zeros([rows, frames]), first]

    def call(self, inputs, states):
        """`inputs` `(B, 2)`: the token, and whether to take the own guess instead of it."""
        *states, context, alignment, guess = states
        token = tf.where(inputs[:, 1] > 0, tf.cast(guess[:, 0], tf.int32), inputs[:, 0])
        values, after = tf.concat([self.embedding(token), context], -1), []
        for n, cell in enumerate(self.cells):
            values, state = cell(values, states[2 * n : 2 * n + 2])
            after += state
        location = self.location(self.filters(alignment[..., None]))
        scores = self.score(tf.tanh(self.keys + self.query(values)[:, None] + location))[..., 0]
        alignment = tf.nn.softmax(scores + self.low)
        context = tf.matmul(alignment[:, None], self.memory)[:, 0]
        spoken = tf.concat([values, context], -1)
        if self.config.sampling:
            guess = tf.cast(tf.argmax(tf.stop_gradient(self.output_layer(spoken)), -1)[:, None], tf.float32)
        return spoken, [*after, context, alignment, guess]


class Las(keras.Model):
    """A pyramid of recurrent layers, location-aware attention, a speller with input feeding, CTC on the listener."""

    def __init__(self, config, vocabulary):
        super().__init__()
        self.config, self.train_config = config.model, config.train
        self.convolutions = Convolutions(self.config.convolutions, config.features.dim)
        units = self.config.listener_units
        lstms = [layers.LSTM(units, return_sequences=True) for _ in range(self.config.listener_layers)]
        self.listener = [layers.Bidirectional(each) for each in lstms]
        self.dropout, self.cell = layers.Dropout(self.config.dropout), SpellerCell(self.config, vocabulary)
        self.speller = layers.RNN(self.cell, return_sequences=True)
        self.head = layers.Dense(vocabulary) if self.config.ctc_head else None

    def listen(self, batch):
        values, lengths = self.convolutions(batch.features, batch.feature_lengths)
        for n, layer in enumerate(self.listener):
            if n:
                values = tf.pad(values, [[0, 0], [0, tf.shape(values)[1] % 2], [0, 0]])
                values = tf.reshape(values, [tf.shape(values)[0], tf.shape(values)[1] // 2, 2 * values.shape[2]])
                lengths = -(-lengths // 2)
            mask = tf.sequence_mask(lengths, tf.shape(values)[1])
            values = self.dropout(layer(values, mask=mask), training=True)
        return values, lengths, mask

    def call(self, batch):
        memory, lengths, mask = self.listen(batch)
        tokens = tf.pad(batch.labels, [[0, 0], [1, 0]], constant_values=BEGIN)
        own = tf.cast(tf.random.uniform(tf.shape(tokens)) < self.config.sampling, tf.int32)
        first = self.cell.attend(memory, mask, tokens)
        spoken = self.speller(tf.stack([tokens, own], -1), initial_state=first)
        log_probs = tf.nn.log_softmax(self.cell.output_layer(self.dropout(spoken, training=True)))
        ends = tf.one_hot(batch.label_lengths, tf.shape(tokens)[1], on_value=True, off_value=False)
        targets = tf.where(ends, END, tf.pad(batch.labels, [[0, 0], [0, 1]]))
        even = self.train_config.label_smoothing
        each = (1 - even) * tf.gather(log_probs, targets, batch_dims=2) + even * tf.reduce_mean(log_probs, -1)
        real = tf.sequence_mask(batch.label_lengths + 1, tf.shape(tokens)[1], dtype=tf.float32)
        spelled = -tf.reduce_sum(each * real, -1)
        if self.head is None:
            return spelled
        weight = self.train_config.ctc_weight
        return (1 - weight) * spelled + weight * ctc(self.head(memory), lengths, batch)


def step_of(config, batches, vocabulary):
    """A training step on batch n, which gives the loss a label, and the number of parameters."""
    model = {"las": Las, "deepspeech2": DeepSpeech2}[config.model.kind](config, vocabulary)
    batches = [type(batch)(*map(tf.constant, batch)) for batch in batches]
    model(batches[0])
    weights = model.trainable_variables
    optimizer = keras.optimizers.Adam(1e-4, global_clipnorm=config.train.clip_norm)
    optimizer.build(weights)

    @tf.function(reduce_retracing=True)  # as `fit` does
    def step(batch):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model(batch)) / tf.cast(tf.reduce_sum(batch.label_lengths), tf.float32)
        optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))
        return loss

    return lambda n: float(step(batches[n])), sum(int(tf.size(each)) for each in weights)
