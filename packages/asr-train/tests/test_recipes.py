"""Every recipe, dry: what its header says, whether its numbers go together, and one training step at full width.

The batches are made up, of the shape that the recipe's features have. Steps run without being traced, which takes most
of the time otherwise; `test_steps.py` tests the compiled ones.
"""

import gc
import re
import shlex
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import yaml

import asr_models
from asr_models.describe import parameters
from asr_train import recipes
from asr_train.batches import Batch
from asr_train.cli import asr_train
from asr_train.config import RunConfig
from asr_train.config_file import read_config
from asr_train.devices import open_devices
from asr_train.families import build_family
from asr_train.schedules import learning_rate
from asr_train.state import TrainingState
from asr_train.steps import knobs_for, training_step

NAMES = recipes.names()
TRAINED = [name for name in NAMES if not name.startswith("quickstart")]
HOURS = {
    "quickstart": 1.0,
    "digits": 2.5,
    "an4": 0.63,
    "librispeech": 960.0,
    "ksponspeech": 969.0,
    "clovacall": 50.0,
    "zeroth": 51.6,
}
"""Of training speech, about."""
KOREAN = ("ksponspeech", "clovacall", "zeroth")
UNITS_A_SECOND = {"char": 18, "char of Korean": 9, "subword": 5}
"""Of quick speakers; characters with spaces."""
NARROW = {"librispeech-las-specaugment": 8}
"""What the widths are divided by for a step: gradients and Adam's moments of the whole would take 5 GB."""


def header(name: str) -> str:
    """The comment that a recipe begins with."""
    lines = recipes.find(name).read_text(encoding="utf-8").splitlines()
    return "\n".join(lines[: next(n for n, line in enumerate(lines) if not line.startswith("#"))])


def corpus(name: str) -> str:
    return name.split("-")[0]


def units(name: str, config: RunConfig) -> int:
    """V; a character tokenizer has what its texts have."""
    if config.tokenizer.kind == "char":
        return 2003 if corpus(name) in KOREAN else 31
    return config.tokenizer.vocab_size


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def config(name: str) -> RunConfig:
    return read_config(recipes.find(name))


def test_all_corpora_have_theirs() -> None:
    sizes = ("las-small", "las-medium", "las-large", "las-specaugment", "deepspeech2")
    both = [f"{name}-{kind}" for name in HOURS if name != "librispeech" for kind in ("deepspeech2", "las")]
    assert sorted([*both, *(f"librispeech-{size}" for size in sizes)]) == NAMES


def test_the_header_has_commands_that_parse(name: str) -> None:
    lines = [shlex.split(line.lstrip("# ")) for line in header(name).splitlines() if re.match("# +asr-train ", line)]
    if corpus(name) == "quickstart":
        assert "asr-train quickstart" in header(name)
        return
    assert [words[1] for words in lines][:2] == ["train", "evaluate"]
    output: Any = None
    for _, subcommand, *arguments in lines:
        command = asr_train.get_command(None, subcommand)
        given = command.make_context(subcommand, arguments).params
        if subcommand == "train":
            assert given["config"] == name and given["train_manifests"] and given["dev_manifests"]
            output = given["output"]
        elif subcommand != "lm":
            assert given["model"] == output / "model"


@pytest.mark.parametrize("name", TRAINED)
def test_the_header_has_time_and_score_or_says_that_there_are_none(name: str) -> None:
    untrained = "# Not trained yet: no time and score" in header(name)
    measured = re.search(r"^# (Test|Dev): WER [\d.]+ %", header(name), re.M) and "\n# Time: " in header(name)
    assert bool(measured) != untrained


def test_the_header_counts_the_weights(name: str, config: RunConfig) -> None:
    said = re.search(r"([\d.]+) million weights", header(name))
    if said is not None:
        counts = parameters(config.model, features=config.features.dim, vocab_size=units(name, config))
        digits = len(said[1].partition(".")[2])
        assert f"{sum(counts.values()) / 1e6:.{digits}f}" == said[1]


def test_no_key_is_without_effect(name: str, config: RunConfig) -> None:
    values = yaml.safe_load(recipes.find(name).read_text(encoding="utf-8"))
    set_ = values["train"].keys()
    assert (config.tokenizer.kind == "char") == ("vocab_size" not in values["tokenizer"])
    assert config.train.schedule == "ramp-hold-decay" or not set_ & {"hold_steps", "decay_steps"}
    assert isinstance(config.model, asr_models.LasConfig) or not set_ & {"label_smoothing", "ctc_weight"}
    assert (config.train.average == "best") == (config.train.keep_best > 0)


def test_the_numbers_go_together(name: str, config: RunConfig) -> None:
    train, data, augment = config.train, config.data, config.augment.spec_augment
    updates = train.epochs * HOURS[corpus(name)] * 3600 / data.batch_seconds
    assert updates >= 5 * (train.rising_steps or 0) or corpus(name) == "quickstart"
    if train.schedule == "ramp-hold-decay":
        assert 0 < (train.rising_steps or 0) < train.weight_noise_start < train.hold_steps < train.decay_steps
        assert 0.95 < updates / train.decay_steps < 1.05
    assert data.max_seconds <= data.batch_seconds
    assert train.min_learning_rate < train.learning_rate
    if augment is not None:
        assert augment.freq_masks * augment.freq_width < config.features.dim
    # A label a frame is the most that CTC can spell, and what is spoken faster has as many in fewer.
    if isinstance(config.model, asr_models.DeepSpeech2Config) or config.model.ctc_head:
        kind = config.tokenizer.kind if config.tokenizer.kind == "char" else "subword"
        kind += " of Korean" if kind == "char" and corpus(name) in KOREAN else ""
        frames = config.features.num_frames(100 * config.features.sample_rate) / 100 / config.model.stride
        assert frames > max(config.augment.speed) * UNITS_A_SECOND[kind]


