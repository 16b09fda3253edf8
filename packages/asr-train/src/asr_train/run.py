"""A run's folder, and all that is settled before training starts. Nothing here loads TensorFlow."""

import dataclasses
import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asr_features
import asr_models
from asr_train.config import DataConfig, RunConfig
from asr_train.config_file import build, differences, read_config, write_config
from asr_train.errors import UserError
from asr_train.folders import recover
from asr_train.manifest import Utterance, check_disjoint, measure, read_audio, read_manifest, survey
from asr_train.quarantine import BadUtteranceError, Quarantine
from asr_train.records import Records, open_records, variants_of
from asr_train.tokenizer import Tokenizer

MAY_CHANGE = ("train.device", "train.strategy", "train.jit_compile", "data.threads")
"""What a run may be resumed with in another way: where and how it is computed, not what."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """What the training loop is given."""

    config: RunConfig
    output: Path
    train: tuple[Utterance, ...]
    dev: tuple[Utterance, ...]
    tokenizer: Tokenizer
    normalize: Any
    quarantine: Quarantine
    records: Records | None = None
    """Where the training features come from, if not from audio."""
    notes: tuple[str, ...] = ()
    """What the user should know of the preparation, such as utterances left out."""

    @property
    def checkpoints(self) -> Path:
        """Whole states, for resuming."""
        return self.output / "checkpoints"

    @property
    def model(self) -> Path:
        """The best recogniser so far, for use."""
        return self.output / "model"


def prepare(config: RunConfig, output: Path, *, resume: bool = False) -> Run:
    """Read manifests, settle tokenizer and normalisation, and make (or find again) the run's folder.

    Raises:
        UserError: the folder holds a run and `resume` is not asked, or holds something else; anything wrong with
            manifests, audio files or the tokenizer.
    """
    started = _check_folder(config, output, resume)
    records = open_records(config.data.records) if config.data.records else None
    train, dev, bad = load_sets(config.data, records)
    if records is not None:
        records.check(config)
    train, notes = keep(train, config)
    if started:
        tokenizer = Tokenizer.load(output / "tokenizer.model")
        normalize = _read_normalize(output / "normalize.json")
        recover(output / "model")
    else:
        if config.train.init_from is not None:
            check_model(config.train.init_from)
        tokenizer = make_tokenizer(config, train) if records is None else records.tokenizer
        normalize = make_normalize(config, train, records)
        output.mkdir(parents=True, exist_ok=True)
        tokenizer.save(output / "tokenizer.model")
        values = None if normalize is None else dataclasses.asdict(normalize)
        (output / "normalize.json").write_text(json.dumps(values), encoding="utf-8")
        # Last, because this file is what makes the folder a run.
        write_config(config, output / "config.yaml")
    train, more = fitting(train, config, tokenizer)
    notes += more
    quarantine = Quarantine(output / "quarantine.tsv", most=config.data.max_bad)
    for one in bad:
        quarantine.add(one)
    if bad:
        notes += (f"left out {len(bad)} utterances that are missing or broken: {quarantine.path}",)
    return Run(
        config=config,
        output=output,
        train=train,
        dev=dev,
        tokenizer=tokenizer,
        normalize=normalize,
        quarantine=quarantine,
        records=records,
        notes=notes,
    )


def _check_folder(config: RunConfig, output: Path, resume: bool) -> bool:
    """Whether `output` holds a run that is to be continued."""
    started = (output / "config.yaml").is_file()
    if started and not resume:
        raise UserError(f"{output}: already holds a run; add --resume to continue it, or choose another --output")
    leftovers = {"tokenizer.model", "normalize.json"}  # of a run that died before it began
    if not started and output.is_dir() and {path.name for path in output.iterdir()} - leftovers:
        raise UserError(f"{output}: not empty, and not a run of asr-train; choose another --output")
    if started:
        before = read_config(output / "config.yaml")
        differing = [key for key in differences(before, config) if key not in MAY_CHANGE]
        if differing:
            raise UserError(f"{output}: cannot resume with another configuration; {', '.join(differing)} changed")
    return started


def load_sets(
    data: DataConfig, records: Records | None = None
) -> tuple[tuple[Utterance, ...], tuple[Utterance, ...], tuple[BadUtteranceError, ...]]:
    """The training and the development utterances, measured and disjoint; and the training utterances that are bad.

    Raises:
        UserError: a set is missing, or its manifest is wrong; more bad utterances than `data.max_bad`, or any in dev.
    """
    for name in ("train", "dev"):
        if not getattr(data, name) and not (name == "train" and records is not None):
            raise UserError(f"no {name} manifest: give --{name} FILE, or data.{name} in the configuration")
    dev = measure([utterance for path in data.dev for utterance in read_manifest(path)])
    # No manifest is read where there are records: data.train is then empty.
    train, found = survey([utterance for path in data.train for utterance in read_manifest(path)])
    train += records.utterances if records is not None else ()
    bad = tuple(BadUtteranceError(*one) for one in found)
    if len(bad) > data.max_bad:
        more = f" (and {len(bad) - 1} more; data.max_bad allows {data.max_bad})" if len(bad) > 1 else ""
        raise UserError(f"{bad[0]}{more}")
    check_disjoint(train, dev)
    return tuple(train), tuple(dev), bad


def keep(train: Sequence[Utterance], config: RunConfig) -> tuple[tuple[Utterance, ...], tuple[str, ...]]:
    """The utterances that are trained on, and a note about those that are not, or not whole."""
    limit, policy = config.data.max_seconds, config.data.over_length
    long = [u for u in train if (u.seconds or 0.0) > limit]
    if long and policy == "error":
        raise UserError(
            f"{long[0].row}: {long[0].seconds:.1f} s, above data.max_seconds = {limit:g} ({len(long)} such)"
        )
    if policy == "slice":
        cut = tuple(dataclasses.replace(u, seconds=min(u.seconds or 0.0, limit)) for u in train)
        return cut, (f"cut off {len(long)} of {len(train)} utterances at {limit:g} s",) if long else ()
    kept = tuple(u for u in train if (u.seconds or 0.0) <= limit)
    if not kept:
        raise UserError(f"no training utterance is at most data.max_seconds = {limit:g} s long")
    return kept, (f"left out {len(long)} of {len(train)} utterances above {limit:g} s",) if long else ()


def fitting(
    train: Sequence[Utterance], config: RunConfig, tokenizer: Tokenizer
) -> tuple[tuple[Utterance, ...], tuple[str, ...]]:
    """The utterances whose text a CTC path can spell in their frames at every speed, and a note about the others."""
    if not isinstance(config.model, asr_models.DeepSpeech2Config):
        return tuple(train), ()
    features, stride, fastest = config.features, config.model.stride, max(1.0, *config.augment.speed)

    def fits(utterance: Utterance) -> bool:
        labels = tokenizer.encode(utterance.text)
        # A label that repeats needs a blank between.
        needed = len(labels) + sum(a == b for a, b in itertools.pairwise(labels))
        frames = features.num_frames(int((utterance.seconds or 0.0) / fastest * features.sample_rate))
        return -(-frames // stride) >= needed

    kept = tuple(u for u in train if fits(u))
    if len(kept) == len(train):
        return kept, ()
    first = next(u for u in train if not fits(u))
    if not kept:
        raise UserError(f"{first.row}: its text is too long for its audio, and so is every other's; use longer units")
    count = len(train) - len(kept)
    return kept, (f"left out {count} of {len(train)} utterances: the text is too long for the audio ({first.row})",)


def check_model(folder: Path) -> None:
    """Whether a run can start from a model folder, as far as can be told without TensorFlow.

    Raises:
        UserError: there is none, or it is damaged.
    """
    from asr_train import model_dir

    try:
        model_dir.check(folder)
    except UserError as error:
        raise UserError(f"train.init_from: {error}") from None


def make_tokenizer(config: RunConfig, train: Sequence[Utterance]) -> Tokenizer:
    """The configured tokenizer, trained on the training texts where no file is named."""
    if config.tokenizer.path is not None:
        return Tokenizer.load(config.tokenizer.path)
    return Tokenizer.train([u.text for u in train], kind=config.tokenizer.kind, vocab_size=config.tokenizer.vocab_size)


def make_normalize(config: RunConfig, train: Sequence[Utterance], records: Records | None = None) -> Any:
    """The configured normalisation; a global one is estimated on (at most 1000 of) the training utterances."""
    if config.data.normalize == "none":
        return None
    if config.data.normalize == "utterance":
        return asr_features.UtteranceNorm()
    variant = variants_of(config.augment)[0]

    def features(utterance: Utterance) -> Any:
        if records is not None:
            return records.read(utterance, variant)
        return config.features(read_audio(utterance, config.features.sample_rate))

    def readable() -> Iterator[Any]:
        for utterance in train[:: -(-len(train) // 1000)]:
            try:
                yield features(utterance)
            except UserError:
                if not config.data.max_bad:
                    raise  # else it is listed when training meets it

    return asr_features.GlobalNorm.estimate(readable())


def read_parts(output: Path) -> tuple[dict[str, Any], Tokenizer]:
    """What the recogniser of a run is made of, as `model_dir.check` tells it of a model folder.

    Raises:
        UserError: not a run's folder, or a damaged one.
    """
    if not (output / "config.yaml").is_file():
        raise UserError(f"{output}: not a run of asr-train: config.yaml is missing")
    config = read_config(output / "config.yaml")
    normalize = _read_normalize(output / "normalize.json")
    parts = {"frontend": config.features, "normalize": normalize, "model": config.model, "decode": config.decode}
    return parts, Tokenizer.load(output / "tokenizer.model")


def _read_normalize(path: Path) -> Any:
    values = json.loads(path.read_text(encoding="utf-8"))
    if values is None:
        return None
    return build(asr_features.GlobalNorm if "mean" in values else asr_features.UtteranceNorm, values, ("normalize",))
