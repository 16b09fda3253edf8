"""A signal in pieces gives what one call gives, bit for bit."""

import dataclasses
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest

from asr_features.framing import FRAMINGS
from asr_features.frontends import LogMel, Mfcc, Spectrogram
from asr_features.presets import PRESETS

SEEDS = 200


def noise(count, seed=0):
    rng = np.random.default_rng(seed)
    return (0.1 * rng.standard_normal(count) + 0.05 * np.sin(np.arange(count) * 0.3) + 0.02).astype(np.float32)


def running(preset):
    if isinstance(preset, Mfcc):
        return dataclasses.replace(preset, mel=running(preset.mel))
    return dataclasses.replace(preset, top_over="running")


def is_whole(preset):
    recipe = preset.mel if isinstance(preset, Mfcc) else preset
    return recipe.top is not None and recipe.top_over == "utterance"


WHOLE = [name for name, preset in PRESETS.items() if is_whole(preset)]
STREAMING = {
    **{name: running(preset) if name in WHOLE else preset for name, preset in PRESETS.items()},
    "double": LogMel(input_scale=1.0, framing="mirror", dtype="float64"),
    "energy": LogMel(input_scale=32768.0, num_mels=23, energy="last"),
    "reflected-emphasis": LogMel(input_scale=1.0, num_mels=40, framing="reflect", pre_emphasis_over="signal"),
    "hamming": LogMel(input_scale=1.0, num_mels=40, window="hamming", framing="cover", energy="first"),
    "no-logarithm": Spectrogram(input_scale=1.0, log="none", power=1, framing="reflect-floor"),
    "shift-of-a-frame": LogMel(input_scale=1.0, num_mels=20, frame_shift_ms=25.0, framing="center-floor"),
    "odd-rate": LogMel(input_scale=1.0, num_mels=20, sample_rate=11025, framing="mirror"),
    "long-frames": LogMel(input_scale=1.0, num_mels=20, frame_length_ms=600.0, frame_shift_ms=50.0),
    "raw-energy-after-a-range": Mfcc(mel=running(PRESETS["whisper-80"]), energy="raw", zeroth="last"),
}


