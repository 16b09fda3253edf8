"""200 random batches: padding, bucket size, order and company change neither outputs nor gradients."""

import dataclasses
import functools
from typing import Any, NamedTuple

import numpy as np
import pytest
import tensorflow as tf

from asr_models import Convolution, DeepSpeech2, DeepSpeech2Config, Las, LasConfig
from asr_models.presets import VGG

FEATURES, VOCAB, CASES, TOLERANCE = 6, 5, 34, 1e-5
STRIDED = Convolution(channels=3, kernel=(4, 3), stride=(3, 2))
PAIRS = Convolution(channels=2, kernel=(5, 3), stride=(1, 2), norm="layer", activation="relu", pool=(2, 1))
LAS: dict[str, Any] = {
    "listener_layers": 1,
    "listener_units": 5,
    "speller_units": 6,
    "embedding_units": 4,
    "attention_units": 4,
    "location_width": 3,
    "location_channels": 2,
    "sampling": 0.0,
    "dropout": 0.0,
}
DEEPSPEECH2: dict[str, Any] = {"recurrent_units": 5, "dropout": 0.0}
VGG_FRONT = tuple(dataclasses.replace(convolution, channels=2) for convolution in VGG)
# Few, as most of the time goes into tracing them; between them every part that looks from frame to frame.
CONFIGS: dict[str, DeepSpeech2Config | LasConfig] = {
    "deepspeech2": DeepSpeech2Config(convolutions=(STRIDED, PAIRS), recurrent_layers=2, **DEEPSPEECH2),
    "deepspeech2-lookahead": DeepSpeech2Config(
        convolutions=(PAIRS,),
        cell="gru",
        norm="layer",
        bidirectional=False,
        lookahead=2,
        recurrent_layers=1,
        **DEEPSPEECH2,
    ),
    "las-pyramid": LasConfig(**LAS | {"listener_layers": 3}),
    "las-reference": LasConfig(
        convolutions=(STRIDED,),
        pyramid=False,
        projection=True,
        attention="dot",
        attend_first=True,
        start_from_memory=True,
        **LAS,
    ),
    "las-additive": LasConfig(cell="rnn", speller_layers=2, attention="additive", tied_output=True, **LAS),
    "las-vgg-multi-head": LasConfig(
        convolutions=VGG_FRONT, cell="gru", attention="multi-head", attention_heads=2, **LAS
    ),
}
BATCH_NORMED = ("deepspeech2", "las-reference")


class Batch(NamedTuple):
    features: Any
    lengths: Any
    texts: Any
    text_lengths: Any


class Said(NamedTuple):
    values: Any
    """`(B, T, V)` logits, zero on padding."""
    lengths: Any
    gradients: list[Any]


def random_batch(rng: np.random.Generator) -> Batch:
    """Utterances of which the shortest may be a single frame, padded to the longest."""
    lengths = rng.integers(4, 36, rng.integers(2, 6))
    lengths[0] = rng.integers(1, 4)
    texts = rng.integers(1, 6, len(lengths))
    features = rng.normal(size=(len(lengths), lengths.max(), FEATURES)).astype("f4")
    return Batch(features, lengths, rng.integers(0, VOCAB, (len(lengths), texts.max())), texts)


def otherwise(batch: Batch, rng: np.random.Generator) -> tuple[Batch, Any]:
    """The same utterances in another order and a larger bucket, in rubbish, with empty rows between them.

    Also the place of each utterance.
    """
    rows, more = len(batch.lengths) + rng.integers(0, 3), rng.integers(0, 20)
    places = rng.permutation(rows)[: len(batch.lengths)]
    features = rng.normal(size=(rows, batch.features.shape[1] + more, FEATURES)).astype("f4") * 1e3
    features[:, :: rng.integers(2, 5)] = np.nan
    texts = rng.integers(0, VOCAB, (rows, batch.texts.shape[1] + rng.integers(0, 3)))
    lengths, text_lengths = np.zeros((2, rows), int)
    for place, values, length, text, text_length in zip(places, *batch, strict=True):
        features[place, :length], lengths[place] = values[:length], length
        texts[place, :text_length], text_lengths[place] = text[:text_length], text_length
    return Batch(features, lengths, texts, text_lengths), places


