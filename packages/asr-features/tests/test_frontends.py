"""LogMel against a slow, literal reference of the recipe, Kaldi's own outputs, and the laws."""

import dataclasses
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_features import PRESETS, LogMel, presets, read
from asr_features.testing import check_frontend

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


@pytest.mark.parametrize(
    "name, mels, framing",
    [("test", 23, "snip"), ("test-40", 40, "snip"), ("test-40-no-snip-edges", 40, "mirror")],
)
def test_kaldi_outputs(name, mels, framing):
    folder = SHARED / "fixtures" / "kaldi"
    if not folder.exists():
        pytest.skip("needs ../shared/data")
    text = (folder / f"{name}.txt").read_text().split("[")[1].split("]")[0]
    kaldi = np.array([line.split() for line in text.strip().splitlines()], np.float64)
    samples = read(folder / "test.wav")
    got = dataclasses.replace(presets.KALDI_80, num_mels=mels, framing=framing)(samples)
    truth = kaldi_reference(samples, num_mels=mels, snip_edges=framing == "snip")
    assert got.shape == kaldi.shape
    # The signal is nearly pure tones, where Kaldi's own rounding is what differs: we are nearer to the truth
    # than it.
    assert np.abs(got - kaldi).mean() < 5e-4
    assert np.abs(got - kaldi).max() < 5e-2
    assert np.abs(got - truth).mean() < np.abs(kaldi - truth).mean()
    assert np.abs(got - truth).max() < np.abs(kaldi - truth).max()


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
    time = np.arange(16000) / 16000
    for name, recipe in PRESETS.items():
        if recipe.log == "whisper":
            continue
        for hz in (300, 1000, 3500):
            sine = (0.1 * np.sin(2 * np.pi * hz * time)).astype(np.float32)
            features = recipe(sine)[10:-10]
            peak = recipe.filters()[round(hz * recipe.fft_size / 16000)].argmax()
            assert abs(features.mean(axis=0).argmax() - peak) <= 1, (name, hz)
            louder = recipe(2 * sine)[10:-10]
            assert np.allclose((louder - features)[:, peak], np.log(4), atol=1e-3), (name, hz)


def test_whisper_has_a_range_of_two_below_the_maximum():
    features = presets.WHISPER_80(noise(16000) * np.linspace(0, 1, 16000, dtype=np.float32) ** 8)
    assert features.max() - features.min() == pytest.approx(2, abs=1e-6)
    silence = presets.WHISPER_80(np.zeros(3200, np.float32))
    assert np.allclose(silence, (np.log10(1e-10) + 4) / 4)


def test_log10_is_ln_in_other_units():
    ln, log10 = presets.LIBROSA_80, dataclasses.replace(presets.LIBROSA_80, log="log10")
    assert np.allclose(log10(noise(3000)), ln(noise(3000)) / np.log(10), atol=1e-5)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_keep_the_laws_of_a_front_end(name):
    check_frontend(PRESETS[name])


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000])
@pytest.mark.parametrize("name", PRESETS)
def test_presets_at_another_rate(name, rate):
    recipe = dataclasses.replace(PRESETS[name], sample_rate=rate, num_mels=23, high_hz=None, fft_length=None)
    features = recipe(noise(rate // 4))
    assert features.shape == (recipe.num_frames(rate // 4), 23)
    assert np.isfinite(features).all()


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
    expected = [presets.KALDI_80(signal) for signal in signals]
    with ThreadPoolExecutor(4) as pool:
        for got, alone in zip(pool.map(presets.KALDI_80, signals * 3), expected * 3, strict=True):
            assert np.array_equal(got, alone)


def test_strided_and_double_samples_are_taken_as_they_are():
    samples = noise(8000)
    assert np.array_equal(presets.KALDI_80(samples.astype(np.float64)), presets.KALDI_80(samples))
    assert np.array_equal(presets.KALDI_80(samples[::2]), presets.KALDI_80(samples[::2].copy()))


@pytest.mark.parametrize("name", PRESETS)
def test_presets_pass_through_json(name):
    assert LogMel(**json.loads(json.dumps(dataclasses.asdict(PRESETS[name])))) == PRESETS[name]


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"sample_rate": 0}, "sample_rate: expected a positive int, got 0"),
        ({"num_mels": 8.5}, "num_mels: expected a positive int, got 8.5"),
        ({"framing": "same"}, "framing: expected one of snip, mirror, center, reflect, got 'same'"),
        ({"mel": "bark"}, "mel: expected one of kaldi, tensorflow, slaney, got 'bark'"),
        ({"log": "db"}, "log: expected one of ln, log10, whisper, got 'db'"),
        ({"window": None}, "window: expected one of povey"),
        ({"input_scale": 0.0}, "input_scale: expected a positive number, got 0"),
        ({"input_scale": float("nan")}, "input_scale: expected a finite number"),
        ({"pre_emphasis": "0.97"}, "pre_emphasis: expected a finite number of at least 0, got '0.97'"),
        ({"frame_shift_ms": 30.0}, "frame_shift_ms: expected at least one sample and at most a frame"),
        ({"frame_shift_ms": 0.01}, "frame_shift_ms: expected at least one sample and at most a frame"),
        ({"fft_length": 256}, "fft_length: expected an int of at least the frame's 400 samples, got 256"),
        ({"log_floor": 0.0}, "log_floor, log_offset: expected one of at least 1e-37"),
        ({"high_hz": 9000.0}, "low_hz, high_hz: expected 0 <= low < high <= 8000"),
        ({"num_mels": 300}, "num_mels: 300 filters are too many for fft_length 512 at 16000 Hz"),
    ],
)
def test_fields_that_cannot_be_are_refused_in_one_line(fields, message):
    with pytest.raises(ValueError) as error:
        dataclasses.replace(presets.KALDI_80, **fields)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_samples_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="got int16; divide int16 samples by 32768 first"):
        presets.KALDI_80(np.zeros(400, np.int16))
    with pytest.raises(ValueError, match=r"expected one channel, shape \(N,\), got shape \(400, 2\)"):
        presets.KALDI_80(np.zeros((400, 2), np.float32))
    with pytest.raises(ValueError, match="num_samples: expected at least 0, got -1"):
        presets.KALDI_80.num_frames(-1)
