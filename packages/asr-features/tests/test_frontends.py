"""The front ends against a slow, literal reference of Kaldi, Kaldi's own outputs, and their laws."""

import dataclasses
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_features import PRESETS, presets, read
from asr_features.frontends import LogMel, Mfcc, Spectrogram

SHARED = Path(__file__).resolve().parents[3].parent / "shared" / "data"


def noise(count, seed=0):
    rng = np.random.default_rng(seed)
    return (0.1 * rng.standard_normal(count) + 0.05 * np.sin(np.arange(count) * 0.3)).astype(np.float32)


def kaldi_reference(samples, *, num_mels, sample_rate=16000, snip_edges=True, window="povey"):
    """Kaldi's compute-fbank-feats without dither, in float64: frame by frame and sample by sample."""
    x = np.asarray(samples, np.float64) * 32768
    length, shift = int(sample_rate * 0.025), int(sample_rate * 0.01)
    size = 1
    while size < length:
        size *= 2
    count = max(0, 1 + (len(x) - length) // shift) if snip_edges else (len(x) + shift // 2) // shift
    cosine = np.cos(2 * np.pi * np.arange(length) / (length - 1))
    weights = (0.5 - 0.5 * cosine) ** 0.85 if window == "povey" else 0.54 - 0.46 * cosine
    points = np.linspace(np.log(1 + 20 / 700), np.log(1 + sample_rate / 2 / 700), num_mels + 2)
    bins = np.log(1 + np.arange(size // 2) * sample_rate / size / 700)
    features = np.zeros((count, num_mels))
    for t in range(count):
        first = t * shift if snip_edges else t * shift + shift // 2 - length // 2
        frame = np.zeros(length)
        for i in range(length):
            at = first + i
            while not 0 <= at < len(x):
                at = -at - 1 if at < 0 else 2 * len(x) - 1 - at
            frame[i] = x[at]
        frame -= frame.mean()
        for i in range(length - 1, 0, -1):
            frame[i] -= 0.97 * frame[i - 1]
        frame[0] -= 0.97 * frame[0]
        power = np.abs(np.fft.rfft(frame * weights, size)[: size // 2]) ** 2
        for m in range(num_mels):
            left, center, right = points[m : m + 3]
            up, down = (bins - left) / (center - left), (right - bins) / (right - center)
            energy = (power * np.maximum(0, np.minimum(up, down))).sum()
            features[t, m] = np.log(max(energy, 1.1920929e-07))
    return features


@pytest.mark.parametrize("snip_edges", [True, False])
@pytest.mark.parametrize("rate, mels", [(16000, 80), (16000, 23), (8000, 40), (22050, 80), (11025, 23)])
def test_kaldi_recipe_is_the_reference(rate, mels, snip_edges):
    recipe = dataclasses.replace(
        presets.KALDI_80, sample_rate=rate, num_mels=mels, framing="snip" if snip_edges else "mirror"
    )
    samples = noise(rate // 8 + 17)
    expected = kaldi_reference(samples, num_mels=mels, sample_rate=rate, snip_edges=snip_edges)
    got = recipe(samples)
    assert got.shape == expected.shape
    # The filters of Kaldi are in single precision, which moves their edges: 1e-3 in the narrowest.
    assert np.abs(got - expected).max() < 2e-3
    assert np.abs(got - expected).mean() < 1e-4


def test_the_first_sample_of_a_frame_under_a_window_that_does_not_hide_it():
    samples = noise(4000) + np.float32(0.3)
    expected = kaldi_reference(samples, num_mels=23, window="hamming")
    got = dataclasses.replace(presets.KALDI_23, window="hamming")(samples)
    assert np.abs(got - expected).max() < 2e-3


@pytest.mark.parametrize("count", [80, 81, 100, 159, 240, 399])
def test_mirroring_a_signal_shorter_than_a_frame(count):
    recipe = dataclasses.replace(presets.KALDI_23, framing="mirror")
    expected = kaldi_reference(noise(count), num_mels=23, snip_edges=False)
    assert len(expected) > 0
    assert np.abs(recipe(noise(count)) - expected).max() < 2e-3


def kaldi_fixture(name):
    folder = SHARED / "fixtures" / "kaldi"
    if not folder.exists():
        pytest.skip("needs ../shared/data")
    text = (folder / f"{name}.txt").read_text().split("[")[1].split("]")[0]
    return read(folder / "test.wav"), np.array([line.split() for line in text.strip().splitlines()], np.float64)


@pytest.mark.parametrize(
    "name, mels, framing",
    [("test", 23, "snip"), ("test-40", 40, "snip"), ("test-40-no-snip-edges", 40, "mirror")],
)
def test_kaldi_outputs(name, mels, framing):
    samples, kaldi = kaldi_fixture(name)
    got = dataclasses.replace(presets.KALDI_80, num_mels=mels, framing=framing)(samples)
    truth = kaldi_reference(samples, num_mels=mels, snip_edges=framing == "snip")
    assert got.shape == kaldi.shape
    # The signal is nearly pure tones, where Kaldi's own rounding is what differs: we are nearer to the truth
    # than it.
    assert np.abs(got - kaldi).mean() < 5e-4
    assert np.abs(got - kaldi).max() < 5e-2
    assert np.abs(got - truth).mean() < np.abs(kaldi - truth).mean()
    assert np.abs(got - truth).max() < np.abs(kaldi - truth).max()


@pytest.mark.parametrize(
    "name, frontend, energy",
    [
        ("test-with-energy", dataclasses.replace(presets.KALDI_23, energy="first"), 0),
        ("test-htk", dataclasses.replace(presets.KALDI_23, energy="last"), -1),
        ("test-mfcc", presets.KALDI_MFCC_13, 0),
        ("test-mfcc-no-snip-edges", Mfcc(mel=dataclasses.replace(presets.KALDI_23, framing="mirror"), energy="raw"), 0),
    ],
)
def test_kaldi_outputs_with_energy_and_cepstra(name, frontend, energy):
    samples, kaldi = kaldi_fixture(name)
    got = frontend(samples)
    assert got.shape == kaldi.shape
    assert np.abs(got - kaldi)[:, energy].max() < 1e-4  # what is printed of 20.0
    # Kaldi's own distance from the truth, as above, which the cosine transform and the lifter carry along.
    assert np.abs(got - kaldi).mean() < (1e-2 if "mfcc" in name else 5e-4)
    assert np.abs(got - kaldi).max() < (0.1 if "mfcc" in name else 5e-2)


def test_real_speech_is_the_reference_within_single_precision():
    speech = sorted((SHARED / "an4").glob("*.flac"))
    if not speech:
        pytest.skip("needs ../shared/data")
    samples = read(speech[0], sample_rate=16000)[:32000]
    difference = np.abs(presets.KALDI_80(samples) - kaldi_reference(samples, num_mels=80))
    assert difference.mean() < 2e-5
    assert np.quantile(difference, 0.999) < 1e-3
    assert difference.max() < 2e-2


def test_a_sine_peaks_in_its_own_filter_and_scales_as_power_does():
    for name, recipe in PRESETS.items():
        if not isinstance(recipe, LogMel) or recipe.log != "ln":
            continue
        for hz in (300, 1000, 3500):
            sine = (0.1 * np.sin(2 * np.pi * hz * np.arange(16000) / 16000)).astype(np.float32)
            features = recipe(sine)[10:-10]
            peak = recipe.filters()[round(hz * recipe.fft_size / 16000)].argmax()
            assert abs(features.mean(axis=0).argmax() - peak) <= 1, (name, hz)
            louder = recipe(2 * sine)[10:-10]
            assert np.allclose((louder - features)[:, peak], recipe.power * np.log(2), atol=1e-3), (name, hz)


def test_whisper_has_a_range_of_two_below_the_maximum():
    features = presets.WHISPER_80(noise(16000) * np.linspace(0, 1, 16000, dtype=np.float32) ** 8)
    assert features.max() - features.min() == pytest.approx(2, abs=1e-6)
    silence = presets.WHISPER_80(np.zeros(3200, np.float32))
    assert np.allclose(silence, (np.log10(1e-10) + 4) / 4)


def test_the_logarithms_are_one_in_other_units():
    def logarithm(name, **fields):
        return dataclasses.replace(presets.LIBROSA_80, log=name, dtype="float64", **fields)(noise(3000))

    energies = logarithm("none")
    assert np.allclose(logarithm("ln"), np.log(np.maximum(energies, 1e-10)))
    assert np.allclose(logarithm("log10"), np.log10(np.maximum(energies, 1e-10)))
    assert np.allclose(logarithm("db"), 10 * np.log10(np.maximum(energies, 1e-10)))
    assert np.allclose(logarithm("whisper"), (np.log10(np.maximum(energies, 1e-10)) + 4) / 4)
    assert np.allclose(logarithm("ln", log_floor=1e-3, log_offset=2.0), np.log(np.maximum(energies, 1e-3) + 2))
    assert (energies < 1e-3).any()


@pytest.mark.parametrize("log, unit", [("ln", 1), ("log10", 1), ("db", 1), ("whisper", 0.25)])
def test_the_range_is_in_units_of_the_logarithm(log, unit):
    free = dataclasses.replace(presets.LIBROSA_80, log=log, dtype="float64")
    samples = noise(4000) * np.linspace(0, 1, 4000, dtype=np.float32) ** 4
    for top in (0.0, 0.5, 3.0):
        expected = np.maximum(free(samples), free(samples).max() - top * unit)
        assert np.allclose(dataclasses.replace(free, top=top)(samples), expected)
        assert (expected > free(samples)).any()


def test_a_spectrogram_is_what_the_filters_of_a_log_mel_add_up():
    fields = {"input_scale": 32768.0, "log": "none", "dtype": "float64"}
    for power in (1, 2):
        mel = LogMel(**fields, num_mels=40, power=power)
        spectrogram = Spectrogram(**fields, power=power)
        assert spectrogram.dim == 257
        assert np.allclose(spectrogram(noise(3000)) @ mel.filters(), mel(noise(3000)))


@pytest.mark.parametrize("name", PRESETS)
def test_double_precision_is_the_same_within_single_precision(name):
    preset = PRESETS[name]
    if isinstance(preset, Mfcc):
        double = dataclasses.replace(preset, mel=dataclasses.replace(preset.mel, dtype="float64"))
    else:
        double = dataclasses.replace(preset, dtype="float64")
    difference = np.abs(preset(noise(8000)) - double(noise(8000)))
    assert double(noise(8000)).dtype == np.float64
    assert difference.mean() < 5e-5 and difference.max() < 2e-2
    assert (difference > 0).any()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 30000), st.integers(0, 30000), st.sampled_from(["kaldi-80", "tensorflow-80"]))
def test_a_longer_signal_begins_with_the_frames_of_a_shorter_one(first, second, name):
    recipe, shorter = PRESETS[name], min(first, second)
    whole, part = recipe(noise(max(first, second))), recipe(noise(max(first, second))[:shorter])
    assert np.array_equal(part, whole[: len(part)])


def test_shapes_of_short_signals():
    assert presets.KALDI_80(np.zeros(0, np.float32)).shape == (0, 80)
    assert presets.KALDI_80(np.zeros(399, np.float32)).shape == (0, 80)
    assert presets.KALDI_80(np.zeros(400, np.float32)).shape == (1, 80)
    assert presets.LIBROSA_80(np.zeros(0, np.float32)).shape == (0, 80)
    assert presets.LIBROSA_80(np.zeros(1, np.float32)).shape == (1, 80)
    assert presets.TENSORFLOW_80.num_frames(16000) == 1 + (16000 - 320) // 160


def test_threads_share_an_instance():
    signals = [noise(20000 + 999 * seed, seed) for seed in range(12)]
    recipes = [presets.KALDI_80, presets.NEMO_80, presets.KALDI_MFCC_13] * 4
    expected = [recipe(signal) for recipe, signal in zip(recipes, signals, strict=True)]
    with ThreadPoolExecutor(4) as pool:
        together = pool.map(lambda recipe, signal: recipe(signal), recipes * 3, signals * 3)
        for got, alone in zip(together, expected * 3, strict=True):
            assert np.array_equal(got, alone)


def test_strided_and_double_samples_are_taken_as_they_are():
    samples = noise(8000)
    assert np.array_equal(presets.KALDI_80(samples.astype(np.float64)), presets.KALDI_80(samples))
    assert np.array_equal(presets.KALDI_80(samples[::2]), presets.KALDI_80(samples[::2].copy()))


def test_a_sample_that_is_no_number_spoils_its_own_frames_alone():
    for recipe in (presets.KALDI_80, presets.NEMO_80, presets.KALDI_MFCC_13):
        samples = noise(60000)
        sound = recipe(samples)
        samples[30000] = np.nan
        spoilt = np.isnan(recipe(samples)).any(axis=1)
        assert 2 <= spoilt.sum() <= 4
        assert np.array_equal(recipe(samples)[~spoilt], sound[~spoilt])
        assert np.array_equal(recipe(noise(60000)), sound)  # nor is it still there in the next call


@pytest.mark.skipif(sys.platform != "linux", reason="needs ru_maxrss in KiB")
@pytest.mark.parametrize("name", ["kaldi-80", "icefall-80", "nemo-80", "kaldi-mfcc-13"])
def test_an_hour_takes_little_more_memory_than_its_features(name):
    code = (
        "import resource, sys, numpy as np, asr_features\n"
        "recipe = asr_features.PRESETS[sys.argv[1]]\n"
        "second = np.random.default_rng(0).uniform(-0.5, 0.5, 16000).astype(np.float32)\n"
        "hour = np.tile(second, 3600)\n"
        "recipe(second)\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "features = recipe(hour)\n"
        "peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before\n"
        "print(peak * 1024 - features.nbytes)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, name], capture_output=True, text=True, check=True)
    assert int(done.stdout) <= 8e6


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"sample_rate": 0}, "sample_rate: expected a positive int, got 0"),
        ({"num_mels": 8.5}, "num_mels: expected a positive int, got 8.5"),
        ({"framing": "same"}, "framing: expected one of snip, mirror, center, reflect, center-floor, reflect-floor"),
        ({"mel": "bark"}, "mel: expected one of kaldi, tensorflow, htk, slaney, psf, got 'bark'"),
        ({"log": "log2"}, "log: expected one of ln, log10, db, whisper, none, got 'log2'"),
        ({"pre_emphasis_over": "word"}, "pre_emphasis_over: expected one of frame, signal, got 'word'"),
        ({"power": 3}, "power: expected 1 (magnitude) or 2 (power), got 3"),
        ({"energy": "middle"}, "energy: expected one of first, last, got 'middle'"),
        ({"top": -1.0}, "top: expected a finite number of at least 0, got -1.0"),
        ({"top": 8.0, "log": "none"}, 'top: expected a logarithm, in whose units it is, got log "none"'),
        ({"top": 8.0, "energy": "first"}, "energy, top: expected only one of them, got both"),
        ({"top_over": "frame"}, "top_over: expected one of utterance, running, got 'frame'"),
        ({"dtype": "float16"}, "dtype: expected one of float32, float64, got 'float16'"),
        ({"window": None}, "window: expected one of povey"),
        ({"input_scale": 0.0}, "input_scale: expected a positive number, got 0"),
        ({"input_scale": float("nan")}, "input_scale: expected a finite number"),
        ({"pre_emphasis": "0.97"}, "pre_emphasis: expected a finite number of at least 0, got '0.97'"),
        ({"frame_shift_ms": 30.0}, "frame_shift_ms: expected at least one sample and at most a frame"),
        ({"frame_shift_ms": 0.01}, "frame_shift_ms: expected at least one sample and at most a frame"),
        ({"fft_length": 256}, "fft_length: expected an int of at least the frame's 400 samples, got 256"),
        ({"log_floor": 0.0}, "log_floor, log_offset: expected one of at least 1e-37"),
        ({"high_hz": "8000"}, "high_hz: expected a finite number of at least 0, got '8000'"),
        ({"high_hz": 9000.0}, "low_hz, high_hz: expected 0 <= low < high <= 8000"),
        ({"num_mels": 300}, "num_mels: 300 filters are too many for fft_length 512 at 16000 Hz"),
    ],
)
def test_fields_that_cannot_be_are_refused_in_one_line(fields, message):
    with pytest.raises(ValueError) as error:
        dataclasses.replace(presets.KALDI_80, **fields)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"num_ceps": 0}, "num_ceps: expected a positive int, got 0"),
        ({"num_ceps": 24}, "num_ceps: expected at most 23, as mel has, got 24"),
        ({"num_ceps": 1}, "num_ceps: expected at least 2 with an energy, which is in the place of c[0], got 1"),
        ({"lifter": -1}, "lifter: expected a finite number of at least 0, got -1"),
        ({"dct": "dst"}, "dct: expected one of ortho, htk, got 'dst'"),
        ({"energy": "log"}, "energy: expected one of raw, spectrum, got 'log'"),
        ({"zeroth": "none"}, "zeroth: expected one of first, last, got 'none'"),
        ({"mel": "kaldi-23"}, "mel: expected a LogMel without energy, got 'kaldi-23'"),
        ({"mel": dataclasses.replace(presets.KALDI_23, energy="first")}, "mel: expected a LogMel without energy, got"),
    ],
)
def test_fields_of_an_mfcc_that_cannot_be_are_refused_in_one_line(fields, message):
    with pytest.raises(ValueError) as error:
        dataclasses.replace(presets.KALDI_MFCC_13, **fields)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_fields_of_a_spectrogram_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="framing: expected one of snip"):
        Spectrogram(input_scale=1.0, framing="same")
    with pytest.raises(ValueError, match="fft_length: expected an int of at least the frame's 400 samples, got 256"):
        Spectrogram(input_scale=1.0, fft_length=256)


def test_samples_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="got int16; divide int16 samples by 32768 first"):
        presets.KALDI_80(np.zeros(400, np.int16))
    with pytest.raises(ValueError, match=r"expected one channel, shape \(N,\), got shape \(400, 2\)"):
        presets.KALDI_80(np.zeros((400, 2), np.float32))
    with pytest.raises(ValueError, match="num_samples: expected at least 0, got -1"):
        presets.KALDI_80.num_frames(-1)
