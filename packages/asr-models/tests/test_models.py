"""The battery over every preset (narrowed), and learning."""

import dataclasses

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
from asr_models.testing import check_acoustic_model, check_las

FEATURES, VOCAB, END = 8, 7, 3


def narrow(config: DeepSpeech2Config | LasConfig) -> DeepSpeech2Config | LasConfig:
    if isinstance(config, LasConfig):
        return dataclasses.replace(
            config,
            listener_units=12,
            speller_units=16,
            embedding_units=6,
            attention_units=10,
            location_width=5,
        )
    convolutions = tuple(dataclasses.replace(c, channels=4) for c in config.convolutions)
    return dataclasses.replace(config, convolutions=convolutions, recurrent_units=12)


DS2_CONFIGS = {name: narrow(c) for name, c in PRESETS.items() if isinstance(c, DeepSpeech2Config)} | {
    "strides": DeepSpeech2Config(
        convolutions=(
            Convolution(channels=3, kernel=(4, 3), stride=(3, 1)),
            Convolution(channels=3, kernel=(1, 2), stride=(2, 3)),
        ),
        recurrent_layers=1,
        recurrent_units=8,
    )
}
LAS_CONFIGS = {name: narrow(c) for name, c in PRESETS.items() if isinstance(c, LasConfig)}
LAS_CONFIGS["convolutions"] = dataclasses.replace(
    LAS_CONFIGS["las-small"], convolutions=DS2_CONFIGS["strides"].convolutions, listener_layers=2
)
LAS_CONFIGS |= {f"{name}-dot": dataclasses.replace(c, attention="dot") for name, c in LAS_CONFIGS.items()}


def warmed(model):
    """With moving statistics that are not those of the first day."""
    for variable in model.non_trainable_variables:
        rng, mean = np.random.default_rng(1), variable.path.endswith("mean")
        variable.assign(rng.normal(0, 0.1, variable.shape) if mean else rng.uniform(0.3, 1.5, variable.shape))
    return model


@pytest.mark.parametrize("config", DS2_CONFIGS.values(), ids=DS2_CONFIGS)
def test_deepspeech2_hears_and_padding_changes_nothing(config: DeepSpeech2Config) -> None:
    check_acoustic_model(warmed(DeepSpeech2(config, features=FEATURES, vocab_size=VOCAB)), features=FEATURES)


@pytest.mark.parametrize("config", LAS_CONFIGS.values(), ids=LAS_CONFIGS)
def test_las_hears_and_padding_changes_nothing(config: LasConfig) -> None:
    check_las(warmed(Las(config, features=FEATURES, vocab_size=VOCAB)))


def test_a_listener_with_a_ctc_head_is_an_acoustic_model() -> None:
    config = dataclasses.replace(LAS_CONFIGS["las-small"], ctc_head=True)
    model = Las(config, features=FEATURES, vocab_size=VOCAB)

    def acoustic(features: tf.Tensor, lengths: tf.Tensor, **_: object) -> Encoded:
        return model.frame_logits(model.listen(features, lengths))

    check_acoustic_model(acoustic, features=FEATURES)
    with pytest.raises(ValueError, match="no CTC head"):
        Las(LAS_CONFIGS["las-small"], features=FEATURES, vocab_size=VOCAB).frame_logits(Encoded(None, None))


def test_the_battery_finds_a_deaf_model() -> None:
    """The mask that is all zero, whose shapes are perfect."""
    model = DeepSpeech2(DS2_CONFIGS["strides"], features=FEATURES, vocab_size=VOCAB)

    def deaf(features: tf.Tensor, lengths: tf.Tensor, **_: object) -> Encoded:
        values, lengths = model(features, lengths)
        return Encoded(values * 0, lengths)

    with pytest.raises(AssertionError, match="deaf"):
        check_acoustic_model(deaf, features=FEATURES)


def test_the_battery_finds_a_convolution_padded_by_tensorflow() -> None:
    kernel = tf.random.stateless_normal([3, FEATURES, VOCAB], [1, 2])

    def same(features: tf.Tensor, lengths: tf.Tensor, **_: object) -> Encoded:
        mask = tf.sequence_mask(lengths, tf.shape(features)[1], tf.float32)[..., None]
        return Encoded(tf.nn.conv1d(features * mask, kernel, 2, "SAME"), (lengths + 1) // 2)

    with pytest.raises(AssertionError, match="padding|alone"):
        check_acoustic_model(same, features=FEATURES)


def batch(rows: int = 8) -> tuple[tf.Tensor, ...]:
    """`rows` utterances: every token is a pattern of its own in noise, held for a few frames."""
    rng = np.random.default_rng(5)
    patterns = rng.normal(size=(VOCAB, FEATURES)) * 2
    labels = [rng.integers(4, VOCAB, rng.integers(2, 5)) for _ in range(rows)]
    features = [
        np.concatenate([np.repeat(patterns[[0, token]], 6, axis=0) for token in label])
        + rng.normal(size=(12 * len(label), FEATURES)) / 4
        for label in labels
    ]
    longest, most = max(map(len, features)), max(map(len, labels))
    x, y = np.zeros((rows, longest, FEATURES), "f4"), np.zeros((rows, most), "i4")
    for row, (f, label) in enumerate(zip(features, labels, strict=True)):
        x[row, : len(f)], y[row, : len(label)] = f, label
    lengths = (np.array([len(part) for part in parts], "i4") for parts in (features, labels))
    x_lengths, y_lengths = lengths
    return tuple(map(tf.constant, (x, x_lengths, y, y_lengths)))


def fit(model, loss, steps: int) -> None:
    import keras

    optimizer = keras.optimizers.Adam(1e-2)

    @tf.function
    def step(seed: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            value = loss(seed)
        gradients = tape.gradient(value, model.trainable_variables)
        assert all(g is not None for g in gradients), "a weight without a gradient"
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))

    for n in range(steps):
        step(tf.constant([0, n]))


