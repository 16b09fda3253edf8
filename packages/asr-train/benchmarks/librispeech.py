"""The LibriSpeech recipes without LibriSpeech: their models, and the sizes that their batches have.

Durations and texts are made up, of about the lengths of the corpus: 960 hours in 281,241 utterances, most of them of 12
to 16 seconds; 14.4 characters, or 3.9 pieces of 1000, a second.
"""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np

from asr_train import recipes
from asr_train.batches import Batch, Pipeline, Shape
from asr_train.config import RunConfig
from asr_train.config_file import read_config
from asr_train.families import Family, build_family
from asr_train.manifest import Utterance
from asr_train.reader import Reader

RECIPES = ("librispeech-las-small", "librispeech-deepspeech2")
QUANTILES = (0.0, 0.05, 0.1, 0.25, 0.5, 0.75, 0.95, 1.0)
SECONDS = (1.3, 3.0, 5.0, 10.5, 13.8, 15.2, 16.2, 17.2)
"""Durations at these quantiles."""
LABELS_A_SECOND = {"char": 14.4, "unigram": 3.9}
COUNT = 2000


def recipe(name: str, train: dict[str, Any]) -> RunConfig:
    """The configuration of a recipe, with other options of training, and with fixed sizes."""
    config = read_config(recipes.find(name))
    return replace(config, data=replace(config.data, static_shapes=True), train=replace(config.train, **train))


def tokenizer(config: RunConfig) -> Any:
    """As many pieces as the recipe's; a text is a label for each of its characters."""
    size = 31 if config.tokenizer.kind == "char" else config.tokenizer.vocab_size
    return SimpleNamespace(size=size, pad=0, begin=2, end=3, encode=lambda text: [4] * len(text))


def shapes(name: str) -> list[Shape]:
    """The sizes of the recipe's batches, the most memory first."""
    config = recipe(name, {})
    durations = np.interp(np.linspace(0, 1, COUNT), QUANTILES, SECONDS)
    rate = LABELS_A_SECOND[config.tokenizer.kind]
    utterances = [
        Utterance(id=str(n), audio=recipes.find(name), text="x" * round(rate * seconds), seconds=float(seconds))
        for n, seconds in enumerate(durations)
    ]
    reader = Reader(
        frontend=config.features, normalize=None, tokenizer=tokenizer(config), augment=config.augment, seed=1
    )
    return Pipeline(utterances, reader, data=config.data).shapes


def family_of(name: str, train: dict[str, Any]) -> tuple[Family, RunConfig]:
    """The recipe's model with its losses and fresh weights, the same each time."""
    config = recipe(name, train)
    family = build_family(
        config.model,
        features=config.features.dim,
        tokenizer=tokenizer(config),
        seed=1,
        smoothing=config.train.label_smoothing,
        ctc_weight=config.train.ctc_weight,
        precision=config.train.precision,
    )
    return family, config


def batch_of(name: str, shape: Shape, rows: int) -> Batch:
    """So many rows of a bucket's length: noise, and labels at the recipe's rate; each row is shorter than the last."""
    import tensorflow as tf

    config, rng = recipe(name, {}), np.random.default_rng(0)
    features = rng.normal(size=(rows, shape.frames, config.features.dim)).astype(np.float32)
    labels = rng.integers(4, tokenizer(config).size, (rows, shape.labels)).astype(np.int32)
    parts = 1 - 0.05 * np.arange(rows)
    frames, counts = (np.floor(size * parts).astype(np.int32) for size in (shape.frames, 0.8 * shape.labels))
    features *= np.arange(shape.frames)[None, :, None] < frames[:, None, None]
    labels *= np.arange(shape.labels) < counts[:, None]
    return Batch(*map(tf.constant, (features, frames, labels, counts, np.arange(rows, dtype=np.int32))))