def pieces(samples, rng):
    """The signal in pieces of random lengths, empty ones among them."""
    most = int(rng.choice([3, 40, 500, 4000])) * max(1, len(samples) // 4000)
    first = 0
    while first < len(samples):
        stop = first + int(rng.integers(0, most + 1))
        yield samples[first:stop]
        first = stop


def streamed(frontend, parts, *, through_pickle=False):
    state, out = frontend.start(), []
    for part in parts:
        state, features = frontend.step(state, part)
        out.append(features)
        if through_pickle:
            state = pickle.loads(pickle.dumps(state))
    return np.concatenate([*out, frontend.finish(state)])


@pytest.mark.parametrize("name", STREAMING)
def test_every_chunking_gives_what_one_call_gives(name):
    frontend = STREAMING[name]
    for seed in range(SEEDS):
        rng = np.random.default_rng(seed)
        samples = noise(int(rng.integers(0, (60, 500, 2000, 24000)[seed % 4])), seed)
        whole = frontend(samples)
        got = streamed(frontend, pieces(samples, rng), through_pickle=seed % 10 == 0)
        assert got.dtype == whole.dtype and np.array_equal(got, whole), seed


@pytest.mark.parametrize("kernels", ["Haswell", "SkylakeX", "Sandybridge", "Nehalem"])
def test_whatever_the_kernels_of_the_processor(kernels):
    """OpenBLAS takes other routines on other processors; here it is told which (and elsewhere does not listen)."""
    code = (
        "import numpy as np, asr_features\n"
        "samples = np.random.default_rng(0).uniform(-0.5, 0.5, 48000).astype(np.float32)\n"
        "for name in ('kaldi-80', 'icefall-80', 'kaldi-mfcc-13', 'librosa-80', 'tensorflow-spectrogram-257'):\n"
        "    recipe = asr_features.PRESETS[name]\n"
        "    state, parts = recipe.start(), []\n"
        "    for first, stop in ((0, 700), (700, 5000), (5000, 5003), (5003, 31000), (31000, 48000)):\n"
        "        state, features = recipe.step(state, samples[first:stop])\n"
        "        parts.append(features)\n"
        "    print(np.array_equal(np.concatenate([*parts, recipe.finish(state)]), recipe(samples)))\n"
    )
    environment = {**os.environ, "OPENBLAS_CORETYPE": kernels}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.split() == ["True"] * 5


@pytest.mark.parametrize("framing", FRAMINGS)
def test_a_sample_at_a_time(framing):
    frontend = dataclasses.replace(PRESETS["kaldi-23"], framing=framing, sample_rate=1000, num_mels=4)
    for count in (0, 1, 7, 24, 25, 26, 60):
        assert np.array_equal(streamed(frontend, noise(count).reshape(-1, 1)), frontend(noise(count)))


def test_whole_blocks_and_the_rest_of_one():
    samples = noise(16000 * 6)
    for name in ("kaldi-80", "nemo-80", "kaldi-mfcc-13"):
        frontend = PRESETS[name]
        assert np.array_equal(streamed(frontend, [samples]), frontend(samples))
        assert np.array_equal(streamed(frontend, [samples[:50001], samples[50001:]]), frontend(samples))


def test_frames_come_as_soon_as_their_samples_are_there():
    state = PRESETS["kaldi-80"].start()
    for samples, frames in ((noise(399), 0), (noise(1), 1), (noise(159), 0), (noise(1), 1), (noise(1600), 10)):
        state, features = PRESETS["kaldi-80"].step(state, samples)
        assert len(features) == frames


@pytest.mark.parametrize("name", ["kaldi-80", "icefall-80", "nemo-80", "torchaudio-80"])
def test_the_state_holds_the_end_of_the_signal_alone(name):
    frontend, state = PRESETS[name], PRESETS[name].start()
    for _ in range(20):
        state, _ = frontend.step(state, noise(4000))
        assert len(state.tail) <= 2 * 400
        assert state.tail.base is None  # not a view that keeps the whole alive
    assert len(pickle.dumps(state)) < 8000


def test_finish_is_a_preview_and_changes_nothing():
    frontend, samples = PRESETS["icefall-80"], noise(9000)
    state, first = frontend.step(frontend.start(), samples[:5000])
    assert np.array_equal(np.concatenate([first, frontend.finish(state)]), frontend(samples[:5000]))
    rest = streamed_from(frontend, state, samples[5000:])
    assert np.array_equal(np.concatenate([first, rest]), frontend(samples))


def streamed_from(frontend, state, samples):
    state, features = frontend.step(state, samples)
    return np.concatenate([features, frontend.finish(state)])


def test_the_pieces_are_the_callers():
    frontend, samples = PRESETS["kaldi-80"], noise(3000)
    buffer = samples[:1500].copy()
    state, first = frontend.step(frontend.start(), buffer)
    buffer[:] = np.nan
    assert np.array_equal(np.concatenate([first, streamed_from(frontend, state, samples[1500:])]), frontend(samples))


@pytest.mark.parametrize("name", WHOLE)
def test_the_maximum_of_an_utterance_cannot_stream(name):
    with pytest.raises(ValueError, match='top_over: cannot stream with "utterance".*; "running" takes') as error:
        PRESETS[name].start()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["whisper-80", "whisper-128"])
def test_a_running_range_is_below_the_maximum_so_far(name):
    samples = 5 * noise(16000) * np.linspace(1, 0, 16000, dtype=np.float32) ** 8
    samples[:4000] *= 0.1  # so that the maximum rises, too
    unlimited = dataclasses.replace(PRESETS[name], top=None)(samples)
    got = running(PRESETS[name])(samples)
    peak = -np.inf
    for row, expected in zip(got, unlimited, strict=True):
        peak = max(peak, expected.max())
        assert np.allclose(row, np.maximum(expected, peak - 2), atol=1e-6)
    assert (got != unlimited).any()


def test_a_step_takes_samples_alone():
    with pytest.raises(ValueError, match=r"samples: expected one channel, shape \(N,\), got shape \(2, 80\)"):
        PRESETS["kaldi-80"].step(PRESETS["kaldi-80"].start(), np.zeros((2, 80), np.float32))
    with pytest.raises(ValueError, match="got int16; divide int16 samples by 32768 first"):
        PRESETS["kaldi-80"].step(PRESETS["kaldi-80"].start(), np.zeros(80, np.int16))
