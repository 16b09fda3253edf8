"""The parts put together: audio goes in, text comes out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import asr_features
from asr_decoders import Hypothesis, NGram
from asr_train.batches import Normalize, normalized, pad
from asr_train.config import DecodeConfig
from asr_train.families import Family
from asr_train.tokenizer import Tokenizer

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Transcript:
    """What was heard."""

    text: str
    hypotheses: tuple[Hypothesis, ...]
    """Best first, all different; one for a greedy search. Their texts are filled in."""
    seconds: float
    """The duration of the audio."""


@dataclass(frozen=True, kw_only=True)
class Recognizer:
    """A front end, a model with its search, and a tokenizer.

    `recognizer(samples)` takes mono float32 samples at the front end's rate; `transcribe` takes a file of any rate.
    """

    frontend: asr_features.Frontend
    normalize: Normalize | None
    family: Family
    tokenizer: Tokenizer
    decode: DecodeConfig
    lm: NGram | None = None
    """Of words, for a beam search."""

    def __post_init__(self) -> None:
        if self.lm is not None and self.decode.beam_size == 1:
            raise ValueError("a language model needs a beam: set decode.beam_size to 16 or so, it is 1")

    def __call__(self, samples: Floats) -> Transcript:
        """`(N,)` float32 in [-1, 1] at `frontend.sample_rate` -> what was said."""
        hypotheses = self.search([self.features(samples)])[0]
        return Transcript(hypotheses[0].text, tuple(hypotheses), len(samples) / self.frontend.sample_rate)

    def transcribe(self, path: str | Path) -> Transcript:
        """Read an audio file and recognise it.

        Raises:
            FileNotFoundError: no such file.
            ValueError: the file is not audio.
        """
        return self(asr_features.read(path, sample_rate=self.frontend.sample_rate))

    def features(self, samples: Floats) -> Floats:
        """`(N,)` -> what the model reads, `(T, F)`."""
        return normalized(samples, self.frontend, self.normalize)

    def search(self, features: Sequence[Floats]) -> list[list[Hypothesis]]:
        """Features `(T, F)` of several utterances -> the n-best of each, with texts."""
        lengths = np.array([len(part) for part in features], np.int32)
        if lengths.max(initial=0) == 0:  # shorter than one frame, all of them: nothing can be heard
            return [[Hypothesis((), 0.0)] for _ in features]
        found = self.family.decode(pad(features), lengths, self.decode, self.lm)
        return [[replace(h, text=self.tokenizer.decode(h.tokens)) for h in hypotheses] for hypotheses in found]
