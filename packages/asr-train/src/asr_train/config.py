"""What a run is made of: one frozen dataclass a section.

`features` and `model` are the configurations of the packages themselves. Nothing here loads TensorFlow.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import asr_features
import asr_models

FRONTENDS: dict[str, type] = {
    "log-mel": asr_features.LogMel,
    "mfcc": asr_features.Mfcc,
    "spectrogram": asr_features.Spectrogram,
}
Frontend = asr_features.LogMel | asr_features.Mfcc | asr_features.Spectrogram
MODELS: dict[str, type] = {"deepspeech2": asr_models.DeepSpeech2Config, "las": asr_models.LasConfig}
POLICIES = asr_features.POLICIES


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """What is done to training utterances only, anew in every epoch."""

    spec_augment: str | asr_features.SpecAugment | None = None
    """The name of a policy (LB, LD, SM, SS, adaptive), or the fields of one."""
    speed: tuple[float, ...] = (1.0,)
    """Factors of which one is drawn for each utterance; 1.1 is faster and higher."""

    def __post_init__(self) -> None:
        if isinstance(self.spec_augment, str):
            if self.spec_augment not in POLICIES:
                raise ValueError(
                    f"spec_augment is {self.spec_augment!r}, expected one of {', '.join(POLICIES)}, or fields"
                )
            object.__setattr__(self, "spec_augment", POLICIES[self.spec_augment])
        if not self.speed or not all(0.5 <= factor <= 2 for factor in self.speed):
            raise ValueError(f"speed is {list(self.speed)}, expected factors from 0.5 to 2")


@dataclass(frozen=True, kw_only=True)
class TokenizerConfig:
    """A SentencePiece model: a file, or one to be trained on the training texts."""

    path: Path | None = None
    kind: Literal["unigram", "bpe", "char"] = "unigram"
    vocab_size: int = 1000


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Manifests, and how utterances become batches."""

    train: tuple[Path, ...] = ()
    dev: tuple[Path, ...] = ()
    normalize: Literal["utterance", "global", "none"] = "utterance"
    batch_seconds: float = 240.0
    """Padded seconds of audio in a batch, at most (one utterance may be longer)."""
    max_seconds: float = 20.0
    over_length: Literal["filter", "error"] = "filter"
    buckets: int = 8

    def __post_init__(self) -> None:
        for name in ("batch_seconds", "max_seconds", "buckets"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name)}, expected a positive number")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The training loop."""

    epochs: int = 20
    learning_rate: float = 1e-3
    min_learning_rate: float = 1e-5
    schedule: Literal["warmup-linear", "constant"] = "warmup-linear"
    warmup_steps: int = 500
    clip_norm: float = 5.0
    label_smoothing: float = 0.1
    ctc_weight: float = 0.3
    """The share of CTC in the loss of a Las with `ctc_head`."""
    seed: int = 1
    checkpoint_steps: int = 500
    """A checkpoint every so many steps, beside the one at the end of an epoch."""
    max_minutes: float | None = None
    """Stop after this much training; the learning rate falls to its minimum by then or by the last epoch."""

    def __post_init__(self) -> None:
        for name in ("epochs", "learning_rate", "clip_norm", "checkpoint_steps"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name)}, expected a positive number")
        for name in ("label_smoothing", "ctc_weight"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected a number from 0 to below 1")
        if self.warmup_steps < 0:
            raise ValueError(f"warmup_steps is {self.warmup_steps}, expected 0 or more")


@dataclass(frozen=True, kw_only=True)
class DecodeConfig:
    """From what a model says to text."""

    beam_size: int = 1
    """1 is greedy."""
    length_penalty: float = 0.6
    """Exponent of the GNMT length norm of an attention search."""
    max_length_ratio: float = 1.0
    """Tokens for each frame of the listener's memory, at most."""

    def __post_init__(self) -> None:
        if self.beam_size < 1:
            raise ValueError(f"beam_size is {self.beam_size}, expected 1 or more")
        if self.max_length_ratio <= 0:
            raise ValueError(f"max_length_ratio is {self.max_length_ratio}, expected a positive number")


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """A whole run."""

    features: Frontend = asr_features.PRESETS["kaldi-80"]
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    model: asr_models.DeepSpeech2Config | asr_models.LasConfig = asr_models.PRESETS["deepspeech2-small"]
    data: DataConfig = field(default_factory=DataConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    decode: DecodeConfig = field(default_factory=DecodeConfig)


def kind_of(part: object, kinds: Mapping[str, type]) -> str:
    """The name under which a front end or a model configuration is written."""
    return next(name for name, cls in kinds.items() if type(part) is cls)


def to_dict(config: RunConfig) -> dict[str, Any]:
    """Plain values, from which `from_dict` makes the same configuration."""
    values = plain(dataclasses.asdict(config))
    values["features"] = {"kind": kind_of(config.features, FRONTENDS), **values["features"]}
    values["model"] = {"kind": kind_of(config.model, MODELS), **values["model"]}
    return values


def plain(value: Any) -> Any:
    """Tuples as lists and paths as text, for JSON and YAML."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value
