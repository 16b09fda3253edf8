"""Every front end and stage of tensors against numpy's, and the TensorFlow presets against tf.signal."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from asr_features import PRESETS, GlobalNorm, LogMel, UtteranceNorm, presets, read
from asr_features.chain import Chain
from asr_features.deltas import Deltas
from asr_features.normalize import RunningNorm

tf = pytest.importorskip("tensorflow")

from asr_features.tf import in_graph  # noqa: E402
from asr_features.tf.frontends import num_frames  # noqa: E402

SHARED = Path(__file__).resolve().parents[3].parent / "shared" / "data"


def noise(count, seed=0):
    rng = np.random.default_rng(seed)
    voice = np.sin(np.arange(count) * 0.05) * np.sin(np.arange(count) * 0.001)
    return (0.01 * rng.standard_normal(count) + 0.2 * voice).astype(np.float32)


def running(recipe):
    return dataclasses.replace(recipe, top_over="running")


LENGTHS = [4800, 0, 1, 80, 399, 400, 1234, 3999]
RECIPES = {
    **PRESETS,
    "kaldi-mirror": dataclasses.replace(presets.KALDI_23, framing="mirror", energy="last"),
    "whisper-running": running(presets.WHISPER_80),
    "mfcc-running": dataclasses.replace(
        presets.LIBROSA_MFCC_20, mel=running(presets.LIBROSA_MFCC_20.mel), energy="raw", zeroth="last"
    ),
    "no-log": dataclasses.replace(presets.LIBROSA_80, log="none", input_scale=32.0),
    "float64": dataclasses.replace(presets.LIBROSA_80, dtype="float64", framing="reflect"),
    "chain": Chain(
        presets.KALDI_23,
        Deltas(),
        RunningNorm(window=7, variance=True, prior=GlobalNorm(mean=[9.0] * 69, std=[2.0] * 69), prior_frames=4),
    ),
    "channels": Chain(
        presets.TENSORFLOW_80, Deltas(rule="difference", layout="channels"), UtteranceNorm(ddof=1, divide="sum")
    ),
}
MODES = {
    "eager": lambda function: function,
    "graph": lambda function: tf.function(
        function, input_signature=[tf.TensorSpec([None, None]), tf.TensorSpec([None], tf.int32)]
    ),
    "xla": lambda function: tf.function(function, jit_compile=True),
}


def close(got, expected, mean=1e-5, most=5e-3):
    difference = np.abs(got - expected)
    scale = max(1.0, float(np.abs(expected).mean()))
    return got.shape == expected.shape and difference.mean() < mean * scale and difference.max() < most * scale


def ragged(signals, longest):
    batch = np.full((len(signals), longest), 0.7, np.float32)  # what pads must not be heard
    for row, signal in zip(batch, signals, strict=True):
        row[: len(signal)] = signal
    return batch


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", RECIPES)
def test_a_ragged_batch_is_the_utterances_alone(name, mode):
    recipe = RECIPES[name]
    signals = [noise(count, seed) for seed, count in enumerate(LENGTHS)]
    batch = tf.constant(ragged(signals, max(LENGTHS)))
    features, frames = MODES[mode](in_graph(recipe))(batch, tf.constant(LENGTHS, tf.int32))
    assert features.dtype == (tf.float64 if name == "float64" else tf.float32) and frames.dtype == tf.int32
    assert features.shape[:3] == (len(signals), recipe.num_frames(max(LENGTHS)), recipe.dim)
    assert frames.numpy().tolist() == [recipe.num_frames(count) for count in LENGTHS]
    for got, count, signal in zip(features.numpy(), frames.numpy(), signals, strict=True):
        # Of a signal of one value, a frame without its mean is what rounding left of it.
        constant = len(signal) <= 1
        assert constant or count == 0 or close(got[:count], recipe(signal)), len(signal)
        assert np.isfinite(got).all() and not got[count:].any()


@pytest.mark.parametrize("name", ["kaldi-80", "whisper-80", "htk-mfcc-13", "nemo-80", "psf-mfcc-13"])
def test_matrices_in_the_place_of_an_fft(name):
    recipe, signal = PRESETS[name], noise(9000)
    got = in_graph(recipe, dft="matmul")(signal).numpy()
    assert close(got, recipe(signal), mean=3e-5)
    assert not np.array_equal(got, in_graph(recipe)(signal).numpy())


@pytest.mark.parametrize("name", RECIPES)
def test_one_signal(name):
    traced = tf.function(in_graph(RECIPES[name]), input_signature=[tf.TensorSpec([None])])
    for count in (0, 399, 400, 5000):
        got, expected = in_graph(RECIPES[name])(noise(count)).numpy(), RECIPES[name](noise(count))
        assert got.shape == expected.shape
        assert count < 400 or close(got, expected)
        assert np.allclose(traced(noise(count)), got, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("name", PRESETS)
def test_the_number_of_frames_is_the_same_law(name):
    counts = np.arange(0, 2000, dtype=np.int32)
    base = getattr(PRESETS[name], "mel", PRESETS[name])
    base = PRESETS[name] if isinstance(base, str) else base
    expected = [base.num_frames(int(count)) for count in counts]
    assert num_frames(base, tf.constant(counts)).numpy().tolist() == expected


@pytest.mark.parametrize("mode", ["eager", "graph", "xla"])
def test_speech_differs_by_rounding_alone(mode):
    speech = sorted((SHARED / "librispeech").glob("*.flac"))[:6]
    if not speech:
        pytest.skip("needs ../shared/data")
    signals = [read(path, sample_rate=16000) for path in speech]
    lengths = [len(signal) for signal in signals]
    batch = tf.constant(ragged(signals, max(lengths)))
    assert sum(lengths) > 60 * 16000
    for recipe in (presets.KALDI_80, presets.WHISPER_80, presets.TENSORFLOW_80, presets.LIBROSA_80):
        features, frames = MODES[mode](in_graph(recipe))(batch, tf.constant(lengths, tf.int32))
        difference = np.concatenate(
            [
                np.abs(got[:count] - recipe(signal)).ravel()
                for got, count, signal in zip(features.numpy(), frames.numpy(), signals, strict=True)
            ]
        )
        assert difference.mean() <= 5e-6
        assert np.quantile(difference, 0.9999) <= 1e-3


def test_inside_a_dataset():
    signals = [noise(4000, 1), noise(6000, 2)]
    dataset = tf.data.Dataset.from_generator(lambda: iter(signals), output_signature=tf.TensorSpec([None]))
    for got, signal in zip(dataset.map(in_graph(presets.KALDI_80)), signals, strict=True):
        assert close(got.numpy(), presets.KALDI_80(signal))


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("name", RECIPES)
def test_gradients_are_finite_in_silence(name, jit):
    @tf.function(jit_compile=jit)
    def slope(samples):
        with tf.GradientTape() as tape:
            tape.watch(samples)
            features, _ = in_graph(RECIPES[name])(samples, [4000, 3000])
        return tape.gradient(features, samples)

    assert np.isfinite(slope(tf.zeros([2, 4000]))).all()


def test_a_gradient_is_the_slope():
    rng = np.random.default_rng(0)
    recipe = dataclasses.replace(presets.KALDI_23, dtype="float64")
    samples, direction = noise(3000).astype(np.float64), rng.standard_normal(3000)
    with tf.GradientTape() as tape:
        tensor = tf.constant(samples)
        tape.watch(tensor)
        features = in_graph(recipe)(tensor)
    slope = float(tf.reduce_sum(tape.gradient(features, tensor) * direction))
    step = 1e-7 * direction
    expected = (recipe(samples + step) - recipe(samples - step)).sum() / 2e-7
    assert slope == pytest.approx(expected, rel=1e-4)


STAGES = {
    "deltas": Deltas(),
    "one-order": Deltas(order=1, window=3, layout="channels"),
    "difference": Deltas(rule="difference"),
    "utterance": UtteranceNorm(),
    "mean": UtteranceNorm(variance=False),
    "global": GlobalNorm(mean=[1.0, 2.0, 3.0], std=[0.5, 1.0, 2.0]),
    "running": RunningNorm(window=5),
    "running-variance": RunningNorm(window=40, variance=True),
}


@pytest.mark.parametrize("mode", ["eager", "graph", "xla"])
@pytest.mark.parametrize("name", STAGES)
def test_a_stage_on_a_padded_batch(name, mode):
    stage, lengths = STAGES[name], [30, 0, 1, 2, 17]
    features = np.random.default_rng(1).standard_normal((5, 30, 3)).astype(np.float32)
    signature = [tf.TensorSpec([None, None, 3]), tf.TensorSpec([None], tf.int32)]
    function = (
        in_graph(stage)
        if mode == "eager"
        else tf.function(
            in_graph(stage), input_signature=signature if mode == "graph" else None, jit_compile=mode == "xla"
        )
    )
    got = function(tf.constant(features), tf.constant(lengths)).numpy()
    expected = stage.batch(features, lengths)
    assert got.shape == expected.shape
    assert np.abs(got - expected).max() < 2e-5
    if name not in ("deltas", "one-order", "difference"):
        alone = in_graph(stage)(tf.constant(features[0])).numpy()
        assert np.abs(alone - stage(features[0])).max() < 2e-5


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
    cepstra = tf.signal.mfccs_from_log_mel_spectrograms(expected)[:, :13].numpy()
    assert np.abs(presets.TENSORFLOW_MFCC_13(samples) - cepstra).max() < 5e-3


def test_what_cannot_be_is_refused_in_one_line():
    with pytest.raises(ValueError, match=r"lengths: expected \(B,\) for a batch \(B, N\)"):
        in_graph(presets.KALDI_80)(tf.zeros([2, 4000]))
    with pytest.raises(ValueError, match=r"samples: expected shape \(N,\), or \(B, N\) with lengths"):
        in_graph(presets.KALDI_80)(tf.zeros([2, 4000, 1]), [4000, 4000])
    with pytest.raises(ValueError, match=r"features: expected shape \(T, F\), or \(B, T, F\) with lengths"):
        in_graph(Deltas())(tf.zeros([2, 40, 3]))
    with pytest.raises(ValueError, match="part: expected one of Spectrogram, LogMel, Mfcc, Chain, Deltas"):
        in_graph(abs)
    with pytest.raises(ValueError, match="dft: expected one of fft, matmul, got 'dct'"):
        in_graph(LogMel(input_scale=1.0), dft="dct")
