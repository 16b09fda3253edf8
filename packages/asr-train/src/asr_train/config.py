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
class NoiseConfig:
    """Noise that is mixed into a share of the training utterances."""

    probability: float = 0.5
    snr: tuple[float, float] = (5.0, 30.0)
    """The lowest and the highest signal-to-noise ratio, in dB."""
    files: tuple[Path, ...] = ()
    """Manifests of recorded noise; their texts do not matter."""
    kinds: tuple[Literal["white", "pink"], ...] = ("white", "pink")
    """What is made where there are no files."""

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise ValueError(f"probability is {self.probability}, expected a number from 0 to 1")
        check_range("snr", self.snr)
        if not self.kinds:
            raise ValueError("kinds is empty, expected white, pink or both")


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """What is done to training utterances only, anew in every epoch."""

    spec_augment: str | asr_features.SpecAugment | None = None
    """The name of a policy (LB, LD, SM, SS, adaptive), or the fields of one."""
    speed: tuple[float, ...] = (1.0,)
    """Factors of which one is drawn for each utterance; 1.1 is faster and higher."""
    pitch: tuple[float, ...] = (1.0,)
    """Factors of which one is drawn for each utterance; 1.1 is a higher voice, as of a smaller speaker, as fast."""
    noise: NoiseConfig | None = None
    gain: tuple[float, float] | None = None
    """The lowest and the highest change of level, in dB."""

    def __post_init__(self) -> None:
        if isinstance(self.spec_augment, str):
            if self.spec_augment not in POLICIES:
                raise ValueError(
                    f"spec_augment is {self.spec_augment!r}, expected one of {', '.join(POLICIES)}, or fields"
                )
            object.__setattr__(self, "spec_augment", POLICIES[self.spec_augment])
        for name in ("speed", "pitch"):
            if not getattr(self, name) or not all(0.5 <= factor <= 2 for factor in getattr(self, name)):
                raise ValueError(f"{name} is {list(getattr(self, name))}, expected factors from 0.5 to 2")
        if self.gain is not None:
            check_range("gain", self.gain)


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
    records: tuple[Path, ...] = ()
    """Folders that `asr-train records` wrote, in place of `train`."""
    batch_seconds: float = 240.0
    """Padded seconds of audio in a batch of all workers, at most (one utterance may be longer)."""
    max_seconds: float = 20.0
    over_length: Literal["filter", "error", "slice"] = "filter"
    """What is done with longer utterances: left out, refused, or cut off (a text is not)."""
    buckets: int = 12
    """Ranges of duration that batches are made of."""
    static_shapes: bool = False
    """Every batch is padded to the fixed size of its bucket, for TPU and XLA."""
    cache: Literal["none", "memory", "disk"] = "none"
    """Where features are kept, before SpecAugment; those with noise or gain in them are not."""
    cache_folder: Path | None = None
    """For the disk; runs may share it. `cache` in the run's folder if not given."""
    threads: int = 2
    """How many batches are read at the same time."""
    max_bad: int = 0
    """Utterances that may be missing or broken: they are left out, and listed in quarantine.tsv."""

    def __post_init__(self) -> None:
        for name in ("batch_seconds", "max_seconds", "buckets", "threads"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name)}, expected a positive number")
        if self.max_bad < 0:
            raise ValueError(f"max_bad is {self.max_bad}, expected 0 or more")
        if self.train and self.records:
            raise ValueError("train and records are both given, expected one of the two")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The training loop."""

    epochs: int = 20
    steps_per_epoch: int | None = None
    """Batches in an epoch, at most; each epoch draws others. All of them if not given."""
    max_minutes: float | None = None
    """Stop after this much training; the learning rate falls to its minimum by then or by the last epoch."""
    patience: int | None = None
    """Stop when so many validations in a row were no better than the best before."""

    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    learning_rate: float = 1e-3
    min_learning_rate: float = 1e-5
    momentum: float = 0.9
    """Of sgd."""
    weight_decay: float = 0.0
    """Of adamw and sgd, beside the gradient: matrices shrink by learning rate x this in every update."""
    clip_norm: float = 5.0
    """The gradient of all weights together is no longer than this."""
    accumulate: int = 1
    """Batches whose gradients make one update."""
    ema_decay: float | None = None
    """Validate and keep a moving average of the weights, such as 0.999."""

    schedule: Literal["warmup-linear", "constant", "noam", "ramp-hold-decay", "plateau"] = "warmup-linear"
    """See `asr_train.schedules`. Steps of a schedule are updates."""
    warmup_steps: int | None = None
    """500, if `warmup_rate` is not given either."""
    warmup_rate: float | None = None
    """Share of the run, where no steps are given."""
    hold_steps: int = 10_000
    decay_steps: int = 80_000
    plateau_patience: int = 1
    plateau_factor: float = 0.5

    label_smoothing: float = 0.1
    ctc_weight: float = 0.3
    """The share of CTC in the loss of a Las with `ctc_head`."""
    sampling_ramp_steps: int = 0
    """Updates in which scheduled sampling rises from nothing to the model's share."""
    weight_noise: float = 0.0
    """Standard deviation of normal noise on matrices while a gradient is taken (Graves, 2011)."""
    weight_noise_start: int = 0
    """Updates before it begins."""
    init_from: Path | None = None
    """A model folder whose weights the run begins with."""
    freeze: tuple[str, ...] = ()
    """Weights that stay as they are: patterns of names such as listener.*"""

    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Of the large products; weights, sums and losses stay float32."""
    jit_compile: bool = False
    """Compile the whole step by XLA, once a shape; needs data.static_shapes."""
    device: Literal["auto", "cpu", "gpu", "tpu"] = "auto"
    strategy: Literal["auto", "one", "mirrored", "workers"] = "auto"
    """One device, all devices of this machine, or the workers of TF_CONFIG or Slurm."""
    deterministic: bool = False
    """Equal seeds give equal bits, at some cost in speed."""
    seed: int = 1

    checkpoint_steps: int = 500
    """A checkpoint every so many steps, beside the one at the end of an epoch."""
    checkpoint_minutes: float | None = None
    keep_last: int = 2
    keep_best: int = 0
    """Checkpoints that are kept for their score, beside the last ones; for averaging."""
    average: Literal["none", "last", "best"] = "none"
    """At the end, the mean of the last or the best checkpoints is tried, and taken if it is no worse."""
    max_nonfinite: int = 10
    """Steps in a row whose loss or gradient may be no number; they are skipped."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "freeze", tuple(self.freeze))
        positive = ("epochs", "learning_rate", "clip_norm", "accumulate", "checkpoint_steps", "keep_last")
        optional = ("steps_per_epoch", "max_minutes", "patience", "checkpoint_minutes")
        for name in (*positive, *(name for name in optional if getattr(self, name) is not None)):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name)}, expected a positive number")
        for name in ("label_smoothing", "ctc_weight", "momentum", "ema_decay", "warmup_rate"):
            if getattr(self, name) is not None and not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected a number from 0 to below 1")
        not_negative = ("warmup_steps", "weight_decay", "min_learning_rate", "weight_noise", "weight_noise_start")
        for name in (*not_negative, "sampling_ramp_steps", "keep_best", "max_nonfinite", "plateau_patience"):
            if (getattr(self, name) or 0) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}, expected 0 or more")
        if self.schedule == "ramp-hold-decay" and not 0 < self.min_learning_rate <= self.learning_rate:
            raise ValueError(f"min_learning_rate is {self.min_learning_rate}, expected more than 0 for an exponential")
        if self.average == "best" and not self.keep_best:
            raise ValueError("average is best, but keep_best is 0, expected how many checkpoints to keep for it")
        if not 0 < self.plateau_factor < 1:
            raise ValueError(f"plateau_factor is {self.plateau_factor}, expected a number between 0 and 1")

    @property
    def rising_steps(self) -> int | None:
        """Updates of the warm-up; none where it is a share of the run."""
        return 500 if self.warmup_steps is None and not self.warmup_rate else self.warmup_steps


