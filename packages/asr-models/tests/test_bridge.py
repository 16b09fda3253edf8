from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from asr_models import (
    Convolution,
    DeepSpeech2,
    DeepSpeech2Config,
    Las,
    LasConfig,
    SpellerStep,
    assign_weights,
    export,
    log_probabilities,
    weights_of,
)
from asr_models.bridge import load_weights, save_weights

FEATURES, VOCAB = 5, 7
LAS = LasConfig(listener_layers=2, listener_units=4, speller_units=6, embedding_units=3, attention_units=4)
DEEPSPEECH2 = DeepSpeech2Config(
    convolutions=(Convolution(channels=2, kernel=(3, 3)),), recurrent_layers=1, recurrent_units=4
)


def las(**changes: int) -> Las:
    return Las(LAS, features=FEATURES, vocab_size=VOCAB, **changes)


def deepspeech2(**changes: int) -> DeepSpeech2:
    return DeepSpeech2(DEEPSPEECH2, features=FEATURES, vocab_size=VOCAB, **changes)


def speech(*lengths: int) -> tuple[np.ndarray, np.ndarray]:
    features = np.random.default_rng(sum(lengths)).normal(size=(len(lengths), max(lengths), FEATURES))
    return features.astype("f4"), np.array(lengths)


def test_the_step_takes_and_gives_numpy_or_tensors_and_alignments_if_asked() -> None:
    model, tokens = las(), np.array([2, 3, 4, 5])
    plain, full, tensors = SpellerStep(model), SpellerStep(model, alignments=True), SpellerStep(model, tensors=True)
    state, frames = plain.start(*speech(20, 9), beams=2)
    log_probs, after = plain(tokens, state)
    np.testing.assert_allclose(np.exp(log_probs).sum(-1), 1, atol=1e-5)
    same, _, alignment = full(tf.constant(tokens), state)
    np.testing.assert_array_equal(same, log_probs)
    np.testing.assert_array_equal(alignment, after.alignment)
    np.testing.assert_allclose(alignment.sum(-1), 1, atol=1e-6)
    assert not alignment[2:, frames[1] :].any()
    found, _ = tensors(tokens, state)
    assert isinstance(log_probs, np.ndarray) and tf.is_tensor(found)
    np.testing.assert_array_equal(found, log_probs)


def test_a_saved_deepspeech2_says_the_same_for_any_batch(tmp_path: Path) -> None:
    model = deepspeech2()
    export(model, tmp_path / "saved")
    serve = tf.saved_model.load(str(tmp_path / "saved")).signatures["serving_default"]
    for lengths in ((20, 9), (3,), (7, 31, 12)):
        features, counts = speech(*lengths)
        got = serve(features=tf.constant(features), lengths=tf.constant(counts, tf.int32))
        for row, scores in enumerate(log_probabilities(model, features, counts)):
            assert got["lengths"][row] == len(scores)
            np.testing.assert_allclose(got["log_probs"][row, : len(scores)], scores, atol=1e-5)


def test_a_saved_las_steps_as_the_model_does(tmp_path: Path) -> None:
    model = las()
    export(model, tmp_path / "saved")
    saved, step = tf.saved_model.load(str(tmp_path / "saved")).signatures, SpellerStep(model, alignments=True)
    for lengths, beams in (((20, 9), 2), ((5,), 1)):
        features, counts = speech(*lengths)
        state, frames = step.start(features, counts, beams=beams)
        got = saved["start"](
            features=tf.constant(features), lengths=tf.constant(counts, tf.int32), beams=tf.constant(beams)
        )
        np.testing.assert_array_equal(got.pop("frames"), frames)
        for token in (2, 5, 1):
            tokens = np.full(len(lengths) * beams, token, np.int32)
            log_probs, state, alignment = step(tokens, state)
            got = saved["step"](tokens=tf.constant(tokens), **got)
            np.testing.assert_allclose(got.pop("log_probs"), log_probs, atol=1e-5)
            np.testing.assert_allclose(got.pop("alignment"), alignment, atol=1e-5)


@pytest.mark.parametrize("make", [las, deepspeech2])
def test_weights_go_to_another_model_by_name(make, tmp_path: Path) -> None:
    first, other = make(seed=1), make(seed=2)
    np.savez(tmp_path / "weights.npz", **weights_of(first))
    assign_weights(other, dict(np.load(tmp_path / "weights.npz")))
    for a, b in zip(first.variables, other.variables, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("make", [las, deepspeech2])
def test_weights_go_to_another_model_in_a_file(make, tmp_path: Path) -> None:
    first, other = make(seed=1), make(seed=2)
    save_weights(first, tmp_path / "weights.safetensors")
    load_weights(other, tmp_path / "weights.safetensors")
    for a, b in zip(first.variables, other.variables, strict=True):
        np.testing.assert_array_equal(a, b)
    wrong = DeepSpeech2(DEEPSPEECH2, features=FEATURES, vocab_size=VOCAB + 1)
    with pytest.raises(ValueError, match=r"weights\.safetensors: weight ") as error:
        load_weights(wrong, tmp_path / "weights.safetensors")
    assert "\n" not in str(error.value)
    with pytest.raises(FileNotFoundError):
        load_weights(first, tmp_path / "none.safetensors")


def test_weights_that_do_not_fit_are_refused_whole() -> None:
    model = deepspeech2()
    before, good = weights_of(model), weights_of(deepspeech2(seed=9))
    name = "output/kernel"
    with pytest.raises(ValueError, match=r"weight output/kernel has shape \(1, 2\), expected \(4, 7\)"):
        assign_weights(model, good | {name: np.zeros((1, 2), "f4")})
    with pytest.raises(ValueError, match="weight output/kernel is missing"):
        assign_weights(model, {key: value for key, value in good.items() if key != name})
    with pytest.raises(ValueError, match="weight other is not one of this model"):
        assign_weights(model, good | {"other": np.zeros(1, "f4")})
    for key, value in weights_of(model).items():
        np.testing.assert_array_equal(value, before[key])
