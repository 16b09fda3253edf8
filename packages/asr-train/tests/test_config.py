import os
from dataclasses import replace
from operator import attrgetter
from pathlib import Path

import pytest

import asr_features
from asr_train import recipes
from asr_train.config import RunConfig, TrainConfig, to_dict
from asr_train.config_file import (
    PATHS,
    apply_setting,
    differences,
    from_dict,
    manifests_setting,
    read_config,
    write_config,
)
from asr_train.errors import UserError
from asr_train.schedules import learning_rate


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", recipes.names())
def test_every_recipe_reads_and_round_trips(name: str, tmp_path: Path) -> None:
    config = read_config(recipes.find(name))
    write_config(config, tmp_path / "config.yaml")
    assert read_config(tmp_path / "config.yaml") == config


def test_an_empty_file_is_the_default(tmp_path: Path) -> None:
    assert read_config(write(tmp_path / "c.yaml", "")) == RunConfig()
    assert from_dict(to_dict(RunConfig())) == RunConfig()


def test_preset_and_changes(tmp_path: Path) -> None:
    text = "model: {preset: las-large, dropout: 0.25}\ntrain: {learning_rate: 1e-4}\ndata: {train: [a/b.tsv]}\n"
    config = read_config(write(tmp_path / "c.yaml", text), ("model.attention=dot", "augment.speed=[0.9, 1.1]"))
    assert (config.model.listener_units, config.model.dropout, config.model.attention) == (512, 0.25, "dot")
    assert config.train.learning_rate == 1e-4  # which YAML 1.1 takes for text
    assert config.augment.speed == (0.9, 1.1)
    assert config.data.train == (tmp_path / "a/b.tsv",)  # from the file's own folder


@pytest.mark.parametrize("preset", asr_features.PRESETS)
def test_every_front_end_is_configured_by_name(preset: str, tmp_path: Path) -> None:
    config = read_config(write(tmp_path / "c.yaml", f"features: {{preset: {preset}}}\n"))
    assert config.features == asr_features.PRESETS[preset]
    write_config(config, tmp_path / "again.yaml")
    assert read_config(tmp_path / "again.yaml") == config


def test_a_part_of_a_front_end_is_changed_key_by_key(tmp_path: Path) -> None:
    text = "features: {preset: kaldi-mfcc-13, num_ceps: 20, mel: {num_mels: 40}}\n"
    changed = read_config(write(tmp_path / "c.yaml", text)).features
    base = asr_features.PRESETS["kaldi-mfcc-13"]
    assert changed == replace(base, num_ceps=20, mel=replace(base.mel, num_mels=40))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "features:\n  preset: kaldi-mfcc-13\n  mel: {nun_mels: 40}\n",
            r"c.yaml:3: .*unknown key 'nun_mels'; did you mean 'num_mels'",
        ),
        ("model:\n  droput: 0.1\n", r"c.yaml:2: model: unknown key 'droput'; did you mean 'dropout'\?"),
        ("trian: {}\n", r"c.yaml:1: unknown key 'trian'; did you mean 'train'\?"),
        ("\ntrain: {epochs: many}\n", r"c.yaml:2: train.epochs: .*valid integer.*'many'"),
        ("train: {epochs: 0}\n", r"c.yaml:1: train: epochs is 0, expected a positive number"),
        (
            "model: {preset: las-tiny}\n",
            r"c.yaml:1: model.preset: unknown preset 'las-tiny'; The names are .*las-small",
        ),
        ("model: {preset: [las-small]}\n", r"c.yaml:1: model.preset: unknown preset \['las-small'\]"),
        (
            "model: {kind: transformer}\n",
            r"c.yaml:1: model.kind: unknown kind 'transformer'.*deepspeech2, las",
        ),
        ("model: {preset: las-small, kind: deepspeech2}\n", "give one of the two"),
        ("model: 3\n", r"c.yaml:1: model: expected a mapping, got 3"),
        (
            "model:\n  convolutions:\n    - {channels: 3, kernal: [1, 1]}\n",
            r"c.yaml:3: .*unknown key 'kernal'; did you mean 'kernel'",
        ),
        ("model:\n  convolutions:\n    - {channels: 3, kernel: [1]}\n", r"c.yaml:3: model.convolutions.0"),
        ("augment: {spec_augment: LX}\n", r"expected one of LB, LD, SM, SS"),
        ("features: {num_mels: -1}\n", r"c.yaml:1: features"),
        ("- a\n", "expected sections"),
        ("a: [\n", r"c.yaml:2: not YAML"),
        ("a: !!python/object:os.system {}\n", "not YAML"),
    ],
)
def test_mistakes_are_told_with_their_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        read_config(write(tmp_path / "c.yaml", text))
    assert "\n" not in str(caught.value)


