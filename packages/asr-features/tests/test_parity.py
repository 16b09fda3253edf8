"""The presets against what other libraries give, stored in data/peers.npz by data/make_peers.py."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from asr_features import presets

PEERS = Path(__file__).parent / "data" / "peers.npz"


@pytest.mark.parametrize(
    "name, recipe, most, mean",
    [
        ("kaldi_80", presets.KALDI_80, 1e-3, 5e-6),
        ("kaldi_40_mirror", dataclasses.replace(presets.KALDI_40, framing="mirror"), 1e-3, 5e-6),
        ("librosa_80", presets.LIBROSA_80, 2e-4, 5e-6),
        ("whisper_80", presets.WHISPER_80, 1e-4, 1e-6),
    ],
)
def test_the_same_as_the_library(name, recipe, most, mean):
    with np.load(PEERS) as peers:
        samples, expected = peers["samples"].astype(np.float32) / 32768, peers[name]
    got = recipe(samples)
    assert got.shape == expected.shape
    assert np.abs(got - expected).max() < most
    assert np.abs(got - expected).mean() < mean
