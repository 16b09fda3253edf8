"""Records: what is written is read back, by us and by plain tf.data; what is foreign is imported."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from asr_train.cache import Variant
from asr_train.cli import status
from asr_train.config import RunConfig, to_dict
from asr_train.config_file import from_dict, write_config
from asr_train.errors import UserError
from asr_train.feeding import training_data
from asr_train.manifest import read_manifest, write_manifest
from asr_train.recording import record, samples_of
from asr_train.records import open_records
from asr_train.run import prepare
from asr_train.tokenizer import Tokenizer


def changed(config: RunConfig, **sections: dict[str, Any]) -> RunConfig:
    values = to_dict(config)
    return from_dict({name: {**value, **sections.get(name, {})} for name, value in values.items()})


@pytest.fixture(scope="module")
def augmented(tiny_ctc: RunConfig) -> RunConfig:
    return changed(tiny_ctc, augment={"speed": [0.9, 1.1], "spec_augment": "LD"})


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "gzip"])
def folder(request: pytest.FixtureRequest, augmented: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("records") / "train"
    record(augmented.data.train, output, augmented, shards=3, compress=request.param)
    return output


def on_records(config: RunConfig, folder: Path) -> RunConfig:
    return changed(config, data={"train": [], "records": [str(folder)]})


def test_training_from_records_is_training_from_audio(augmented: RunConfig, folder: Path, tmp_path: Path) -> None:
    runs = [prepare(augmented, tmp_path / "a"), prepare(on_records(augmented, folder), tmp_path / "r")]
    assert runs[0].tokenizer == runs[1].tokenizer and [u.text for u in runs[0].train] == [u.text for u in runs[1].train]
    pipelines = [training_data(run) for run in runs]
    plans = [pipeline.plan(1) for pipeline in pipelines]
    batches = [list(p(planned, epoch=1)) for p, planned in zip(pipelines, plans, strict=True)]
    for a, b in zip(*batches, strict=True):
        assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def test_any_program_reads_the_files_as_tfrecords(augmented: RunConfig, folder: Path) -> None:
    """As the reference system does: parse_tensor of a pair of strings, then of each."""
    records = open_records([folder])
    about = json.loads((folder / "records.json").read_text())
    assert about["utterances"] == 24 and about["variants"] == [[0.9, 1.0], [1.1, 1.0]]
    paths = [str(path) for path in sorted(folder.glob("*.tfrecord"))]
    assert len(paths) == 3
    found = 0
    for content in tf.data.TFRecordDataset(paths, "GZIP" if about["gzip"] else ""):
        pair = tf.io.parse_tensor(content, tf.string)
        features, tokens = tf.io.parse_tensor(pair[0], tf.float32), tf.io.parse_tensor(pair[1], tf.int32).numpy()
        assert features.shape[1:] == (23, 1) and tokens[0] == 2 and tokens[-1] == 3
        assert records.tokenizer.decode(tokens[1:-1].tolist()) in {u.text for u in records.utterances}
        found += 1
    assert found == 48


def test_a_damaged_record_is_a_bad_utterance(augmented: RunConfig, folder: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    path = copy / "00001-of-00003.tfrecord"
    content = bytearray(path.read_bytes())
    records = open_records([copy])
    hit = {u.row: records.places[u.row][1][1] for u in records.utterances}
    place = hit[records.utterances[4].row]  # in shard 1
    content[place.offset + place.length // 2] ^= 1
    path.write_bytes(content)
    good = [u for u in records.utterances if u != records.utterances[4]]
    for utterance in good:
        records.read(utterance, Variant(speed=1.1))
    with pytest.raises(UserError, match=r"index.jsonl:5: .*00001-of-00003.tfrecord"):
        records.read(records.utterances[4], Variant(speed=1.1))
    path.unlink()
    with pytest.raises(UserError, match=r"index.jsonl:5: .*00001-of-00003.tfrecord"):
        records.read(records.utterances[4], Variant(speed=0.9))


@pytest.mark.parametrize(
    ("section", "values", "told"),
    [
        ("augment", {"speed": [1.0, 1.1]}, r"data.records lack the \(speed, pitch\) \[\(1.0, 1.0\)\]"),
        ("augment", {"gain": [-3, 3], "speed": [1.1]}, "need audio"),
        ("features", {"num_mels": 20}, "num_mels differ"),
        ("data", {"over_length": "slice"}, "cut differ"),
    ],
)
def test_records_made_otherwise_are_refused(
    augmented: RunConfig, folder: Path, tmp_path: Path, section: str, values: dict[str, Any], told: str
) -> None:
    config = on_records(augmented, folder)
    with pytest.raises(UserError, match=told):
        prepare(changed(config, **{section: {**to_dict(config)[section], **values}}), tmp_path / "run")


def test_what_is_no_folder_of_records_is_refused(augmented: RunConfig, tmp_path: Path) -> None:
    (tmp_path / "records.json").write_text('{"format": 9}')
    for folder, told in ((tmp_path / "none", "no folder of records"), (tmp_path, "records of format 9")):
        with pytest.raises(UserError, match=told):
            open_records([folder])
    with pytest.raises(UserError, match="exists already"):
        record(augmented.data.train, tmp_path, augmented)


def test_bad_files_are_left_out_of_records(augmented: RunConfig, tmp_path: Path) -> None:
    utterances = read_manifest(augmented.data.train[0])
    (tmp_path / "cut.flac").write_bytes(utterances[1].audio.read_bytes()[:500])
    broken = [utterances[0], dataclasses.replace(utterances[1], audio=tmp_path / "cut.flac"), *utterances[2:6]]
    broken[4] = dataclasses.replace(broken[4], audio=tmp_path / "gone.flac", id="gone")
    write_manifest(tmp_path / "train.tsv", broken)
    with pytest.raises(UserError, match="max_bad allows"):
        record([tmp_path / "train.tsv"], tmp_path / "out", augmented)
    assert not (tmp_path / "out").exists()
    (tmp_path / "out.quarantine.tsv").unlink()
    about = record([tmp_path / "train.tsv"], tmp_path / "out", changed(augmented, data={"max_bad": 2}))
    assert about["utterances"] == 4 == len(open_records([tmp_path / "out"]).utterances)
    lines = (tmp_path / "out.quarantine.tsv").read_text().splitlines()
    assert {line.split("\t")[0] for line in lines[1:]} == {broken[1].id, "gone"}


def foreign(path: Path, items: list[tuple[np.ndarray, list[int]]]) -> None:
    """A file as the reference system's `make_tfrecord` writes it."""
    contents = [
        tf.io.serialize_tensor(tf.stack([tf.io.serialize_tensor(f), tf.io.serialize_tensor(tf.constant(t, tf.int32))]))
        for f, t in items
    ]
    with tf.io.TFRecordWriter(str(path), "GZIP") as writer:
        for content in contents:
            writer.write(content.numpy())