def test_missing_and_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot read the configuration"):
        read_config(tmp_path / "none.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(UserError, match="not UTF-8"):
        read_config(tmp_path / "latin.yaml")
    with pytest.raises(UserError, match="no such configuration file, and no such recipe; the recipes are .*digits-las"):
        recipes.find("digits-lass")


@pytest.mark.parametrize(
    "setting", ["model", "model.x", "model=3", "=3", ".a=3", "model.dropout=[", "model.dropout.x=1"]
)
def test_malformed_settings_are_refused(setting: str) -> None:
    with pytest.raises(UserError, match="--set"):
        apply_setting({"model": {"dropout": 0.1}}, setting)


def test_manifests_of_any_name_can_be_set(tmp_path: Path) -> None:
    odd = tmp_path / "it's [a], {b}: c — 한국.tsv"
    config = read_config(write(tmp_path / "c.yaml", ""), (manifests_setting("data.train", [odd]),))
    assert config.data.train == (odd,)


@pytest.mark.parametrize("key", [".".join(path) for path in PATHS])
def test_paths_of_settings_are_those_of_the_working_directory(
    key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = key in ("data.train", "data.dev", "data.records", "augment.noise.files")
    for name in ("conf", "here", "there"):
        (tmp_path / name).mkdir()
    file, setting = write(tmp_path / "conf/c.yaml", ""), f"{key}={'[a/b, ../c, /d]' if many else 'a/b'}"

    def given(config: RunConfig) -> list[str]:
        paths = attrgetter(key)(config)
        return [os.path.normpath(path) for path in (paths if many else [paths])]

    monkeypatch.chdir(tmp_path / "here")
    config, first = read_config(file, (setting,)), str(tmp_path / "here/a/b")
    assert given(config) == ([first, str(tmp_path / "c"), "/d"] if many else [first])
    write_config(config, tmp_path / "conf/run.yaml")
    monkeypatch.chdir(tmp_path / "there")
    again = read_config(Path("../conf/run.yaml"))
    assert given(again) == given(config) and not differences(again, config)
    # The same words mean other files here.
    assert differences(read_config(file, (setting,)), config) == [key]


def test_a_configuration_made_in_python_is_saved_with_absolute_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = from_dict({"data": {"train": ["a.tsv"]}, "train": {"init_from": "m"}})
    (tmp_path / "run").mkdir()
    write_config(config, tmp_path / "run/config.yaml")
    saved = read_config(tmp_path / "run/config.yaml")
    assert saved.data.train == (tmp_path / "a.tsv",) and saved.train.init_from == tmp_path / "m"
    assert not differences(saved, config)
    assert differences(saved, replace(config, train=TrainConfig(seed=2))) == ["train.init_from", "train.seed"]


def test_warmup_linear_in_closed_form() -> None:
    config = TrainConfig(learning_rate=1.0, min_learning_rate=0.1, warmup_steps=10)
    assert learning_rate(config, 0, 0.0) == pytest.approx(0.1)
    assert learning_rate(config, 4, 0.0) == pytest.approx(0.5)
    assert learning_rate(config, 100, 0.5) == pytest.approx(0.55)
    assert learning_rate(config, 100, 1.0) == learning_rate(config, 100, 7.0) == pytest.approx(0.1)
    constant = TrainConfig(learning_rate=1.0, schedule="constant", warmup_steps=0)
    assert learning_rate(constant, 0, 0.9) == 1.0
