"""Chain: its parts one after another, and the laws of a front end."""

import dataclasses
import pickle
from dataclasses import dataclass, replace

import numpy as np
import pytest

from asr_features.augment import SpecAugment
from asr_features.chain import Chain
from asr_features.deltas import Deltas
from asr_features.normalize import GlobalNorm, RunningNorm, UtteranceNorm
from asr_features.presets import KALDI_23, KALDI_80, PRESETS, WHISPER_80
from asr_features.testing import check_frontend

NORM = GlobalNorm(mean=range(69), std=range(1, 70))


def noise(samples, seed=0):
    return np.random.default_rng(seed).uniform(-0.5, 0.5, samples).astype(np.float32)


def test_a_chain_is_its_parts_in_order():
    x = noise(8000)
    chain = Chain(KALDI_23, Deltas(), NORM, RunningNorm(window=30))
    assert np.array_equal(chain(x), RunningNorm(window=30)(NORM(Deltas()(KALDI_23(x)))))
    assert (chain.sample_rate, chain.dim, chain.num_frames(8000)) == (16000, 69, 48)
    assert chain(x).shape == (48, 69)
    assert np.array_equal(Chain(KALDI_23)(x), KALDI_23(x))


def test_channels():
    chain = Chain(KALDI_23, Deltas(layout="channels"), UtteranceNorm())
    assert chain(noise(8000)).shape == (48, 23, 3)
    assert chain.dim == 23
    inner = Chain(KALDI_23, Deltas(layout="channels"))
    assert Chain(inner, NORM).dim == 23
    assert np.array_equal(Chain(inner, UtteranceNorm())(noise(8000)), chain(noise(8000)))


@pytest.mark.parametrize(
    "stages", [(Deltas(),), (Deltas(order=1, rule="difference"), UtteranceNorm()), (RunningNorm(),)]
)
def test_it_is_a_front_end(stages):
    check_frontend(Chain(KALDI_23, *stages))


STREAMS = [
    Chain(KALDI_80, Deltas(), RunningNorm(window=40, variance=True)),
    Chain(KALDI_23, RunningNorm(prior=GlobalNorm(mean=[9] * 23, std=[2] * 23)), Deltas(layout="channels"), NORM),
    Chain(Chain(KALDI_23, Deltas(rule="difference")), Deltas(order=1)),
    Chain(replace(KALDI_23, framing="mirror", dtype="float64"), Deltas(order=1, window=3), RunningNorm(window=9)),
]


@pytest.mark.parametrize("chain", STREAMS)
@pytest.mark.parametrize("seed", range(25))
def test_streamed_is_offline_bit_for_bit(chain, seed):
    rng = np.random.default_rng(seed)
    x = noise(int(rng.integers(0, 30000 if seed % 5 else 900)), seed)
    cuts = np.sort(rng.integers(0, len(x) + 1, rng.integers(0, 40)))
    state, blocks = chain.start(), []
    for piece in np.split(x, cuts):
        new, block = chain.step(state, piece)
        blocks.append(block)
        state = pickle.loads(pickle.dumps(new))
    blocks.append(chain.finish(state))
    streamed, offline = np.concatenate(blocks), chain(x)
    assert streamed.dtype == offline.dtype and np.array_equal(streamed, offline)


def test_what_cannot_stream_is_named():
    with pytest.raises(ValueError, match=r"part 2 of the chain, UtteranceNorm: .* cannot stream; RunningNorm can"):
        Chain(KALDI_80, Deltas(), UtteranceNorm()).start()
    with pytest.raises(ValueError, match=r"part 0 of the chain, LogMel: .*cannot stream.*running"):
        Chain(WHISPER_80, RunningNorm()).start()
    with pytest.raises(ValueError, match=r"part 1 of the chain, negative: cannot stream, it has no start"):
        Chain(KALDI_80, np.negative).start()


def test_equal_parts_make_equal_chains():
    chain = Chain(KALDI_80, Deltas(), RunningNorm())
    assert chain == Chain(KALDI_80, Deltas(), RunningNorm()) != Chain(KALDI_80, RunningNorm(), Deltas())
    assert hash(chain) == hash(Chain(KALDI_80, Deltas(), RunningNorm()))
    assert repr(Chain(NORM_FREE, Deltas(order=1))) == f"Chain({NORM_FREE!r}, {Deltas(order=1)!r})"
    assert pickle.loads(pickle.dumps(chain)) == chain
    assert replace(chain, frontend=KALDI_23) == Chain(KALDI_23, Deltas(), RunningNorm())
    with pytest.raises(dataclasses.FrozenInstanceError):
        chain.frontend = KALDI_23


@dataclass(frozen=True)
class Minimal:
    """A front end of a user's own: no streaming."""

    sample_rate: int = 8000
    dim: int = 2

    def num_frames(self, num_samples):
        return num_samples // 2

    def __call__(self, samples):
        return np.asarray(samples)[: len(samples) // 2 * 2].reshape(-1, 2)


NORM_FREE = Minimal()


def test_front_ends_and_stages_of_ones_own():
    chain = Chain(Minimal(), np.tanh, Deltas(order=1))
    assert (chain.sample_rate, chain.dim) == (8000, 4)
    assert np.array_equal(chain(noise(5))[:, :2], np.tanh(noise(5)[:4].reshape(2, 2)))


def test_errors():
    with pytest.raises(ValueError, match="frontend: expected sample_rate, dim, num_frames and a call, got Deltas"):
        Chain(Deltas())
    with pytest.raises(ValueError, match=r"part 2 of the chain, GlobalNorm: features: expected shape \(T, 69\)"):
        Chain(KALDI_23, RunningNorm(), NORM)
    with pytest.raises(ValueError, match="part 1 of the chain, SpecAugment: .*missing 1 required positional argument"):
        Chain(KALDI_23, SpecAugment())
    with pytest.raises(ValueError, match="part 1 of the chain, LogMel: samples: expected one channel"):
        Chain(KALDI_23, KALDI_23)
    with pytest.raises(
        ValueError, match=r"part 1 of the chain, <lambda>: expected 3 frames for 3, got shape \(2, 23\)"
    ):
        Chain(KALDI_23, lambda x: x[::2])
    with pytest.raises(ValueError, match=r"part 1 of the chain, Deltas: features: expected shape \(T, F\)"):
        Chain(Chain(KALDI_23, Deltas(layout="channels")), Deltas())


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_can_begin_a_chain(name):
    chain = Chain(PRESETS[name], Deltas(), UtteranceNorm())
    assert chain.dim == 3 * PRESETS[name].dim
    assert chain(noise(16000)).shape == (PRESETS[name].num_frames(16000), chain.dim)
