"""Models: what they take and refuse, precision, shapes, learning, beams."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from asr_models import (
    PRESETS,
    Convolution,
    DeepSpeech2,
    DeepSpeech2Config,
    Encoded,
    Las,
    LasConfig,
    SpellerStep,
    cross_entropy,
    ctc_loss,
    log_probabilities,
)
from asr_models.configs import ATTENTIONS
from asr_models.testing import check_acoustic_model

FEATURES, VOCAB, END = 8, 7, 3
FRONT = (
    Convolution(channels=3, kernel=(4, 3), stride=(3, 1)),
    Convolution(channels=3, kernel=(1, 2), stride=(2, 3)),
)
LAS = dataclasses.replace(
    PRESETS["las-small"],
    listener_layers=2,
    listener_units=12,
    speller_units=16,
    embedding_units=6,
    attention_units=12,
    location_width=5,
)
DEEPSPEECH2 = DeepSpeech2Config(convolutions=FRONT, recurrent_layers=1, recurrent_units=8)


def built(config: DeepSpeech2Config | LasConfig, *, seed: int = 0) -> Any:
    family = Las if isinstance(config, LasConfig) else DeepSpeech2
    return family(config, features=FEATURES, vocab_size=VOCAB, seed=seed)


def test_a_listener_with_a_ctc_head_is_an_acoustic_model() -> None:
    config = dataclasses.replace(LAS, ctc_head=True)
    model = Las(config, features=FEATURES, vocab_size=VOCAB)

    def acoustic(features: tf.Tensor, lengths: tf.Tensor, **_: object) -> Encoded:
        return model.frame_logits(model.listen(features, lengths))

    check_acoustic_model(acoustic, features=FEATURES)
    with pytest.raises(ValueError, match="no CTC head"):
        Las(LAS, features=FEATURES, vocab_size=VOCAB).frame_logits(Encoded(None, None))


def test_other_number_types_are_cast_at_the_door() -> None:
    values, lengths = np.random.default_rng(0).normal(size=(2, 20, FEATURES)), np.array([20, 13])
    assert values.dtype == np.float64 and lengths.dtype == np.int64
    plain = values.astype("f4"), lengths.astype("i4")
    for model in (built(DEEPSPEECH2), built(LAS)):
        hear = model.listen if isinstance(model, Las) else model
        got, expected = hear(values, lengths), hear(*plain)
        assert got.lengths.dtype == tf.int32
        np.testing.assert_array_equal(got.values, expected.values)


@pytest.mark.parametrize("config", [DEEPSPEECH2, dataclasses.replace(LAS, convolutions=FRONT), LAS])
def test_channels_beside_the_features_are_heard(config: DeepSpeech2Config | LasConfig) -> None:
    family = Las if isinstance(config, LasConfig) else DeepSpeech2
    model = family(config, features=FEATURES, vocab_size=VOCAB, channels=3)
    hear = model.listen if isinstance(model, Las) else model
    values, lengths = np.random.default_rng(0).normal(size=(2, 20, FEATURES, 3)).astype("f4"), np.array([20, 13])
    expected = hear(values, lengths).values
    changed = values.copy()
    changed[0, :, :, 2] += 1
    got = hear(changed, lengths).values
    assert np.abs(got[0] - expected[0]).max() > 1e-4
    np.testing.assert_allclose(got[1], expected[1], atol=1e-6)
    with pytest.raises(ValueError, match=r"expected features of shape \(B, T, 8, 3\), got \(2, 20, 8\)"):
        hear(values[..., 0], lengths)


def batch(rows: int = 8) -> tuple[tf.Tensor, ...]:
    """`rows` utterances: every token is a pattern of its own in noise, held for a few frames."""
    rng = np.random.default_rng(5)
    patterns = rng.normal(size=(VOCAB, FEATURES)) * 2
    labels = [rng.integers(4, VOCAB, rng.integers(2, 5)) for _ in range(rows)]
    features = [
        np.concatenate([np.repeat(patterns[[0, token]], 4, axis=0) for token in label])
        + rng.normal(size=(8 * len(label), FEATURES)) / 4
        for label in labels
    ]
    longest, most = max(map(len, features)), max(map(len, labels))
    x, y = np.zeros((rows, longest, FEATURES), "f4"), np.zeros((rows, most), "i4")
    for row, (f, label) in enumerate(zip(features, labels, strict=True)):
        x[row, : len(f)], y[row, : len(label)] = f, label
    lengths = (np.array([len(part) for part in parts], "i4") for parts in (features, labels))
    x_lengths, y_lengths = lengths
    return tuple(map(tf.constant, (x, x_lengths, y, y_lengths)))


def fit(model: Any, loss: Any, data: tuple[tf.Tensor, ...]) -> None:
    pace = [tf.Variable(tf.zeros_like(variable)) for variable in model.trainable_variables]

    def step(*given: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            value = loss(*given)
        gradients = tape.gradient(value, model.trainable_variables)
        # Gradient descent with momentum; the graph of a better optimizer would take longer to trace than these steps.
        for variable, change, gradient in zip(
            model.trainable_variables, pace, tf.clip_by_global_norm(gradients, 1)[0], strict=True
        ):
            variable.assign_sub(0.2 * change.assign(0.9 * change + gradient))
        return value

    # Of unknown shapes, so that nothing waits for a compiler.
    signature = [tf.TensorSpec([None] * part.shape.rank, part.dtype) for part in data]
    signature[0] = tf.TensorSpec([None, None, FEATURES])
    run = tf.function(step, input_signature=signature, autograph=False)
    losses = [float(run(*data)) for _ in range(60)]
    assert losses[-1] < 0.1


def test_deepspeech2_overfits_four_utterances() -> None:
    x, lengths, y, y_lengths = batch(4)
    front = dataclasses.replace(PRESETS["deepspeech2-small"].convolutions[0], channels=8)
    config = DeepSpeech2Config(convolutions=(front,), recurrent_layers=1, recurrent_units=12, dropout=0.0)
    model = DeepSpeech2(config, features=FEATURES, vocab_size=VOCAB)

    def loss(x: tf.Tensor, lengths: tf.Tensor, y: tf.Tensor, y_lengths: tf.Tensor) -> tf.Tensor:
        logits, frames = model(x, lengths, training=True)
        return tf.reduce_mean(ctc_loss(logits, frames, y, y_lengths))

    fit(model, loss, (x, lengths, y, y_lengths))
    for row, scores in enumerate(log_probabilities(model, x, lengths)):
        best = scores.argmax(-1)
        tokens = [k for n, k in enumerate(best) if k and (n == 0 or k != best[n - 1])]
        assert tokens == y.numpy()[row, : y_lengths[row]].tolist()


def test_las_overfits_four_utterances() -> None:
    x, lengths, y, y_lengths = batch(4)
    config = dataclasses.replace(LAS, dropout=0.0)
    model = Las(config, features=FEATURES, vocab_size=VOCAB)
    inputs = tf.pad(y, [[0, 0], [1, 0]], constant_values=2)
    ends = tf.one_hot(y_lengths, inputs.shape[1], dtype=tf.int32) * END

    def loss(
        x: tf.Tensor, lengths: tf.Tensor, inputs: tf.Tensor, targets: tf.Tensor, y_lengths: tf.Tensor
    ) -> tf.Tensor:
        logits = model(x, lengths, inputs, training=True, seed=tf.constant([1, 2]))
        return tf.reduce_mean(cross_entropy(logits, targets, y_lengths + 1))

    fit(model, loss, (x, lengths, inputs, tf.pad(y, [[0, 0], [0, 1]]) + ends, y_lengths))
    step = SpellerStep(model)
    state, frames = step.start(x, lengths)
    assert frames.tolist() == [-(-n // model.stride) for n in lengths.numpy()]
    tokens, spelled = np.full(len(frames), 2, np.int32), []
    for _ in range(inputs.shape[1]):
        log_probs, state = step(tokens, state)
        tokens = log_probs.argmax(-1).astype(np.int32)
        spelled.append(tokens)
    for row, text in enumerate(np.stack(spelled, 1)):
        assert text[: y_lengths[row] + 1].tolist() == [*y.numpy()[row, : y_lengths[row]], END]


def test_beams_share_their_utterances_memory() -> None:
    """N = B * beams rows give what B rows would, each hypothesis on its own."""
    x, lengths, _, _ = batch(3)
    model = Las(LAS, features=FEATURES, vocab_size=VOCAB)
    memory = model.listen(x, lengths)
    tokens = np.random.default_rng(0).integers(0, VOCAB, (3, 2, 4)).astype("i4")  # (B, beams, U)
    state = model.start(memory, beams=2)
    singles = [model.start(memory) for _ in range(2)]
    for u in range(4):
        together, state = model.step(tf.constant(tokens[:, :, u].reshape(-1)), state)
        for beam in range(2):
            alone, singles[beam] = model.step(tf.constant(tokens[:, beam, u]), singles[beam])
            np.testing.assert_allclose(together.numpy().reshape(3, 2, -1)[:, beam], alone, atol=1e-6)


@pytest.mark.parametrize(
    "make",
    [
        lambda s: DeepSpeech2(DEEPSPEECH2, features=4, vocab_size=5, seed=s),
        lambda s: Las(LAS, features=4, vocab_size=5, seed=s),
    ],
)
def test_weights_are_a_function_of_the_seed_and_have_names_of_their_own(make) -> None:
    first, again, other = make(1), make(1), make(2)
    names = [v.path for v in first.variables]
    assert len(set(names)) == len(names) and names == [v.path for v in again.variables]
    assert all(np.array_equal(a, b) for a, b in zip(first.variables, again.variables, strict=True))
    assert any(not np.array_equal(a, b) for a, b in zip(first.variables, other.variables, strict=True))


def test_wrong_width_is_refused() -> None:
    model = DeepSpeech2(DEEPSPEECH2, features=4, vocab_size=5)
    with pytest.raises(ValueError, match="built for 4 features a frame, got 6"):
        model(tf.zeros([1, 3, 6]), tf.constant([3]))
    las = Las(LAS, features=4, vocab_size=5)
    with pytest.raises(ValueError, match="built for 4 features a frame, got 6"):
        las.listen(tf.zeros([1, 3, 6]), tf.constant([3]))
    with pytest.raises(ValueError, match=r"Las expected features of shape \(B, T, 4\), got \(3, 4\)"):
        las.listen(tf.zeros([3, 4]), tf.constant([3]))
    with pytest.raises(ValueError, match=r"lengths of shape \(B,\), got \(\)"):
        las.listen(tf.zeros([1, 3, 4]), 3)


@pytest.mark.parametrize("config", [DEEPSPEECH2, dataclasses.replace(LAS, convolutions=FRONT)])
def test_known_shapes_stay_known(config: DeepSpeech2Config | LasConfig) -> None:
    """The recurrence is compiled in a graph of known shapes; a shape lost on the way would lose that, and a TPU."""
    model, tokens, shapes = built(config), tf.zeros([3, 5], tf.int32), []

    @tf.function(autograph=False)
    def hear(features: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
        listened = model.listen(features, lengths) if isinstance(model, Las) else model(features, lengths)
        shapes.append(listened.values.shape)
        if isinstance(model, Las):
            shapes.append(model.speller(listened, tokens).shape)
        return listened.values

    hear.get_concrete_function(tf.zeros([3, 37, FEATURES]), tf.constant([37, 12, 1]))
    frames = -(-37 // model.stride)
    assert shapes == ([[3, frames, 24], [3, 5, VOCAB]] if isinstance(model, Las) else [[3, frames, VOCAB]])


@pytest.fixture
def policy() -> Iterator[Callable[[str], None]]:
    yield keras.config.set_dtype_policy
    keras.config.set_dtype_policy("float32")


@pytest.mark.parametrize(("config", "short"), [(LAS, "mixed_bfloat16"), (DEEPSPEECH2, "mixed_float16")])
def test_under_a_policy_of_keras_products_are_short_and_the_rest_is_float32(config: Any, short: str, policy) -> None:
    x, lengths, y, _ = (part[:4] for part in batch())
    arguments = (x, lengths, y) if config is LAS else (x, lengths)

    def gradients(model: Any) -> tuple[Any, list[Any]]:
        with tf.GradientTape() as tape:
            said = model(*arguments, training=True, seed=tf.constant([1, 1]))
            logits = said if config is LAS else said.values
            loss = tf.reduce_mean(logits**2)
        return logits, [tf.convert_to_tensor(g) for g in tape.gradient(loss, model.trainable_variables)]

    exact, expected = gradients(built(config))
    policy(short)
    logits, got = gradients(built(config))
    assert logits.dtype == tf.float32 and all(gradient.dtype == tf.float32 for gradient in got)
    assert 0 < np.abs(logits - exact).max() < 0.05 * np.abs(exact).max()
    for rounded, full in zip(got, expected, strict=True):
        assert np.abs(rounded - full).max() < 0.1 * np.abs(full).max() + 1e-3


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_under_a_policy_a_step_is_that_of_float32_nearly(attention: str, policy) -> None:
    config = dataclasses.replace(LAS, attention=attention, tied_output=True, projection=True, start_from_memory=True)
    said = []
    for name in ("float32", "mixed_bfloat16"):
        policy(name)
        model, (x, lengths, *_) = built(config), batch(2)
        log_probs, state = model.step(np.array([1, 2]), model.start(model.listen(x, lengths)))
        assert log_probs.dtype == tf.float32 and all(part.dtype == tf.float32 for part in state.hidden + state.cells)
        said.append(log_probs.numpy())
    assert 0 < np.abs(said[0] - said[1]).max() < 0.05


@pytest.mark.parametrize("short", ["float32", "bfloat16"])
def test_the_steps_of_training_a_speller_multiply_in_the_dtype_of_the_policy(short: str, policy) -> None:
    policy("float32" if short == "float32" else f"mixed_{short}")
    x, lengths, y, _ = batch()
    model = built(dataclasses.replace(LAS, cell="lstm"))

    def gradients() -> Any:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(model(x, lengths, y, training=True, seed=tf.constant([1, 1])) ** 2)
        return tape.gradient(loss, model.trainable_variables)

    definition = tf.function(gradients, autograph=False).get_concrete_function().graph.as_graph_def()
    products = [
        node
        for function in definition.library.function
        for node in function.node_def
        if node.op == "MatMul" and "cell_0" in node.name
    ]
    assert {node.name.startswith("gradient") for node in products} == {False, True}
    assert {node.attr["T"].type for node in products} == {tf.as_dtype(short).as_datatype_enum}