def test_deepspeech2_overfits_eight_utterances() -> None:
    x, lengths, y, y_lengths = batch()
    config = dataclasses.replace(DS2_CONFIGS["deepspeech2-small"], dropout=0.0)
    model = DeepSpeech2(config, features=FEATURES, vocab_size=VOCAB)

    def loss(seed: tf.Tensor) -> tf.Tensor:
        logits, frames = model(x, lengths, training=True, seed=seed)
        return tf.reduce_mean(ctc_loss(logits, frames, y, y_lengths))

    fit(model, loss, 200)
    for row, scores in enumerate(log_probabilities(model, x, lengths)):
        best = scores.argmax(-1)
        tokens = [k for n, k in enumerate(best) if k and (n == 0 or k != best[n - 1])]
        assert tokens == y.numpy()[row, : y_lengths[row]].tolist()


@pytest.mark.parametrize("attention", ["location", "dot"])
def test_las_overfits_eight_utterances(attention: str) -> None:
    x, lengths, y, y_lengths = batch()
    config = dataclasses.replace(LAS_CONFIGS["las-small"], attention=attention, dropout=0.0)
    model = Las(config, features=FEATURES, vocab_size=VOCAB)
    inputs = tf.pad(y, [[0, 0], [1, 0]], constant_values=2)
    ends = tf.one_hot(y_lengths, inputs.shape[1], dtype=tf.int32) * END

    def loss(seed: tf.Tensor) -> tf.Tensor:
        logits = model(x, lengths, inputs, training=True, seed=seed)
        return tf.reduce_mean(cross_entropy(logits, tf.pad(y, [[0, 0], [0, 1]]) + ends, y_lengths + 1))

    fit(model, loss, 200)
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
    model = Las(LAS_CONFIGS["las-small"], features=FEATURES, vocab_size=VOCAB)
    memory = model.listen(x, lengths)
    tokens = np.random.default_rng(0).integers(0, VOCAB, (3, 2, 4)).astype("i4")  # (B, beams, U)
    state = model.start(memory, beams=2)
    singles = [model.start(memory) for _ in range(2)]
    for u in range(4):
        together, state = model.step(tf.constant(tokens[:, :, u].reshape(-1)), state)
        for beam in range(2):
            alone, singles[beam] = model.step(tf.constant(tokens[:, beam, u]), singles[beam])
            np.testing.assert_allclose(together.numpy().reshape(3, 2, -1)[:, beam], alone, atol=1e-6)


def test_sampling_replaces_tokens_by_guesses() -> None:
    x, lengths, y, _ = batch(3)
    config = dataclasses.replace(LAS_CONFIGS["las-small"], dropout=0.0, sampling=0.0)
    seed = tf.constant([1, 1])
    plain = Las(config, features=FEATURES, vocab_size=VOCAB)
    sampled = Las(dataclasses.replace(config, sampling=0.9), features=FEATURES, vocab_size=VOCAB)
    told = plain(x, lengths, y, training=True, seed=seed)
    guessed = sampled(x, lengths, y, training=True, seed=seed)
    np.testing.assert_allclose(told[:, 0], guessed[:, 0], atol=1e-6)  # before the first step nothing was guessed
    assert np.abs(told - guessed).max() > 1e-3
    np.testing.assert_allclose(sampled(x, lengths, y), plain(x, lengths, y), atol=1e-6)  # not outside of training


@pytest.mark.parametrize(
    "make",
    [
        lambda s: DeepSpeech2(DS2_CONFIGS["strides"], features=4, vocab_size=5, seed=s),
        lambda s: Las(LAS_CONFIGS["las-small"], features=4, vocab_size=5, seed=s),
    ],
)
def test_weights_are_a_function_of_the_seed_and_have_names_of_their_own(make) -> None:
    first, again, other = make(1), make(1), make(2)
    names = [v.path for v in first.variables]
    assert len(set(names)) == len(names) and names == [v.path for v in again.variables]
    assert all(np.array_equal(a, b) for a, b in zip(first.variables, again.variables, strict=True))
    assert any(not np.array_equal(a, b) for a, b in zip(first.variables, other.variables, strict=True))


def test_wrong_width_is_refused() -> None:
    model = DeepSpeech2(DS2_CONFIGS["strides"], features=4, vocab_size=5)
    with pytest.raises(ValueError, match="built for 4 features a frame, got 6"):
        model(tf.zeros([1, 3, 6]), tf.constant([3]))
    las = Las(LAS_CONFIGS["las-small"], features=4, vocab_size=5)
    with pytest.raises(ValueError, match="built for 4 features a frame, got 6"):
        las.listen(tf.zeros([1, 3, 6]), tf.constant([3]))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: LasConfig(attention="dott"), "LasConfig.attention is 'dott', expected one of location, dot"),
        (lambda: LasConfig(dropout=1.0), "LasConfig.dropout is 1.0, expected at least 0 and below 1"),
        (lambda: LasConfig(location_width=4), "expected an odd number"),
        (lambda: DeepSpeech2Config(convolutions=()), "convolutions is empty"),
        (lambda: DeepSpeech2Config(recurrent_layers=0), "recurrent_layers is 0, expected at least 1"),
        (lambda: Convolution(stride=(0, 1)), r"Convolution.stride is \(0, 1\)"),
    ],
)
def test_impossible_configurations_are_refused(wrong, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        wrong()
