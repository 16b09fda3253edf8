"""The losses that are trained on, against the models and losses that they are made of."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from asr_models import LasConfig, cross_entropy, ctc_loss
from asr_train.batches import Batch
from asr_train.families import Attention, build_family
from asr_train.tokenizer import Tokenizer

TOKENIZER = Tokenizer.train(["one two three four", "five six"], kind="char")
CONFIG = LasConfig(
    listener_layers=2,
    listener_units=8,
    speller_units=8,
    embedding_units=4,
    attention_units=8,
    dropout=0.0,
    sampling=0.0,
    ctc_head=True,
)


def batch() -> Batch:
    rng = np.random.default_rng(0)
    features = tf.constant(rng.normal(size=(3, 24, 5)).astype("f4"))
    labels = tf.constant(rng.integers(4, TOKENIZER.size, (3, 6)).astype("i4"))
    # The third text is too long for a CTC path over ceil(8 / 2) frames.
    return Batch(features, tf.constant([24, 20, 8]), labels, tf.constant([6, 2, 6]), tf.range(3))


def family(config: LasConfig = CONFIG, *, ctc_weight: float = 0.3) -> Attention:
    built = build_family(config, features=5, tokenizer=TOKENIZER, smoothing=0.1, ctc_weight=ctc_weight)
    assert isinstance(built, Attention)
    return built


def spelled(attention: Attention, smoothing: float) -> tf.Tensor:
    """Row by row, each text with its own begin and end."""
    parts, losses = batch(), []
    for b in range(3):
        frames, text = int(parts.feature_lengths[b]), parts.labels.numpy()[b, : int(parts.label_lengths[b])].tolist()
        inputs, targets = tf.constant([[TOKENIZER.begin, *text]]), tf.constant([[*text, TOKENIZER.end]])
        logits = attention.model(parts.features[b : b + 1, :frames], tf.constant([frames]), inputs)
        losses.append(cross_entropy(logits, targets, tf.constant([len(text) + 1]), smoothing=smoothing)[0])
    return tf.stack(losses)


def test_joint_loss_is_the_weighted_sum_and_spelling_alone_where_ctc_cannot() -> None:
    attention, parts = family(), batch()
    memory = attention.model.listen(parts.features, parts.feature_lengths)
    logits = attention.model.frame_logits(memory)
    ctc = ctc_loss(*logits, parts.labels, parts.label_lengths, blank=TOKENIZER.pad).numpy()
    assert np.isinf(ctc).tolist() == [False, False, True]
    expected = spelled(attention, 0.1).numpy()
    expected[:2] = 0.7 * expected[:2] + 0.3 * ctc[:2]
    seed = tf.constant([0, 0])
    with tf.GradientTape() as tape:
        got = attention.loss(parts, training=True, seed=seed)
        total = tf.reduce_sum(got)
    np.testing.assert_allclose(got, expected, rtol=1e-5)
    gradients = tape.gradient(total, attention.model.trainable_variables)
    assert all(np.isfinite(g).all() and np.any(g) for g in map(tf.convert_to_tensor, gradients))


@pytest.mark.parametrize("weight", [0.0, 0.3])
def test_validation_is_by_spelling_alone_without_smoothing(weight: float) -> None:
    attention = family(ctc_weight=weight)
    got = attention.loss(batch(), training=False, seed=None)
    np.testing.assert_allclose(got, spelled(attention, 0.0), rtol=1e-5)


def test_a_model_without_the_head_ignores_the_weight() -> None:
    attention = family(dataclasses.replace(CONFIG, ctc_head=False))
    got = attention.loss(batch(), training=True, seed=tf.constant([0, 0]))
    np.testing.assert_allclose(got, spelled(attention, 0.1), rtol=1e-5)
