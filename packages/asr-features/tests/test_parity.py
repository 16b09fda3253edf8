"""The presets against the libraries that they are named after, live and as stored, and against Kaldi's own outputs.

data/peers.npz holds what the libraries give for one short signal (data/make_peers.py); where a library is installed, it
is also run on a minute of speech. data/libraries.py has the calls of the libraries, data/pairs.py ours, and the bars.
"""

import importlib.util
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from asr_features import PRESETS, presets, read

DATA = Path(__file__).parent / "data"
sys.path.append(str(DATA))

from libraries import PEERS, knf  # noqa: E402
from pairs import PAIRS, distance  # noqa: E402

SHARED = Path(__file__).resolve().parents[3].parent / "shared" / "data"
SECONDS = 60


@cache
def speech():
    """The first utterances of LibriSpeech, at least a minute of them."""
    files = sorted((SHARED / "librispeech").glob("*.flac"))
    if not files:
        pytest.skip("needs ../shared/data")
    utterances = []
    while sum(map(len, utterances)) < SECONDS * 16000:
        utterances.append(read(files[len(utterances)], sample_rate=16000))
    return utterances


def require(libraries):
    for library in libraries.split():
        if importlib.util.find_spec(library) is None:
            pytest.skip(f"needs {library}")


def test_every_library_call_has_its_pair():
    assert PAIRS.keys() == PEERS.keys()


def test_every_preset_is_held_to_a_library():
    assert set(PRESETS.values()) <= {pair.ours for pair in PAIRS.values()}


@pytest.mark.parametrize("name", PAIRS)
def test_what_the_library_gave(name):
    pair = PAIRS[name]
    with np.load(DATA / "peers.npz") as peers:
        samples, expected = peers["samples"].astype(np.float32) / 32768, peers[name]
    difference = distance(pair.ours, lambda _: expected, [samples])
    assert difference.most <= pair.bar.most
    assert difference.mean <= 3 * pair.bar.mean  # of so few frames it is what the worst of them makes it


@pytest.mark.filterwarnings("ignore")  # what the libraries deprecate in themselves
@pytest.mark.parametrize("name", PAIRS)
def test_what_the_library_gives_for_speech(name):
    pair, (needs, make) = PAIRS[name], PEERS[name]
    require(needs)
    difference = distance(pair.ours, make(), speech())
    assert difference.most <= pair.bar.most
    assert difference.tail <= pair.bar.tail
    assert difference.mean <= pair.bar.mean


def exact_kaldi(samples, *, scale, snip_edges):
    """compute-fbank-feats --num-mel-bins=80 --dither=0 in float64, each step in Kaldi's order.

    The filters alone are in single precision, as they are part of what Kaldi computes, not of how well.
    """
    x = samples.astype(np.float64) * scale
    if snip_edges:
        first = np.arange(0, len(x) - 400 + 1, 160)
    else:
        first = np.arange((len(x) + 80) // 160) * 160 + 80 - 200
    at = first[:, None] + np.arange(400)
    at = np.where(at < 0, -at - 1, at)
    at = np.where(at >= len(x), 2 * len(x) - 1 - at, at)
    frame = x[at]
    frame -= frame.mean(axis=1, keepdims=True)
    frame -= 0.97 * np.hstack([frame[:, :1], frame[:, :-1]])
    frame *= (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 399)) ** 0.85
    power = np.abs(np.fft.rfft(frame, 512)[:, :256]) ** 2

    single = np.float32
    bins = single(1127) * np.log(single(1) + np.arange(256, dtype=single) * single(31.25) / single(700))
    low, high = (single(1127) * np.log(single(1) + single(hz) / single(700)) for hz in (20, 8000))
    step = (high - low) / single(81)
    energies = np.empty((len(frame), 80))
    for m in range(80):
        left, center, right = (low + single(m + k) * step for k in range(3))
        weights = np.minimum((bins - left) / (center - left), (right - bins) / (right - center))
        energies[:, m] = power @ np.maximum(weights, single(0)).astype(np.float64)
    return np.log(np.maximum(energies, np.finfo(single).eps))


@pytest.mark.parametrize("snip_edges", [True, False])
@pytest.mark.parametrize("scale", [32768.0, 1.0])
def test_kaldi_is_as_near_to_the_exact_features_as_kaldi_native_fbank(scale, snip_edges):
    require("kaldi_native_fbank")
    preset = presets.KALDI_80 if scale != 1 else presets.KALDI_80_UNIT
    ours = preset if snip_edges else replace(preset, framing="mirror")
    theirs = knf("Fbank", num_mels=80, scale=scale, snip_edges=snip_edges)

    def exact(samples):
        return exact_kaldi(samples, scale=scale, snip_edges=snip_edges)

    error, their_error = (distance(function, exact, speech()) for function in (ours, theirs))
    assert error.tail <= 1.1 * their_error.tail
    assert error.mean <= 1.1 * their_error.mean


@pytest.mark.parametrize(
    "name, recipe",
    [
        ("test", presets.KALDI_23),
        ("test-40", presets.KALDI_40),
        ("test-40-no-snip-edges", replace(presets.KALDI_40, framing="mirror")),
        ("test-with-energy", PAIRS["kaldi-23 energy"].ours),
        ("test-htk", PAIRS["kaldi-23 energy last"].ours),
        ("test-mfcc", presets.KALDI_MFCC_13),
        ("test-mfcc-no-snip-edges", PAIRS["kaldi-mfcc-13 mirror"].ours),
    ],
)
def test_what_kaldi_gave(name, recipe):
    folder = SHARED / "fixtures" / "kaldi"
    if not folder.exists():
        pytest.skip("needs ../shared/data")
    text = (folder / f"{name}.txt").read_text().split("[")[1].split("]")[0]
    kaldi = np.array([line.split() for line in text.strip().splitlines()], np.float64)
    difference = distance(recipe, lambda _: kaldi, [read(folder / "test.wav")])
    # The signal is nearly pure tones: between them there is nothing but rounding, Kaldi's and ours. As far from Kaldi
    # as we are is kaldi-native-fbank: at most 0.030 and a mean of 3e-4, of cepstra 0.068 and 3e-3.
    assert difference.most <= (0.1 if "mfcc" in name else 0.04)
    assert difference.mean <= (5e-3 if "mfcc" in name else 5e-4)
