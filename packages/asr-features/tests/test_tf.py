"""The graph's log-mel against numpy's, and TENSORFLOW_80 against tf.signal."""

import dataclasses

import numpy as np
import pytest

from asr_features import PRESETS, presets

tf = pytest.importorskip("tensorflow")

from asr_features.tf import log_mel  # noqa: E402


def noise(count, seed=0):
    rng = np.random.default_rng(seed)
    voice = np.sin(np.arange(count) * 0.05) * np.sin(np.arange(count) * 0.001)
    return (0.01 * rng.standard_normal(count) + 0.2 * voice).astype(np.float32)


def close(got, expected):
    difference = np.abs(got - expected)
    return got.shape == expected.shape and difference.mean() < 1e-5 and difference.max() < 2e-3


LENGTHS = [4800, 0, 1, 80, 399, 400, 1234, 3999]
RECIPES = {**PRESETS, "kaldi-mirror": dataclasses.replace(presets.KALDI_23, framing="mirror")}
MODES = {
    "eager": lambda function: function,
    "graph": lambda function: tf.function(
        function, input_signature=[tf.TensorSpec([None, None]), tf.TensorSpec([None], tf.int32)]
    ),
    "xla": lambda function: tf.function(function, jit_compile=True),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", RECIPES)
def test_a_ragged_batch_is_the_utterances_alone(name, mode):
    recipe = RECIPES[name]
    signals = [noise(count, seed) for seed, count in enumerate(LENGTHS)]
    batch = np.full((len(signals), max(LENGTHS)), 0.7, np.float32)  # what pads must not be heard
    for row, signal in zip(batch, signals, strict=True):
        row[: len(signal)] = signal
    features, frames = MODES[mode](log_mel(recipe))(tf.constant(batch), tf.constant(LENGTHS, tf.int32))
    assert features.dtype == tf.float32 and frames.dtype == tf.int32
    assert features.shape == (len(signals), recipe.num_frames(max(LENGTHS)), recipe.dim)
    assert frames.numpy().tolist() == [recipe.num_frames(count) for count in LENGTHS]
    for got, count, signal in zip(features.numpy(), frames.numpy(), signals, strict=True):
        expected = recipe(signal)
        assert count == 0 or close(got[:count], expected), len(signal)
        assert not got[count:].any()


@pytest.mark.parametrize("count", [0, 1, 399, 400, 5000])
@pytest.mark.parametrize("name", RECIPES)
def test_one_signal(name, count):
    got = log_mel(RECIPES[name])(noise(count)).numpy()
    expected = RECIPES[name](noise(count))
    assert got.shape == expected.shape
    assert count < 400 or close(got, expected)
    traced = tf.function(log_mel(RECIPES[name]), input_signature=[tf.TensorSpec([None])])
    assert np.allclose(traced(noise(count)), got, atol=1e-4)


@pytest.mark.parametrize("name", RECIPES)
def test_the_number_of_frames_is_the_same_law(name):
    from asr_features.tf.frontends import _num_frames

    counts = np.arange(0, 2000, dtype=np.int32)
    expected = [RECIPES[name].num_frames(int(count)) for count in counts]
    assert _num_frames(RECIPES[name], tf.constant(counts)).numpy().tolist() == expected


def test_inside_a_dataset():
    signals = [noise(4000, 1), noise(6000, 2)]
    dataset = tf.data.Dataset.from_generator(lambda: iter(signals), output_signature=tf.TensorSpec([None]))
    for got, signal in zip(dataset.map(log_mel(presets.KALDI_80)), signals, strict=True):
        assert close(got.numpy(), presets.KALDI_80(signal))


def test_gradients_are_finite_in_silence():
    samples = tf.zeros([1, 4000])
    with tf.GradientTape() as tape:
        tape.watch(samples)
        features, _ = log_mel(presets.KALDI_80)(samples, [4000])
    assert np.isfinite(tape.gradient(features, samples).numpy()).all()


def test_tensorflow_80_is_tf_signal():
    samples = noise(20000)
    spectrum = tf.abs(tf.signal.stft(samples, frame_length=320, frame_step=160, fft_length=512))
    filters = tf.signal.linear_to_mel_weight_matrix(80, 257, 16000, 80.0, 7600.0)
    expected = tf.math.log(tf.square(spectrum) @ filters + 1e-12).numpy()
    got = presets.TENSORFLOW_80(samples)
    assert got.shape == expected.shape
    assert np.abs(got - expected).mean() < 1e-4
    assert np.abs(got - expected).max() < 2e-3
    assert np.abs(presets.TENSORFLOW_80.filters() - filters.numpy()).max() < 1e-4


def test_a_batch_needs_lengths():
    with pytest.raises(ValueError, match=r"lengths: expected \(B,\)"):
        log_mel(presets.KALDI_80)(tf.zeros([2, 4000]))
    with pytest.raises(ValueError, match=r"samples: expected shape \(N,\), or \(B, N\) with lengths"):
        log_mel(presets.KALDI_80)(tf.zeros([2, 4000, 1]), [4000, 4000])
