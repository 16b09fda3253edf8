"""One battery for every model: it hears, and padding changes nothing.

    check_acoustic_model(DeepSpeech2(config, features=8, vocab_size=5))
    check_las(Las(config, features=8, vocab_size=5))

Each raises AssertionError with what was found.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from asr_models.interfaces import AcousticModel, Encoded
from asr_models.las import Las

TOLERANCE = 1e-5
LENGTHS = np.array([23, 40, 1, 31], np.int32)
TEXT = 4


def check_acoustic_model(model: AcousticModel, *, features: int, seed: int = 0) -> None:
    """Hearing, padding, batch and graph, for a model that gives logits a frame.

    Raises:
        AssertionError: with what was found.
    """

    def logits(values: tf.Tensor, lengths: tf.Tensor) -> Encoded:
        return model(values, lengths, training=False)

    _check(logits, features, seed)


def check_las(model: Las, *, seed: int = 0) -> None:
    """The same for memory, teacher-forced log-probabilities, and those of every step of a search.

    Raises:
        AssertionError: with what was found.
    """
    # One text for all, so that an utterance alone is asked the same as in its batch.
    text = np.random.default_rng(seed).integers(0, model.vocab_size, TEXT).astype(np.int32)

    def whole(values: tf.Tensor, lengths: tf.Tensor) -> Encoded:
        rows = tf.shape(values)[0]
        logits = model(values, lengths, tf.tile(text[None], [rows, 1]))
        return Encoded(tf.nn.log_softmax(logits), tf.fill([rows], TEXT))

    def stepwise(values: tf.Tensor, lengths: tf.Tensor) -> Encoded:
        rows, steps = tf.shape(values)[0], []
        state = model.start(model.listen(values, lengths))
        for token in text:
            log_probs, state = model.step(tf.fill([rows], token), state)
            steps.append(log_probs)
        return Encoded(tf.stack(steps, 1), tf.fill([rows], TEXT))

    for run in (model.listen, whole, stepwise):
        _check(run, model.features, seed)
    values = tf.constant(_speech(model.features, seed))
    _close(
        whole(values, LENGTHS).values,
        stepwise(values, LENGTHS).values,
        "step by step differs from the whole text",
    )


def _speech(features: int, seed: int) -> NDArray[np.float32]:
    noise = np.random.default_rng(seed).normal(size=(len(LENGTHS), int(LENGTHS.max()), features))
    return noise.astype(np.float32)


def _check(run: Callable[[Any, Any], Encoded], features: int, seed: int) -> None:
    values = _speech(features, seed)
    signature = [tf.TensorSpec([None, None, features], tf.float32), tf.TensorSpec([None], tf.int32)]
    graph = tf.function(run, input_signature=signature, autograph=False)
    expected = graph(values, LENGTHS)
    _same(expected, run(tf.constant(values), tf.constant(LENGTHS)), "graph and eager differ")
    _same(expected, graph(_rubbish(values, 0), LENGTHS), "what stands in the padding is heard")
    _same(expected, graph(_rubbish(values, 13), LENGTHS), "longer padding changes the result")
    order = np.array([2, 0, 3, 1])
    shuffled = graph(values[order], LENGTHS[order])
    _same(
        Encoded(tf.gather(expected.values, order), tf.gather(expected.lengths, order)),
        shuffled,
        "order matters",
    )
    other = graph(np.negative(values), LENGTHS)
    for row, length in enumerate(LENGTHS):
        mine = Encoded(expected.values[row : row + 1], expected.lengths[row : row + 1])
        alone = tf.constant(values[row : row + 1, :length]), tf.constant(LENGTHS[row : row + 1])
        _same(mine, graph(*alone), f"row {row} alone differs")
        _same(mine, run(*alone), f"row {row} alone differs, in eager mode")
        count = int(mine.lengths[0])
        if np.abs(mine.values[0, :count] - other.values[row, :count]).max() < 1e-6:
            raise AssertionError(f"the model is deaf: row {row} is the same for other audio")


def _rubbish(values: NDArray[np.float32], more: int) -> NDArray[np.float32]:
    """The same speech with noise where there is padding, and `more` frames of it."""
    longer = np.random.default_rng(99).normal(size=(len(values), values.shape[1] + more, values.shape[2])) * 100
    for row, length in enumerate(LENGTHS):
        longer[row, :length] = values[row, :length]
    return longer.astype(np.float32)


def _same(expected: Encoded, got: Encoded, complaint: str) -> None:
    if not np.array_equal(expected.lengths, got.lengths):
        raise AssertionError(f"{complaint}: lengths {np.array(got.lengths)}, expected {np.array(expected.lengths)}")
    for row, length in enumerate(np.array(expected.lengths)):
        _close(expected.values[row, :length], got.values[row, :length], f"{complaint}, row {row}")


def _close(expected: Any, got: Any, complaint: str) -> None:
    difference = float(np.abs(np.asarray(expected) - np.asarray(got)).max(initial=0))
    if not difference <= TOLERANCE:
        raise AssertionError(f"{complaint}: by {difference:.2g}, at most {TOLERANCE:g} allowed")
