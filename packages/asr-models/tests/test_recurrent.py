"""The hand-written LSTM against numpy, against Keras, and its gradient against automatic differentiation."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from asr_models.recurrent import Lstm, lstm, lstm_cell

LENGTHS = np.array([7, 1, 4])
T, B, H = 9, 3, 5


def numpy_lstm(z: np.ndarray, recurrent: np.ndarray, length: int, reverse: bool) -> np.ndarray:
    """One utterance, `(T, 4H)`, one step after the other."""

    def sigmoid(x: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-x))

    h, c, out = np.zeros(H), np.zeros(H), np.zeros((T, H))
    for t in reversed(range(length)) if reverse else range(length):
        i, f, o, g = np.split(z[t] + h @ recurrent, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        out[t] = h
    return out


def inputs(seed: int = 0) -> tuple[np.ndarray, np.ndarray, tf.Tensor]:
    rng = np.random.default_rng(seed)
    mask = tf.transpose(tf.sequence_mask(LENGTHS, T, tf.float32))[..., None]
    return rng.normal(size=(T, B, 4 * H)).astype("f4"), rng.normal(size=(H, 4 * H)).astype("f4") * 0.5, mask


@pytest.mark.parametrize("reverse", [False, True])
def test_equals_a_plain_loop(reverse: bool) -> None:
    z, recurrent, mask = inputs()
    got = lstm(tf.constant(z), tf.constant(recurrent), mask, reverse=reverse).numpy()
    for b, length in enumerate(LENGTHS):
        np.testing.assert_allclose(got[:, b], numpy_lstm(z[:, b], recurrent, length, reverse), atol=1e-6)


@pytest.mark.parametrize("reverse", [False, True])
def test_gradient_equals_automatic_differentiation(reverse: bool) -> None:
    z, recurrent, mask = (tf.constant(part) for part in inputs(1))
    weights = tf.constant(np.random.default_rng(2).normal(size=(T, B, H)).astype("f4"))

    def by_hand() -> tf.Tensor:
        return lstm(z, recurrent, mask, reverse=reverse)

    def automatic() -> tf.Tensor:
        h = c = tf.zeros([B, H])
        out = [None] * T
        for t in reversed(range(T)) if reverse else range(T):
            h, c = lstm_cell(z[t] + h @ recurrent, c)
            h, c = h * mask[t], c * mask[t]
            out[t] = h
        return tf.stack(out)

    gradients = []
    for function in (by_hand, automatic):
        with tf.GradientTape() as tape:
            tape.watch([z, recurrent])
            loss = tf.reduce_sum(function() * weights)
        gradients.append(tape.gradient(loss, [z, recurrent]))
    for mine, theirs in zip(*gradients, strict=True):
        assert float(tf.reduce_max(tf.abs(theirs))) > 0.1
        np.testing.assert_allclose(mine, theirs, atol=1e-5)


@pytest.mark.parametrize("merge", ["concat", "sum"])
def test_layer_equals_keras_with_the_same_weights(merge: str) -> None:
    rng = np.random.default_rng(3)
    layer = Lstm(6, H, rng=rng, merge=merge)
    values = rng.normal(size=(B, T, 6)).astype("f4")
    mask = tf.sequence_mask(LENGTHS, T, tf.float32)
    got = layer(tf.constant(values), mask).numpy()
    for b, length in enumerate(LENGTHS):
        directions = []
        for reverse, weights in zip((False, True), layer.weights_of, strict=True):
            theirs = keras.layers.LSTM(H, return_sequences=True, go_backwards=reverse)
            theirs.build((1, None, 6))
            theirs.set_weights([_keras_order(np.asarray(weight)) for weight in weights])
            out = theirs(values[b : b + 1, :length]).numpy()[0]
            directions.append(out[::-1] if reverse else out)
        expected = np.concatenate(directions, -1) if merge == "concat" else sum(directions)
        np.testing.assert_allclose(got[b, :length], expected, atol=1e-6)
        assert not got[b, length:].any()


def _keras_order(weight: np.ndarray) -> np.ndarray:
    i, f, o, g = np.split(weight, 4, axis=-1)
    return np.concatenate([i, f, g, o], axis=-1)


def test_unknown_merge_is_refused() -> None:
    with pytest.raises(ValueError, match="merge is 'max', expected 'concat' or 'sum'"):
        Lstm(2, 2, rng=np.random.default_rng(0), merge="max")
