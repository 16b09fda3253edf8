"""DeepSpeech2 (Amodei et al., 2015, arXiv:1512.02595): convolutions, recurrent layers, CTC."""

import keras
import numpy as np
import tensorflow as tf

from asr_models.configs import DeepSpeech2Config
from asr_models.convolution import ConvolutionStack
from asr_models.initial import weight
from asr_models.interfaces import Encoded
from asr_models.layers import Dense, dropout
from asr_models.lengths import as_batch, frame_mask
from asr_models.norms import norm_of
from asr_models.stack import recurrent_layer


class Lookahead(keras.Layer):
    """Row convolution (Wang et al., 2016): each unit sums itself now and in the next `frames` frames, weighted."""

    def __init__(self, units: int, frames: int, *, rng: np.random.Generator, name: str) -> None:
        super().__init__(name=name, autocast=False)
        self.frames = frames
        limit = np.sqrt(3 / (frames + 1))  # keeps the variance
        kernel = rng.uniform(-limit, limit, (frames + 1, units)).astype(np.float32)
        self.kernel = weight(self, "kernel", kernel)
        self.built = True

    def call(self, values: tf.Tensor) -> tf.Tensor:
        """`(B, T + frames, D)` -> `(B, T, D)`; what stands after an utterance is zero."""
        kernel = tf.convert_to_tensor(self.kernel)[:, None, :, None]
        return tf.nn.depthwise_conv2d(values[:, :, None], kernel, [1, 1, 1, 1], "VALID")[:, :, 0]


class DeepSpeech2(keras.Model):
    """Frames to CTC logits.

    Args:
        config: what it is made of.
        features: F, the number of features a frame.
        vocab_size: V, the blank included.
        channels: C, of features `(B, T, F, C)` such as deltas beside them; 1 for features `(B, T, F)`.
        seed: of the first weights; equal seeds give equal models.
    """

    def __init__(
        self, config: DeepSpeech2Config, *, features: int, vocab_size: int, channels: int = 1, seed: int = 0
    ) -> None:
        super().__init__(name="deepspeech2", autocast=False)
        rng = np.random.default_rng(seed)
        self.config, self.features, self.vocab_size, self.stride = config, features, vocab_size, config.stride
        self.channels = channels
        self.convolutions = ConvolutionStack(config.convolutions, features=features, channels=channels, rng=rng)
        width, self.norms, self.recurrent = self.convolutions.width, [], []
        for n in range(config.recurrent_layers):
            # The convolutions normalise their own output; every later layer gets its input normalised.
            self.norms.append(norm_of(config.norm, width, name=f"recurrent_{n}.norm") if n else None)
            layer = recurrent_layer(
                config.cell,
                width,
                config.recurrent_units,
                bidirectional=config.bidirectional,
                merge=config.merge,
                recurrent_dropout=config.recurrent_dropout,
                rng=rng,
                name=f"recurrent_{n}",
            )
            self.recurrent.append(layer)
            width = layer.width
        self.lookahead = Lookahead(width, config.lookahead, rng=rng, name="lookahead") if config.lookahead else None
        self.output_norm = norm_of(config.norm, width, name="output.norm")
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
            ValueError: the features are not `(B, T, F)`; or training with dropout and no seed.
        """
        features, lengths = as_batch("DeepSpeech2", features, lengths, width=self.features, channels=self.channels)
        values, lengths = self.convolutions(features, lengths, training=training, seed=seed)
        mask = frame_mask(lengths, tf.shape(values)[1])
        for place, (norm, layer) in enumerate(zip(self.norms, self.recurrent, strict=True)):
            if norm is not None:
                values = norm(values, mask, training=training)
            values = tf.cast(layer(values, mask, training=training, seed=seed, place=place), tf.float32)
            values = dropout(values, self.config.dropout, seed, place, training=training)
        if self.lookahead is not None:
            values = self.lookahead(tf.pad(values, [[0, 0], [0, self.lookahead.frames], [0, 0]]))
        if self.output_norm is not None:
            values = self.output_norm(values, mask, training=training)
        return Encoded(self.output_layer(values), lengths)
