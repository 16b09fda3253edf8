"""The battery finds what it is there to find."""

from dataclasses import dataclass

import numpy as np
import pytest

from asr_features import presets
from asr_features.testing import check_frontend


@dataclass
class Broken:
    """A front end with a fault that is chosen by name; "none" has none."""

    fault: str
    sample_rate: int = 16000
    dim: int = 80

    def __post_init__(self):
        self.buffer = np.zeros((200, 80), np.float32)
        self.calls = 0

    def num_frames(self, num_samples):
        if self.fault == "falls" and num_samples == 4999:
            return 0
        return presets.KALDI_80.num_frames(num_samples)

    def __call__(self, samples):
        self.calls += 1
        features = presets.KALDI_80(samples)
        if self.fault == "dtype":
            return features.astype(np.float64)
        if self.fault == "shape":
            return features[1:]
        if self.fault == "silence" and not samples.any():
            return features - np.inf
        if self.fault == "random":
            return features + np.float32(self.calls)
        if self.fault == "writes" and len(samples):
            samples[0] = 0
        if self.fault == "shares":
            self.buffer[: len(features)] = features
            return self.buffer[: len(features)]
        return features


def test_a_sound_front_end_passes():
    check_frontend(Broken("none"))


@dataclass
class BrokenStream:
    """KALDI_23 in pieces, with a fault."""

    fault: str
    sample_rate: int = 16000
    dim: int = 23

    def num_frames(self, num_samples):
        return presets.KALDI_23.num_frames(num_samples)

    def __call__(self, samples):
        return presets.KALDI_23(samples)

    def start(self):
        if self.fault == "cannot":
            raise ValueError("cannot stream, and says so")
        return [presets.KALDI_23.start()]

    def step(self, state, samples):
        following, features = presets.KALDI_23.step(state[0], samples)
        if self.fault == "mutates":
            state[0] = following
        if self.fault == "view" and len(samples) > 400:
            following = following._replace(tail=samples[len(samples) - len(following.tail) :])
        if self.fault == "block" and len(samples) > 1000:
            features = features + np.float32(1e-5)
        return [following], features

    def finish(self, state):
        features = presets.KALDI_23.finish(state[0])
        return np.zeros((1, 23), np.float32) if self.fault == "more" else features


@pytest.mark.parametrize("fault", ["none", "cannot"])
def test_a_sound_stream_passes_and_so_does_one_that_cannot(fault):
    check_frontend(BrokenStream(fault))


@pytest.mark.parametrize(
    "fault, law",
    [
        ("mutates", "step or finish changed the state"),
        ("view", "the stream gave other features than one call"),
        ("block", "the stream gave other features than one call"),
        ("more", "the stream gave other features than one call"),
    ],
)
def test_faults_of_streams_are_named(fault, law):
    with pytest.raises(AssertionError, match=law):
        check_frontend(BrokenStream(fault))


@pytest.mark.parametrize(
    "fault, law",
    [
        ("dtype", "float64, expected float32"),
        ("shape", "the shape is"),
        ("silence", "silence are not finite"),
        ("random", "a second call gave other features"),
        ("shares", "a later call changed the features"),
        ("writes", "the samples were written into"),
        ("falls", "num_frames falls"),
    ],
)
def test_faults_are_named(fault, law):
    with pytest.raises(AssertionError, match=law):
        check_frontend(Broken(fault))
