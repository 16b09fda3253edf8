"""What is settled about the data before training starts; nothing here loads TensorFlow."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asr_train.cache import DiskStore, MemoryStore
from asr_train.config import RunConfig, to_dict
from asr_train.config_file import from_dict, read_config
from asr_train.errors import UserError
from asr_train.feeding import dev_data, training_data
from asr_train.manifest import Utterance, read_manifest, write_manifest
from asr_train.run import fitting, prepare


def changed(config: RunConfig, **sections: dict[str, Any]) -> RunConfig:
    values = to_dict(config)
    return from_dict({name: {**value, **sections.get(name, {})} for name, value in values.items()})


@pytest.fixture
def spoilt(tiny_ctc: RunConfig, tmp_path: Path) -> RunConfig:
    """A training set of which one file is missing, one is empty, and one is cut short."""
    utterances = read_manifest(tiny_ctc.data.train[0])
    audio = [tmp_path / name for name in ("missing.flac", "empty.flac", "short.flac")]
    audio[1].write_bytes(b"")
    audio[2].write_bytes(utterances[7].audio.read_bytes()[:-2000])
    for n, path in zip((2, 5, 7), audio, strict=True):
        utterances[n] = dataclasses.replace(utterances[n], id=path.stem, audio=path)
    write_manifest(tmp_path / "train.tsv", utterances)
    return changed(tiny_ctc, data={"train": [str(tmp_path / "train.tsv")], "max_bad": 3})


@pytest.mark.parametrize("normalize", ["utterance", "global"])
def test_bad_files_are_listed_first_by_header_then_by_content(
    spoilt: RunConfig, tmp_path: Path, normalize: str
) -> None:
    run = prepare(changed(spoilt, data={"normalize": normalize}), tmp_path / "run")
    assert {entry.id for entry in run.quarantine.entries} == {"missing", "empty"} and len(run.train) == 22
    assert any("left out 2 utterances that are missing or broken" in note for note in run.notes)
    pipeline = training_data(run)
    rows = np.concatenate([batch.rows.numpy() for batch in pipeline(pipeline.plan())])
    assert (rows < 0).sum() == 1 and len(set(rows.tolist())) == 22
    listed = (tmp_path / "run/quarantine.tsv").read_text().splitlines()[1:]
    assert {line.split("\t")[0] for line in listed} == {"missing", "empty", "short"}
    again = prepare(changed(spoilt, data={"normalize": normalize}), tmp_path / "run", resume=True)
    assert again.quarantine.entries == run.quarantine.entries and again.train == run.train


def test_more_bad_files_than_allowed_end_the_run_before_it_begins(spoilt: RunConfig, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"train.tsv:4: .*missing.flac.* \(and 1 more; data.max_bad allows 1\)"):
        prepare(changed(spoilt, data={"max_bad": 1}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_long_utterances_are_cut_where_that_is_asked_for(tiny_ctc: RunConfig, tmp_path: Path) -> None:
    config = changed(tiny_ctc, data={"over_length": "slice", "max_seconds": 1.0}, tokenizer={"kind": "char"})
    run = prepare(
        dataclasses.replace(config, model=from_dict({"model": {"preset": "las-small"}}).model), tmp_path / "run"
    )
    assert len(run.train) == 24 and max(u.seconds or 0.0 for u in run.train) == 1.0
    assert any("utterances at 1 s" in note and "cut off" in note for note in run.notes)
    pipeline = training_data(run)
    frames = [int(n) for batch in pipeline(pipeline.plan()) for n in batch.feature_lengths]
    assert max(frames) == config.features.num_frames(8000)


def test_a_text_must_fit_at_the_highest_speed(tiny_ctc: RunConfig) -> None:
    tokenizer = prepare_tokenizer(tiny_ctc)
    # 50 frames, 25 after the stride: enough for 25 labels, at 1.25 times the speed for 20
    utterance = Utterance(id="a", audio=Path("a.flac"), text="one two three four five"[:23], seconds=0.515)
    easy = dataclasses.replace(utterance, id="b", text="one")
    assert len(fitting([utterance, easy], tiny_ctc, tokenizer)[0]) == 2
    fast = changed(tiny_ctc, augment={"speed": [1.0, 1.25]})
    assert [u.id for u in fitting([utterance, easy], fast, tokenizer)[0]] == ["b"]


def prepare_tokenizer(config: RunConfig) -> Any:
    from asr_train.run import make_tokenizer

    return make_tokenizer(config, read_manifest(config.data.train[0]))


def test_a_run_has_the_data_that_it_asks_for(tiny_ctc: RunConfig, tmp_path: Path) -> None:
    augment = {"speed": [0.9, 1.1], "spec_augment": "LD", "noise": {"probability": 0.2}}
    config = changed(tiny_ctc, augment=augment, data={"cache": "disk"})
    run = prepare(config, tmp_path / "run")
    train, dev = training_data(run), dev_data(run)
    assert (
        train.reader.store == DiskStore(tmp_path / "run/cache", config.features) and train.quarantine is run.quarantine
    )
    assert train.reader.noise is not None and train.shuffle and not dev.shuffle
    assert dev.reader.augment is dev.reader.store is None and len(dev.utterances) == 6
    other = training_data(run, quarantine=tmp_path / "run/quarantine-1.tsv").quarantine
    assert other is not None and other is not run.quarantine
    in_memory = dataclasses.replace(run, config=changed(config, data={"cache": "memory"}))
    assert isinstance(training_data(in_memory).reader.store, MemoryStore)


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(
        "data: {records: [r], cache_folder: c}\naugment: {noise: {files: [n.tsv]}}\ntokenizer: {path: t.model}\n"
    )
    config = read_config(tmp_path / "a.yaml")
    assert config.data.records == (tmp_path / "r",) and config.data.cache_folder == tmp_path / "c"
    assert config.augment.noise is not None and config.augment.noise.files == (tmp_path / "n.tsv",)
    assert config.tokenizer.path == tmp_path / "t.model"
    assert from_dict(to_dict(config)) == config


@pytest.mark.parametrize(
    ("section", "values", "told"),
    [
        ("augment", {"pitch": [3.0]}, "pitch is .*expected factors"),
        ("augment", {"gain": [3, -3]}, r"gain is \[3.0, -3.0\], expected the lowest and the highest"),
        ("augment", {"noise": {"snr": [5, 500]}}, "snr is"),
        ("augment", {"noise": {"probability": 2}}, "probability is 2.0"),
        ("augment", {"noise": {"kinds": []}}, "kinds is empty"),
        ("augment", {"noise": {"kinds": ["brown"]}}, "'white' or 'pink'"),
        ("augment", {"noise": {"ratio": 2}}, "unknown key 'ratio'"),
        ("data", {"train": ["a.tsv"], "records": ["b"]}, "both given"),
        ("data", {"max_bad": -1}, "max_bad is -1"),
        ("data", {"threads": 0}, "threads is 0"),
        ("data", {"cache": "ssd"}, "'none', 'memory' or 'disk'"),
    ],
)
def test_values_that_make_no_sense_are_refused(section: str, values: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=f"^{section}.*{told}"):
        from_dict({section: values})


def test_training_finishes_with_bad_files_and_lists_exactly_those(spoilt: RunConfig, tmp_path: Path) -> None:
    from asr_train.loop import train

    run = prepare(changed(spoilt, train={"epochs": 1}), tmp_path / "run")
    assert train(run, quiet=True) is not None
    listed = (tmp_path / "run/quarantine.tsv").read_text().splitlines()[1:]
    assert sorted(line.split("\t")[0] for line in listed) == ["empty", "missing", "short"]
