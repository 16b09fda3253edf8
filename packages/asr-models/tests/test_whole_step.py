"""The whole training step compiles, with static shapes, and learns as the plain graph does."""

import dataclasses
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from asr_models import PRESETS, Convolution, DeepSpeech2, DeepSpeech2Config, Las, LasConfig

sys.path.append(str(Path(__file__).resolve().parents[1] / "benchmarks"))  # the step that the benchmark measures
from training_step import TrainingStep, random_batch

FRONT = (Convolution(channels=4, kernel=(5, 3), stride=(2, 2)),)
DS2 = DeepSpeech2Config(convolutions=FRONT, recurrent_layers=1, recurrent_units=16)
CONFIGS: dict[str, DeepSpeech2Config | LasConfig] = {
    # Scheduled sampling draws and guesses in the loop, the joint loss is both of them, and dropout is everywhere.
    "las": dataclasses.replace(
        PRESETS["las-small"],
        listener_layers=2,
        listener_units=16,
        speller_units=24,
        embedding_units=8,
        attention_units=12,
        location_width=5,
        sampling=0.5,
        ctc_head=True,
        recurrent_dropout=0.2,
        embedding_dropout=0.2,
    ),
    "deepspeech2": DS2,
    "deepspeech2-streaming": dataclasses.replace(DS2, cell="gru", bidirectional=False, norm="layer", lookahead=3),
}
FEATURES, VOCABULARY, STEPS = 8, 12, 5


def losses(config: DeepSpeech2Config | LasConfig, batches: list[Any], *, compiled: bool) -> list[float]:
    family = Las if isinstance(config, LasConfig) else DeepSpeech2
    step = TrainingStep(family(config, features=FEATURES, vocab_size=VOCABULARY))
    run = tf.function(step, autograph=False, jit_compile=compiled)
    return [float(run(*map(tf.constant, batch), tf.constant([7, n]))) for n, batch in enumerate(batches)]


@pytest.mark.parametrize("name", CONFIGS)
def test_the_compiled_step_is_that_of_the_graph(name: str) -> None:
    size = {"batch": 3, "frames": 40, "features": FEATURES, "labels": 5, "vocabulary": VOCABULARY}
    batches = [random_batch(**size, seed=n % 2) for n in range(STEPS)]
    plain, compiled = (losses(CONFIGS[name], batches, compiled=way) for way in (False, True))
    np.testing.assert_allclose(compiled, plain, rtol=0, atol=1e-4)
    assert np.isfinite(plain).all() and plain[-1] < plain[0]
