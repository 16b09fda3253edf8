"""One battery for every model.

    check_model(DeepSpeech2(config, features=8, vocab_size=5))
    check_model(Las(config, features=8, vocab_size=5))

- It hears: other audio gives another output.
- What stands in the padding, how long it is, who else is in the batch and in which order change nothing (1e-5).
- Eager, graph and XLA say the same.
- Every weight gets a gradient, finite and not all zero.
- Weights that are written to a file and read back give the same output.
- It learns a few utterances by heart.

Each check raises AssertionError with what was found, and the model is left with the weights that it came with. A model
is one of the interfaces, an AcousticModel or a Las, with `features`, `vocab_size`, `variables` and
`trainable_variables`. `check_acoustic_model` is the first two and eager against graph, for anything that gives logits a
frame; `check_las` the same for a Las; `check_training` wants a model without dropout or sampling, and finds padding
that changes the loss or a gradient in training; `check_learning` is the last.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from asr_models.bridge import assign_weights, load_weights, save_weights, weights_of
from asr_models.interfaces import AcousticModel, Encoded
from asr_models.las import Las
from asr_models.losses import cross_entropy, ctc_loss

TOLERANCE = 1e-5
LENGTHS = np.array([23, 40, 1, 31], np.int32)
TEXT = 4
LEARNED = 0.3
"""Nats an utterance: a text by heart, within the noise of dropout."""
RATE = 0.02
"""Of Adam, which learns them."""

Run = Callable[[Any, Any], list[Encoded]]
"""`(B, T, F)` and `(B,)` -> all that a model says of them."""
Step = Callable[[Any, Any], tuple[Any, list[Any]]]
"""`(B, T, F)` and a seed -> the loss in training and the gradients of the trainable weights."""


def check_model(model: Any, *, seed: int = 0) -> None:
    """The whole battery, for a DeepSpeech2, a Las, or a model of their interface (`features`, `variables`).

    Raises:
        AssertionError: with what was found.
    """
    if hasattr(model, "listen"):
        check_las(model, seed=seed)
    else:
        check_acoustic_model(model, features=model.features, channels=_channels(model), seed=seed)
    run, values, kept = _run_of(model, seed), _speech(model.features, _channels(model), seed), weights_of(model)
    compiled = tf.function(run, jit_compile=True, autograph=False)
    expected = run(values, LENGTHS)
    _same(expected, compiled(tf.constant(values), tf.constant(LENGTHS)), "XLA and eager differ")
    _check_file(model)
    _same(expected, run(values, LENGTHS), "weights that were written and read back change the output")
    step = _step_of(model, seed)
    try:
        _check_gradients(model, step(values, [seed, 1])[1])
        _learn(model, step, values, steps=200)
    finally:
        assign_weights(model, kept)


def check_acoustic_model(model: AcousticModel, *, features: int, channels: int = 1, seed: int = 0) -> None:
    """Hearing, padding, batch and graph, for a model that gives logits a frame.

    Raises:
        AssertionError: with what was found.
    """

    def logits(values: tf.Tensor, lengths: tf.Tensor) -> list[Encoded]:
        return [model(values, lengths, training=False)]

    _check(logits, _speech(features, channels, seed))


def check_las(model: Las, *, seed: int = 0) -> None:
    """The same for memory and teacher-forced log-probabilities, which those of every step of a search must equal.

    Raises:
        AssertionError: with what was found.
    """
    run = _run_of(model, seed)
    values, text, steps = _speech(model.features, model.channels, seed), _text(model, seed), []
    _check(run, values)
    memory, whole = run(values, LENGTHS)
    alignments = model.alignments(memory, np.tile(text, [len(LENGTHS), 1]))
    state, step = model.start(memory), tf.function(model.step, autograph=False)
    for u, token in enumerate(text):
        log_probs, state = step(tf.fill([len(LENGTHS)], token), state)
        steps.append(log_probs)
        _close(alignments[:, u], state.alignment, "the alignment of a step differs from the whole text's")
    _close(whole.values, tf.stack(steps, 1), "step by step differs from the whole text")


def check_training(model: Any, *, seed: int = 0) -> None:
    """The loss and every gradient are the same under longer padding with rubbish in it.

    Raises:
        AssertionError: with what was found.
    """
    values, step = _speech(model.features, _channels(model), seed), _step_of(model, seed)
    first, expected = step(_rubbish(values, 0), [seed, 1])
    again, got = step(_rubbish(values, 11), [seed, 1])
    _close(first, again, "longer padding changes the loss in training")
    for variable, a, b in zip(model.trainable_variables, expected, got, strict=True):
        _close(a, b, f"longer padding changes the gradient of {variable.path}")


def check_learning(model: Any, *, seed: int = 0, steps: int = 200) -> None:
    """A few utterances are learned by heart, by Adam in so many steps. The model keeps what it learned.

    Raises:
        AssertionError: with the loss that is left.
    """
    _learn(model, _step_of(model, seed), _speech(model.features, _channels(model), seed), steps=steps)


def _text(model: Any, seed: int) -> NDArray[np.int32]:
    """One text for all, so that an utterance alone is asked the same as in its batch."""
    return np.random.default_rng(seed).integers(0, model.vocab_size, TEXT).astype(np.int32)


def _run_of(model: Any, seed: int) -> Run:
    """Logits a frame; or the memory, and the log-probabilities of a text."""
    if not hasattr(model, "listen"):
        return lambda values, lengths: [model(values, lengths)]
    text = _text(model, seed)

    def run(values: tf.Tensor, lengths: tf.Tensor) -> list[Encoded]:
        memory, rows = model.listen(values, lengths), tf.shape(values)[0]
        log_probs = tf.nn.log_softmax(model.speller(memory, tf.tile(text[None], [rows, 1])))
        return [memory, Encoded(log_probs, tf.fill([rows], TEXT))]

    return run


def _channels(model: Any) -> int:
    return getattr(model, "channels", 1)


def _speech(features: int, channels: int, seed: int) -> NDArray[np.float32]:
    shape = (len(LENGTHS), int(LENGTHS.max()), features, *([channels] if channels > 1 else []))
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def _check(run: Run, values: NDArray[np.float32]) -> None:
    signature = [tf.TensorSpec([None, None, *values.shape[2:]], tf.float32), tf.TensorSpec([None], tf.int32)]
    graph = tf.function(run, input_signature=signature, autograph=False)
    expected = graph(values, LENGTHS)
    _same(expected, run(tf.constant(values), tf.constant(LENGTHS)), "graph and eager differ")
    _same(expected, graph(_rubbish(values, 0), LENGTHS), "what stands in the padding is heard")
    _same(expected, graph(_rubbish(values, 13), LENGTHS), "longer padding changes the result")
    order = np.array([2, 0, 3, 1])
    _same(_rows(expected, order), graph(values[order], LENGTHS[order]), "order matters")
    other = graph(np.negative(values), LENGTHS)
    for row, length in enumerate(LENGTHS):
        mine = _rows(expected, [row])
        _same(mine, graph(values[row : row + 1, :length], LENGTHS[row : row + 1]), f"row {row} alone differs")
        for here, there in zip(mine, _rows(other, [row]), strict=True):
            count = int(here.lengths[0])
            if np.abs(here.values[0, :count] - there.values[0, :count]).max() < 1e-6:
                raise AssertionError(f"the model is deaf: row {row} is the same for other audio")


def _rows(said: list[Encoded], rows: Any) -> list[Encoded]:
    return [Encoded(tf.gather(values, rows), tf.gather(lengths, rows)) for values, lengths in said]


def _step_of(model: Any, seed: int) -> Step:
    """The loss of a training pass and its gradients, traced once for any padding."""
    texts = _texts(model, seed)

    def step(values: Any, draw: Any) -> tuple[Any, list[Any]]:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(_losses(model, values, texts, draw))
        gradients = tape.gradient(loss, model.trainable_variables)
        return loss, [gradient if gradient is None else tf.convert_to_tensor(gradient) for gradient in gradients]

    channels = [_channels(model)] if _channels(model) > 1 else []
    signature = [
        tf.TensorSpec([len(LENGTHS), None, model.features, *channels], tf.float32),
        tf.TensorSpec([2], tf.int32),
    ]
    return tf.function(step, input_signature=signature, autograph=False)


def _texts(model: Any, seed: int) -> NDArray[np.int32]:
    """A text for each utterance, without the blank, 0, and without two equal tokens in a row."""
    steps = np.random.default_rng(seed).integers(1, max(model.vocab_size - 1, 2), (len(LENGTHS), TEXT))
    return (np.cumsum(steps, 1) % (model.vocab_size - 1) + 1).astype(np.int32)


def _losses(model: Any, values: Any, texts: NDArray[np.int32], draw: Any) -> Any:
    """`(B,)`: CTC, or cross-entropy, or both."""
    if not hasattr(model, "listen"):
        return _ctc(model(values, LENGTHS, training=True, seed=draw), texts)
    memory = model.listen(values, LENGTHS, training=True, seed=draw)
    logits = model.speller(memory, texts[:, :-1], training=True, seed=draw)
    spelled = cross_entropy(logits, texts[:, 1:], np.full(len(texts), TEXT - 1))
    return spelled if model.ctc_head is None else spelled + _ctc(model.frame_logits(memory), texts)


def _ctc(logits: Encoded, texts: NDArray[np.int32]) -> Any:
    """As much of each text as half of the frames hold, one token at least."""
    return ctc_loss(*logits, texts, tf.clip_by_value(logits.lengths // 2, 1, TEXT - 1))


def _learn(model: Any, step: Step, values: NDArray[np.float32], *, steps: int) -> None:
    losses: list[float] = []
    moments = [np.zeros([2, *variable.shape], np.float32) for variable in model.trainable_variables]
    for n in range(1, steps + 1):
        loss, gradients = step(values, [n, 2])
        losses.append(float(loss))
        # The last three, or a lucky draw of dropout or of sampling would do.
        if max(losses[-3:]) < LEARNED and n >= 3:
            return
        for variable, gradient, (mean, square) in zip(model.trainable_variables, gradients, moments, strict=True):
            # Adam (Kingma and Ba, 2015, algorithm 1) in numpy: a graph of it would take longer to trace than all steps.
            mean += 0.1 * (np.asarray(gradient) - mean)
            square += 0.001 * (np.square(gradient) - square)
            change = mean / (1 - 0.9**n) / (np.sqrt(square / (1 - 0.999**n)) + 1e-7)
            variable.assign(np.asarray(variable) - RATE * change)
    raise AssertionError(
        f"{len(values)} utterances are not learned in {steps} steps: the loss went from {losses[0]:.3g} to "
        f"{losses[-1]:.3g}, expected less than {LEARNED}"
    )


def _check_gradients(model: Any, gradients: list[Any]) -> None:
    for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        if gradient is None:
            raise AssertionError(f"{variable.path} gets no gradient")
        if not np.isfinite(gradient).all():
            raise AssertionError(f"{variable.path} gets a gradient that is not finite")
        if not np.any(gradient):
            raise AssertionError(f"{variable.path} gets a gradient of zeros")


def _check_file(model: Any) -> None:
    if len(weights_of(model)) != len(model.variables):
        raise AssertionError("two weights have one name")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.safetensors"
        save_weights(model, path)
        for variable in model.variables:
            variable.assign(tf.zeros_like(variable))
        load_weights(model, path)


def _rubbish(values: NDArray[np.float32], more: int) -> NDArray[np.float32]:
    """The same speech with noise and NaNs where there is padding, and `more` frames of it."""
    longer = np.random.default_rng(99).normal(size=(len(values), values.shape[1] + more, *values.shape[2:])) * 100
    longer[:, ::5] = np.nan
    for row, length in enumerate(LENGTHS):
        longer[row, :length] = values[row, :length]
    return longer.astype(np.float32)


def _same(expected: list[Encoded], got: list[Encoded], complaint: str) -> None:
    for mine, other in zip(expected, got, strict=True):
        if not np.array_equal(mine.lengths, other.lengths):
            raise AssertionError(f"{complaint}: lengths {np.array(other.lengths)}, expected {np.array(mine.lengths)}")
        for row, length in enumerate(np.array(mine.lengths)):
            _close(mine.values[row, :length], other.values[row, :length], f"{complaint}, row {row}")


def _close(expected: Any, got: Any, complaint: str) -> None:
    difference = float(np.abs(np.asarray(expected) - np.asarray(got)).max(initial=0))
    if not difference <= TOLERANCE:
        raise AssertionError(f"{complaint}: by {difference:.2g}, at most {TOLERANCE:g} allowed")
