"""CTC against all paths, and against TensorFlow's own; cross-entropy against its definition."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from asr_models import cross_entropy, ctc_loss


def all_paths(logits: np.ndarray, label: tuple[int, ...], blank: int) -> float:
    """-log of the summed probability of every path that reads as `label`."""
    log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    total = -np.inf
    for path in itertools.product(range(logits.shape[1]), repeat=logits.shape[0]):
        if tuple(k for k, _ in itertools.groupby(path) if k != blank) == label:
            total = np.logaddexp(total, log_probs[np.arange(len(path)), list(path)].sum())
    return -total


@pytest.mark.parametrize("blank", [0, 1, 2])
def test_ctc_equals_the_sum_over_all_paths(blank: int) -> None:
    rng = np.random.default_rng(blank)
    symbols = [v for v in range(3) if v != blank]
    labels = [
        (),
        (symbols[0],),
        (symbols[0], symbols[0]),
        (symbols[1], symbols[0], symbols[1]),
        tuple(symbols),
    ]
    lengths = np.array([5, 1, 3, 4, 2], np.int32)
    logits = rng.normal(size=(5, 5, 3)).astype("f4") * 2
    padded = np.full((5, 4), 2, np.int32)  # rubbish beyond each label's own length
    for row, label in enumerate(labels):
        padded[row, : len(label)] = label
    got = ctc_loss(logits, lengths, padded, np.array([len(label) for label in labels], np.int32), blank=blank)
    expected = [all_paths(logits[b, : lengths[b]], labels[b], blank) for b in range(5)]
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


def random_batch(seed: int) -> tuple[tf.Tensor, ...]:
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(4, 30, 9)).astype("f4") * 3
    labels = rng.integers(1, 9, (4, 7)).astype("i4")
    return tuple(map(tf.constant, (logits, np.array([30, 21, 16, 30], "i4"), labels, np.array([7, 5, 0, 1], "i4"))))


def value_and_gradient(loss, logits, weights=(1.0, 2.0, -1.0, 0.5)):
    with tf.GradientTape() as tape:
        tape.watch(logits)
        value = loss(logits)
        total = tf.reduce_sum(value * tf.constant(weights))
    return value, tape.gradient(total, logits)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("graph", [False, True])
def test_ctc_and_its_gradient_equal_tensorflows(seed: int, graph: bool) -> None:
    logits, lengths, labels, label_lengths = random_batch(seed)

    def theirs(x: tf.Tensor) -> tf.Tensor:
        return tf.nn.ctc_loss(labels, x, label_lengths, lengths, logits_time_major=False, blank_index=0)

    def mine(x: tf.Tensor) -> tf.Tensor:
        return ctc_loss(x, lengths, labels, label_lengths)

    expected, got = (value_and_gradient(tf.function(f) if graph else f, logits) for f in (theirs, mine))
    np.testing.assert_allclose(got[0], expected[0], rtol=1e-5)
    np.testing.assert_allclose(got[1], expected[1], atol=1e-4)


def test_ctc_sees_each_utterances_own_length_not_the_padded_one() -> None:
    logits, lengths, labels, label_lengths = random_batch(7)
    longer = tf.concat([logits, tf.random.stateless_normal([4, 11, 9], [1, 2]) * 50], 1)
    value, gradient = value_and_gradient(lambda x: ctc_loss(x, lengths, labels, label_lengths), logits)
    padded, padded_gradient = value_and_gradient(lambda x: ctc_loss(x, lengths, labels, label_lengths), longer)
    np.testing.assert_allclose(value, padded, rtol=1e-6)
    np.testing.assert_allclose(gradient, padded_gradient[:, :30], atol=1e-6)
    for row, length in enumerate(lengths.numpy()):
        assert not padded_gradient.numpy()[row, length:].any()


def test_an_impossible_text_is_infinite_and_leaves_the_others_alone() -> None:
    logits, _, labels, _ = random_batch(8)
    lengths, label_lengths = tf.constant([30, 3, 0, 0]), tf.constant([7, 4, 0, 2])
    value, gradient = value_and_gradient(lambda x: ctc_loss(x, lengths, labels, label_lengths), logits)
    assert np.isfinite(value[0]) and value[1] == np.inf
    assert value[2] == 0  # no frames, no text: certain
    assert value[3] == np.inf
    assert np.isfinite(gradient).all() and not gradient.numpy()[1:].any() and gradient.numpy()[0].any()


def test_repeats_need_a_blank_between_them() -> None:
    logits = tf.zeros([1, 2, 3])
    assert ctc_loss(logits, [2], tf.constant([[1, 1]]), tf.constant([2])).numpy() == np.inf
    assert np.isclose(ctc_loss(logits, [2], tf.constant([[1, 2]]), tf.constant([2])).numpy(), 2 * np.log(3))


def test_cross_entropy_is_its_definition() -> None:
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(2, 4, 5)).astype("f4"), rng.integers(0, 5, (2, 4)).astype("i4")
    log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    lengths = [4, 2]
    expected = []
    for b in range(2):
        target = np.eye(5)[labels[b]] * 0.9 + 0.1 / 5
        expected.append(-(target * log_probs[b])[: lengths[b]].sum())
    labels[1, 2:] = 77  # not even ids beyond the length are read
    got = cross_entropy(tf.constant(logits), tf.constant(labels), tf.constant(lengths), smoothing=0.1)
    np.testing.assert_allclose(got, expected, rtol=1e-5)