@dataclass(frozen=True, kw_only=True)
class DecodeConfig:
    """From what a model says to text."""

    beam_size: int = 1
    """1 is greedy."""
    length_penalty: float = 0.6
    """Exponent of the GNMT length norm of an attention search."""
    max_length_ratio: float = 1.0
    """Tokens for each frame of the listener's memory, at most."""
    ctc_weight: float = 0.3
    """Share of the listener's CTC head, where there is one, in the beam search of a LAS (Watanabe et al., 2017)."""
    lm_weight: float = 0.5
    """What the logarithms of a language model are multiplied by, where one is given."""
    word_bonus: float = 0.0
    """Nats for each word, where a language model is given."""

    def __post_init__(self) -> None:
        for name, least, most in (("ctc_weight", 0, 1), ("lm_weight", 0, 10), ("word_bonus", -100, 100)):
            if not least <= getattr(self, name) <= most:
                raise ValueError(f"{name} is {getattr(self, name)}, expected a number from {least} to {most}")
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

    def __post_init__(self) -> None:
        if self.train.jit_compile and not self.data.static_shapes:
            raise ValueError("train.jit_compile needs data.static_shapes: each shape is compiled once")


def check_range(name: str, ends: tuple[float, float]) -> None:
    """Raises ValueError unless the ends are decibels in order."""
    if not -100 <= ends[0] <= ends[1] <= 100:
        raise ValueError(f"{name} is {list(ends)}, expected the lowest and the highest number of dB, from -100 to 100")


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
