import dataclasses
import functools

import numpy as np
import pytest
import tensorflow as tf

from asr_models import PRESETS, Convolution, DeepSpeech2, DeepSpeech2Config, StreamingDeepSpeech2
from asr_models.deepspeech2 import Lookahead

FEATURES, VOCAB = 6, 5
NARROW = {"recurrent_layers": 2, "recurrent_units": 5, "bidirectional": False}
FRONT = Convolution(channels=3, kernel=(5, 3), stride=(2, 2))
CONFIGS = {
    "preset": dataclasses.replace(
        PRESETS["deepspeech2-streaming"],
        convolutions=tuple(dataclasses.replace(c, channels=3) for c in PRESETS["deepspeech2-streaming"].convolutions),
        recurrent_layers=1,
        recurrent_units=5,
    ),
    "gru": DeepSpeech2Config(convolutions=(FRONT,), cell="gru", lookahead=3, **NARROW),
    # Pooling, a stride above its kernel, even kernels.
    "rnn": DeepSpeech2Config(
        convolutions=(
            dataclasses.replace(FRONT, pool=(3, 2), activation="none"),
            dataclasses.replace(FRONT, kernel=(2, 2), stride=(3, 1), norm="none"),
        ),
        cell="rnn",
        norm="none",
        **NARROW,
    ),
}


def built(config: DeepSpeech2Config, *, channels: int = 1) -> DeepSpeech2:
    return DeepSpeech2(config, features=FEATURES, vocab_size=VOCAB, channels=channels, seed=3)


@functools.cache
def stream_of(config: DeepSpeech2Config) -> StreamingDeepSpeech2:
    """Traced once for all tests: what it heard is in its state alone."""
    return StreamingDeepSpeech2(built(config))


def streamed(stream: StreamingDeepSpeech2, features: np.ndarray, sizes) -> tuple[np.ndarray, int]:
    """All logits, and the most frames that a state held."""
    state, out, at, most = stream.start(len(features)), [], 0, 0
    for size in sizes:
        state, logits = stream.step(state, features[:, at : at + size])
        out.append(logits)
        at += size
        most = max(most, sum(part.shape[1] for part in tf.nest.flatten(state) if part.shape.rank > 2))
    assert at >= features.shape[1]
    return np.concatenate([*out, stream.finish(state)], 1), most


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_any_chunks_give_what_the_whole_gives(config: DeepSpeech2Config) -> None:
    model, stream, rng = built(config), stream_of(config), np.random.default_rng(0)
    for frames, largest in ((1, 2), (2, 2), (33, 2), (64, 9), (95, 40)):
        features = rng.normal(size=(2, frames, FEATURES)).astype("f4")
        expected = model(features, np.array([frames, frames])).values
        sizes = rng.integers(0, largest, 4 * frames + 9)  # some chunks are empty
        got, most = streamed(stream, features, sizes[: np.argmax(sizes.cumsum() >= frames) + 1])
        assert got.shape == expected.shape
        np.testing.assert_allclose(got, expected, atol=1e-5)
        assert most <= config.latency + sum(sum(c.kernel) + sum(c.pool) for c in config.convolutions)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_an_output_goes_out_when_its_latency_is_over(config: DeepSpeech2Config) -> None:
    stream = stream_of(config)
    features, given, state = np.zeros((1, 1, FEATURES), "f4"), 0, stream.start()
    for frames in range(1, 40 + config.latency):
        state, logits = stream.step(state, features)
        given += logits.shape[1]
        assert given == max(0, -(-(frames - config.latency) // config.stride))


def test_nothing_gives_nothing() -> None:
    stream = stream_of(CONFIGS["gru"])
    assert stream.finish(stream.start(2)).shape == (2, 0, VOCAB)


def test_channels_stream_too() -> None:
    model = built(CONFIGS["gru"], channels=3)
    features = np.random.default_rng(0).normal(size=(1, 33, FEATURES, 3))
    got, _ = streamed(StreamingDeepSpeech2(model), features, [10] * 4)
    np.testing.assert_allclose(got, model(features, np.array([33])).values, atol=1e-5)


def test_two_directions_and_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="bidirectional=False"):
        StreamingDeepSpeech2(built(dataclasses.replace(CONFIGS["rnn"], bidirectional=True)))
    stream = stream_of(CONFIGS["gru"])
    with pytest.raises(ValueError, match=r"the stream expected features of shape \(B, T, 6\), got \(3, 6\)"):
        stream.step(stream.start(), np.zeros((3, 6), "f4"))


def test_lookahead_is_the_weighted_sum_of_what_comes() -> None:
    layer = Lookahead(4, 2, rng=np.random.default_rng(0), name="lookahead")
    values = np.random.default_rng(1).normal(size=(2, 7, 4)).astype("f4")
    kernel = np.asarray(layer.kernel)
    expected = sum(kernel[j] * values[:, j : j + 5] for j in range(3))
    np.testing.assert_allclose(layer(tf.constant(values)), expected, atol=1e-6)
