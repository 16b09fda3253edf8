"""Batches hold what each utterance gives alone."""

import numpy as np
import pytest

from asr_features.batching import batch, each
from asr_features.chain import Chain
from asr_features.deltas import Deltas
from asr_features.normalize import UtteranceNorm
from asr_features.presets import KALDI_23, KALDI_80, WHISPER_80

CHANNELS = Chain(KALDI_23, Deltas(layout="channels"), UtteranceNorm())


def noise(samples, seed=0):
    return np.random.default_rng(seed).uniform(-0.5, 0.5, samples).astype(np.float32)


@pytest.mark.parametrize("frontend", [KALDI_80, WHISPER_80, CHANNELS])
@pytest.mark.parametrize("threads", [1, 2, 9])
def test_an_utterance_is_the_same_alone(frontend, threads):
    utterances = [noise(length, length) for length in (9000, 100, 0, 21000, 401, 16000)]
    features, lengths = batch(frontend, iter(utterances), threads=threads)
    assert lengths.dtype == np.int32
    assert lengths.tolist() == [frontend.num_frames(len(samples)) for samples in utterances]
    assert features.shape == (6, max(lengths), *frontend(utterances[0]).shape[1:])
    assert features.dtype == np.float32
    for row, count, samples in zip(features, lengths, utterances, strict=True):
        assert np.array_equal(row[:count], frontend(samples))
        assert not row[count:].any()


def test_no_utterances():
    features, lengths = batch(CHANNELS, [])
    assert features.shape == (0, 0, 23, 3) and lengths.shape == (0,)
    features, lengths = batch(KALDI_80, [noise(3), noise(0)])
    assert features.shape == (2, 0, 80) and lengths.tolist() == [0, 0]


@pytest.mark.parametrize("threads", [1, 2])
def test_errors_name_the_utterance(threads):
    broken = [noise(800), noise(800).reshape(2, 400), noise(9)]
    with pytest.raises(
        ValueError, match=r"utterance 1: samples: expected one channel, shape \(N,\), got shape \(2, 400"
    ):
        batch(KALDI_80, broken, threads=threads)
    with pytest.raises(ValueError, match="utterance 0: samples: expected floats"):
        batch(KALDI_80, [np.zeros(9, np.int16)], threads=threads)


def test_threads_are_counted():
    with pytest.raises(ValueError, match="threads: expected a positive int, got 0"):
        batch(KALDI_80, [], threads=0)


def test_each_takes_functions_that_change_the_frames_shape():
    x = np.stack([noise(40).reshape(10, 4), noise(40, 1).reshape(10, 4)])
    y = each(Deltas(order=1, layout="channels"), x, [7, 10])
    assert y.shape == (2, 10, 4, 2)
    assert np.array_equal(y[0, :7], Deltas(order=1, layout="channels")(x[0, :7]))
    assert not y[0, 7:].any()