def test_files_of_the_reference_system_are_imported(tiny_ctc: RunConfig, tmp_path: Path) -> None:
    texts = [u.text for u in read_manifest(tiny_ctc.data.train[0])][:5]
    tokenizer = Tokenizer.train(texts, kind="char")
    tokenizer.save(tmp_path / "tokenizer.model")
    rng = np.random.default_rng(0)
    items = [
        (rng.standard_normal((20 + n, 23, 1)).astype(np.float32), [2, *tokenizer.encode(text), 3])
        for n, text in enumerate(texts)
    ]
    foreign(tmp_path / "old.tfrecord", items)
    config = changed(tiny_ctc, tokenizer={"path": str(tmp_path / "tokenizer.model")})
    record([tmp_path / "old.tfrecord"], tmp_path / "new", config, shards=2)
    records = open_records([tmp_path / "new"])
    for utterance, (features, _), text in zip(records.utterances, items, texts, strict=True):
        assert utterance.text == text and np.array_equal(records.read(utterance, Variant()), features[:, :, 0])
        assert config.features.num_frames(round((utterance.seconds or 0.0) * 8000)) == len(features)

    with pytest.raises(UserError, match="tokenizer.path is missing"):
        record([tmp_path / "old.tfrecord"], tmp_path / "x", tiny_ctc)
    foreign(tmp_path / "wide.tfrecord", [(np.zeros((4, 40, 1), np.float32), [2, 3])])
    with pytest.raises(UserError, match=r"wide.tfrecord:1: expected features \(T, 23, 1\), got \(4, 40, 1\)"):
        record([tmp_path / "wide.tfrecord"], tmp_path / "x", config)
    for content in (b"\x1f\x8bnonsense", b"nonsense" * 10, (tmp_path / "old.tfrecord").read_bytes()[:-40]):
        (tmp_path / "bad.tfrecord").write_bytes(content)
        with pytest.raises(UserError, match=r"bad.tfrecord: no TFRecord file, or a damaged one"):
            record([tmp_path / "bad.tfrecord"], tmp_path / "x", config)
    assert not (tmp_path / "x").exists()


def test_samples_of_is_the_inverse_of_num_frames(tiny_ctc: RunConfig) -> None:
    for frames in (1, 2, 77, 1000):
        samples = samples_of(tiny_ctc.features, frames)
        assert tiny_ctc.features.num_frames(samples) == frames > tiny_ctc.features.num_frames(samples - 1)


def test_the_command(tiny_ctc: RunConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_config(tiny_ctc, tmp_path / "config.yaml")
    command = ["records", str(tiny_ctc.data.dev[0]), "--config", str(tmp_path / "config.yaml"), "--shards", "2"]
    assert status([*command, "--output", str(tmp_path / "out"), "--gzip"]) == 0
    assert "6 utterances" in capsys.readouterr().out
    assert status([*command, "--output", str(tmp_path / "out")]) == 2
    assert "exists already" in capsys.readouterr().err
