"""The durations and texts that recipes are for, the real ones where they are there, and the batches planned of them."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from asr_train import recipes
from asr_train.config import RunConfig
from asr_train.config_file import read_config
from asr_train.manifest import Utterance, measure, read_manifest
from asr_train.reader import Reader

SHARED = Path(__file__).resolve().parents[3].parent / "shared" / "data"
SHARES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 1.0)
BEGIN, END = 2, 3
"""Tokens that no text holds; 0 is the blank, 1 is unknown."""


class Corpus(NamedTuple):
    """What a corpus is like."""

    manifest: str
    count: int
    seconds: tuple[float, ...]
    """The duration at each of `SHARES`, of what the manifest lists."""
    characters: float
    """A second."""


AN4 = Corpus("an4-train.tsv", 845, (0.7, 1.1, 1.8, 2.5, 3.4, 4.3, 6.1, 6.4), 7.0)
LIBRISPEECH = Corpus("librispeech.tsv", 4000, (1.6, 5.3, 11.2, 14.0, 15.0, 15.8, 16.8, 17.2), 14.4)
CORPORA = {"an4": AN4, "librispeech": LIBRISPEECH}


def config_of(recipe: str) -> RunConfig:
    """The configuration of a recipe."""
    return read_config(recipes.find(recipe))


def corpus_of(recipe: str) -> Corpus:
    """What a recipe is for."""
    return CORPORA[recipe.split("-")[0]]


def is_there(corpus: Corpus) -> bool:
    """Whether there is audio."""
    return (SHARED / corpus.manifest).is_file()


def utterances(corpus: Corpus) -> list[Utterance]:
    """Those of the corpus, measured; else `made_up`."""
    return measure(read_manifest(SHARED / corpus.manifest)) if is_there(corpus) else made_up(corpus)


def made_up(corpus: Corpus) -> list[Utterance]:
    """As many as the corpus has, of like durations, without audio."""
    rng = np.random.default_rng(0)
    seconds = np.interp(rng.random(corpus.count), SHARES, corpus.seconds)
    return [
        Utterance(id=str(n), audio=Path(f"{n}.flac"), text="A" * round(each * corpus.characters), seconds=float(each))
        for n, each in enumerate(seconds)
    ]


def tokenizer_of(config: RunConfig) -> Any:
    """A stand-in that has the size of the recipe's tokenizer, and gives texts as many tokens: whichever."""
    pieces, characters = (32, 1) if config.tokenizer.kind == "char" else (config.tokenizer.vocab_size, 4)

    def encode(text: str) -> Sequence[int]:
        rng = np.random.default_rng(len(text))
        return [int(each) for each in rng.integers(END + 1, pieces, max(1, len(text) // characters))]

    names = tuple(map(str, range(pieces)))
    return SimpleNamespace(size=pieces, pad=0, unknown=1, begin=BEGIN, end=END, pieces=names, encode=encode)


class Example(NamedTuple):
    """A `Batch` of asr-train in numpy, for those who do not load TensorFlow."""

    features: NDArray[np.float32]
    feature_lengths: NDArray[np.int32]
    labels: NDArray[np.int32]
    label_lengths: NDArray[np.int32]
    rows: NDArray[np.int32]

    def cut(self) -> "Example":
        """Without rows that fill it up, and no longer than its longest."""
        real = self.rows >= 0
        features, frames, labels, lengths, rows = (part[real] for part in self)
        return Example(features[:, : frames.max()], frames, labels[:, : lengths.max()], lengths, rows)


class NoiseReader(Reader):
    """Noise as long as the utterance would be, so that no audio need be there."""

    def __call__(self, utterance: Utterance, row: int, epoch: int) -> tuple[Any, Any]:
        """Features `(T, F)` and labels `(U,)`."""
        seconds = (utterance.seconds or 0.0) / self.speeds(np.array([row]), epoch)[0]
        frames = self.frontend.num_frames(int(seconds * self.frontend.sample_rate))
        features = np.random.default_rng(row).standard_normal((frames, self.frontend.dim), np.float32)
        return features, np.array(self.tokenizer.encode(utterance.text), np.int32)


def pipeline_of(recipe: str, *, batch_seconds: float | None = None, spoken: list[Utterance] | None = None) -> Any:
    """What plans the recipe's batches, and makes them of noise."""
    from asr_train.batches import Pipeline

    config = config_of(recipe)
    data = dataclasses.replace(config.data, batch_seconds=batch_seconds or config.data.batch_seconds)
    tokenizer = tokenizer_of(config)
    reader = NoiseReader(frontend=config.features, normalize=None, tokenizer=tokenizer, augment=config.augment)
    return Pipeline(utterances(corpus_of(recipe)) if spoken is None else spoken, reader, data=data)


def examples(recipe: str, count: int, batch_seconds: float | None = None) -> list[Example]:
    """Batches of the first epoch's plan, from short to long."""
    pipeline = pipeline_of(recipe, batch_seconds=batch_seconds)
    seconds = pipeline.durations(0)
    planned = sorted(pipeline.plan(0), key=lambda rows: float(seconds[rows].max()))
    chosen = [planned[len(planned) * (2 * n + 1) // (2 * count)] for n in range(count)]
    return [Example(*(part.numpy() for part in batch)) for batch in pipeline(chosen)]
