"""DeepSpeech2 (Amodei et al., 2015, arXiv:1512.02595): convolutions, bidirectional LSTM layers, CTC."""

import keras
import numpy as np
import tensorflow as tf

from asr_models.configs import DeepSpeech2Config
from asr_models.convolution import ConvolutionStack
from asr_models.interfaces import Encoded
from asr_models.layers import BatchNorm, Dense, dropout
from asr_models.lengths import frame_mask
from asr_models.recurrent import Lstm


class DeepSpeech2(keras.Model):
    """Frames to CTC logits.

    Args:
        config: what it is made of.
        features: F, the number of features a frame.
        vocab_size: V, the blank included.
        seed: of the first weights; equal seeds give equal models.
    """

    def __init__(self, config: DeepSpeech2Config, *, features: int, vocab_size: int, seed: int = 0) -> None:
        super().__init__(name="deepspeech2")
        rng = np.random.default_rng(seed)
        self.config, self.features, self.vocab_size, self.stride = config, features, vocab_size, config.stride
        self.convolutions = ConvolutionStack(config.convolutions, features=features, rng=rng)
        width, self.norms, self.recurrent = self.convolutions.width, [], []
        for n in range(config.recurrent_layers):
            # The convolutions normalise their own output; every later layer gets its input normalised.
            self.norms.append(BatchNorm(width, name=f"recurrent_{n}.norm") if n else None)
            layer = Lstm(width, config.recurrent_units, rng=rng, merge="sum", name=f"recurrent_{n}")
            self.recurrent.append(layer)
            width = layer.width
        self.output_norm = BatchNorm(width, name="output.norm")
        self.output_layer = Dense(width, vocab_size, rng=rng, name="output")
        self.built = True

    def call(
        self,
        features: tf.Tensor,
        lengths: tf.Tensor,
        *,
        training: bool = False,
        seed: tf.Tensor | None = None,
    ) -> Encoded:
        """`features` `(B, T, F)`, `lengths` `(B,)` int32 -> logits `(B, T', V)`, lengths ceil(length / stride).

        Logits beyond an utterance's length mean nothing.

        Raises:
            ValueError: the features are not F wide; or training with dropout and no seed.
        """
        if features.shape[-1] != self.features:
            raise ValueError(f"DeepSpeech2 was built for {self.features} features a frame, got {features.shape[-1]}")
        values, lengths = self.convolutions(features, lengths, training=training)
        mask = frame_mask(lengths, tf.shape(values)[1])
        for place, (norm, layer) in enumerate(zip(self.norms, self.recurrent, strict=True)):
            if norm is not None:
                values = norm(values, mask, training=training)
            values = dropout(layer(values, mask), self.config.dropout, seed, place, training=training)
        values = self.output_norm(values, mask, training=training)
        return Encoded(self.output_layer(values), lengths)