@functools.cache
def listener_of(name: str, training: bool) -> tuple[Any, Any]:
    """A model and what it says of a batch; traced once for all shapes."""
    config = CONFIGS[name]
    family = Las if isinstance(config, LasConfig) else DeepSpeech2
    model: Any = family(config, features=FEATURES, vocab_size=VOCAB, seed=4)

    def hear(features: Any, lengths: Any, texts: Any, text_lengths: Any, scale: Any) -> Said:
        with tf.GradientTape() as tape:
            if isinstance(config, LasConfig):
                logits, counts = model(features, lengths, texts, training=training), text_lengths
            else:
                logits, counts = model(features, lengths, training=training)
            frames = tf.shape(logits)[1]
            logits = tf.where(tf.sequence_mask(counts, frames)[..., None], logits, 0.0)
            # A weight that depends on the place alone; equal ones would be cancelled by a normalisation.
            weights = tf.sin(tf.cast(tf.range(frames)[:, None] * 7 + tf.range(VOCAB) * 3, tf.float32))
            loss = tf.reduce_sum(logits * weights) * scale
        return Said(logits, counts, tape.gradient(loss, model.trainable_variables) if training else [])

    signature = [
        tf.TensorSpec([None, None, FEATURES], tf.float32),
        tf.TensorSpec([None], tf.int32),
        tf.TensorSpec([None, None], tf.int32),
        tf.TensorSpec([None], tf.int32),
        tf.TensorSpec([], tf.float32),
    ]
    return model, tf.function(hear, input_signature=signature, autograph=False)


def say(name: str, batch: Batch, *, training: bool, scale: float = 0.01) -> Said:
    heard = listener_of(name, training)[1](*batch, scale)
    gradients = [tf.convert_to_tensor(gradient).numpy() for gradient in heard.gradients]
    return Said(heard.values.numpy(), heard.lengths.numpy(), gradients)


def close(got: Any, expected: Any) -> None:
    np.testing.assert_allclose(got, expected, rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("name", CONFIGS)
def test_padding_and_order_change_nothing_in_training(name: str) -> None:
    """With batch norm too: padding, and rows of padding alone, enter no statistics."""
    for case in range(CASES):
        rng = np.random.default_rng(case)
        batch = random_batch(rng)
        other, places = otherwise(batch, rng)
        first, again = say(name, batch, training=True), say(name, other, training=True)
        np.testing.assert_array_equal(again.lengths[places], first.lengths)
        count = first.values.shape[1]
        close(again.values[places, :count], first.values)
        assert not again.values[:, count:].any()
        for expected, got in zip(first.gradients, again.gradients, strict=True):
            close(got, expected)


@pytest.mark.parametrize("name", CONFIGS)
def test_company_changes_nothing(name: str) -> None:
    """What is said of an utterance alone; without batch norm the gradient of a batch is the sum of its utterances'."""
    training = name not in BATCH_NORMED
    for case in range(CASES):
        batch = random_batch(np.random.default_rng(1000 + case))
        together = say(name, batch, training=training)
        sums = [np.zeros_like(gradient) for gradient in together.gradients]
        for row, (values, length, text, text_length) in enumerate(zip(*batch, strict=True)):
            mine = Batch(values[None, :length], [length], text[None, :text_length], [text_length])
            alone = say(name, mine, training=training)
            close(together.values[row, : alone.lengths[0]], alone.values[0])
            sums = [total + gradient for total, gradient in zip(sums, alone.gradients, strict=True)]
        for expected, got in zip(sums, together.gradients, strict=True):
            close(got, expected)


def test_the_cases_are_two_hundred_and_the_batch_normed_are_named() -> None:
    assert len(CONFIGS) * CASES >= 200
    moving = {name for name in CONFIGS if listener_of(name, True)[0].non_trainable_variables}
    assert moving == set(BATCH_NORMED)