def test_specaugment_has_the_numbers_of_the_paper() -> None:
    """Park et al. (2019), table 1 and section 3: policy LD, schedule L, LAS-6-1280."""
    config = read_config(recipes.find("librispeech-las-specaugment"))
    policy, train, model = config.augment.spec_augment, config.train, config.model
    assert (policy.time_warp, policy.freq_width, policy.freq_masks) == (80, 27, 2)
    assert (policy.time_width, policy.time_ratio, policy.time_masks) == (100, 1.0, 2)
    assert (model.listener_layers, model.listener_units, model.speller_layers, model.pyramid) == (6, 1280, 2, False)
    assert (config.features.dim, config.tokenizer.vocab_size, train.label_smoothing) == (80, 16000, 0.1)
    rates = {499: 5e-4, 999: 1e-3, 140_000: 1e-3, 230_000: 1e-4, 320_000: 1e-5, 330_000: 1e-5}
    assert [learning_rate(train, step, 0.5) for step in rates] == pytest.approx(list(rates.values()))
    assert [knobs_for(train, step).noise for step in (0, 19_999, 20_000)] == [0.0, 0.0, 0.075]


def test_korean_of_the_reference_has_its_features_and_models() -> None:
    """Its kspon_config.yml: MFCC 40 of 80 bands from 80 to 7600 Hz, 320 samples every 160; las_small.yml."""
    config = read_config(recipes.find("ksponspeech-las"))
    mel = config.features.mel
    assert (config.features.dim, mel.num_mels, mel.low_hz, mel.high_hz) == (40, 80, 80.0, 7600.0)
    assert (mel.frame_length, mel.frame_shift, mel.fft_size) == (320, 160, 320)
    assert config.features.num_frames(int(config.data.max_seconds * 16000)) <= 2048
    assert read_config(recipes.find("ksponspeech-deepspeech2")).features == config.features
    values = {"model_name": "las", "rnn_type": "lstm", "vocab_size": 8000, "dropout": 0.15, "pad_id": 0}
    values |= {"encoder_hidden_dim": 256, "decoder_hidden_dim": 256, "num_encoder_layers": 3, "num_decoder_layers": 2}
    assert config.model == asr_models.from_reference({**values, "teacher_forcing_rate": 0.99}).config


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Nothing is traced, and recurrent weights begin as identities, which are orthogonal and take no time."""
    monkeypatch.setattr(np.linalg, "qr", lambda a: (np.eye(len(a)), np.eye(len(a))))
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)
    keras.backend.clear_session()
    gc.collect()


def narrow(model: Any, by: int) -> Any:
    """A model of the same parts with narrower layers."""
    widths = ("listener_units", "speller_units", "embedding_units", "attention_units")
    return replace(model, **{width: getattr(model, width) // by for width in widths})


def family_of(name: str, config: RunConfig, model: Any) -> Any:
    tokenizer: Any = SimpleNamespace(size=units(name, config), pad=0, begin=2, end=3)
    weights = {"smoothing": config.train.label_smoothing, "ctc_weight": config.train.ctc_weight}
    return build_family(
        model, features=config.features.dim, tokenizer=tokenizer, precision=config.train.precision, **weights
    )


def speech(config: RunConfig, size: int) -> Batch:
    """Two utterances of less than half a second."""
    rng, frames = np.random.default_rng(0), np.array([48, 40], np.int32)
    features = rng.normal(size=(2, 48, config.features.dim)).astype(np.float32)
    features[1, 40:] = 0
    labels = rng.integers(4, size, (2, 4)).astype(np.int32)
    lengths = np.array([4, 3], np.int32)
    labels[1, 3:] = 0
    return Batch(*map(tf.constant, (features, frames, labels, lengths, np.arange(2, dtype=np.int32))))


def test_a_step_trains_every_weight(name: str, config: RunConfig, quick: None) -> None:
    model = narrow(config.model, NARROW[name]) if name in NARROW else config.model
    family = family_of(name, config, model)
    state = TrainingState(family.model, config.train)
    before = {path: weight.numpy() for path, weight in state.weights.items()}
    counts = parameters(model, features=config.features.dim, vocab_size=units(name, config))
    assert sum(values.size for values in before.values()) == sum(counts.values())
    step = training_step(family, state, open_devices("cpu", "one"))
    # A step so late that all that begins late has begun.
    outcome = step(speech(config, units(name, config)), knobs_for(config.train, 100_000), [config.train.learning_rate])
    assert outcome.finite and outcome.labels == 7 and state.updates == 1
    assert [path for path, values in before.items() if np.array_equal(values, state.weights[path].numpy())] == []


@pytest.mark.parametrize("name", NARROW)
def test_what_was_narrowed_is_built_whole(name: str, config: RunConfig, quick: None) -> None:
    family = family_of(name, config, config.model)
    counts = parameters(config.model, features=config.features.dim, vocab_size=units(name, config))
    assert sum(int(np.prod(w.shape)) for w in family.model.trainable_variables) == sum(counts.values())
