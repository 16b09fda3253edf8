import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr_train.errors import UserError
from asr_train.manifest import Utterance, check_disjoint, measure, read_manifest, write_manifest

DATA = Path(__file__).resolve().parents[3].parent / "shared" / "data"


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def tone(path: Path, seconds: float, rate: int = 16000) -> Path:
    samples = 0.1 * np.sin(np.arange(round(seconds * rate)) * 0.1)
    soundfile.write(path, samples.astype(np.float32), rate)
    return path


def failure(call, *arguments) -> str:
    """The message of the UserError that a call raises: one line, by the law of the house."""
    with pytest.raises(UserError) as caught:
        call(*arguments)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_tsv(tmp_path):
    path = write(tmp_path / "train.tsv", "FilePath\tText\na/b.flac\tHELLO THERE\n/c.wav\t\n")
    first, second = read_manifest(path)
    assert first == Utterance(id="a/b.flac", audio=tmp_path / "a" / "b.flac", text="HELLO THERE")
    assert (second.audio, second.text, second.seconds, second.speaker) == (Path("/c.wav"), "", None, "")
    assert [first.row, second.row] == [f"{path}:2", f"{path}:3"]


def test_tsv_columns_go_by_name(tmp_path):
    header = "Speaker\tSECONDS\ttext\tMood\tFilePath\tid\n"
    rows = "anna\t1.25\thi\tglad\tx.wav\tu1\n\t\tho\t\ty.wav\t"
    found = read_manifest(write(tmp_path / "m.tsv", header + rows))
    assert found == [
        Utterance(id="u1", audio=tmp_path / "x.wav", text="hi", seconds=1.25, speaker="anna"),
        Utterance(id="y.wav", audio=tmp_path / "y.wav", text="ho"),
    ]


def test_tsv_of_windows_and_of_unicode(tmp_path):
    # A byte order mark, CRLF, an empty line; quotes and Unicode's line separators are text.
    text = '"say" 공\u2028\x85일'
    path = write(tmp_path / "m.tsv", f"\ufeffFilePath\tText\r\na.wav\t{text}\r\n\r\nb.wav\t이\r\n")
    first, second = read_manifest(path)
    assert (first.id, first.text, second.id, second.text) == ("a.wav", text, "b.wav", "이")
    assert second.row == f"{path}:4"


def test_json_lines_of_nemo(tmp_path):
    rows = [
        {"audio_filepath": "a.wav", "text": "one\ttwo", "duration": 2, "lang": "en", "offset": 0},
        {"audio_filepath": "/b.wav", "text": "", "id": 7, "speaker": "anna", "duration": None},
    ]
    path = write(tmp_path / "m.json", "".join(json.dumps(row) + "\n" for row in rows))
    assert read_manifest(path) == [
        Utterance(id="a.wav", audio=tmp_path / "a.wav", text="one\ttwo", seconds=2.0),
        Utterance(id="7", audio=Path("/b.wav"), text="", speaker="anna"),
    ]


@pytest.mark.parametrize("suffix", [".tsv", ".jsonl", ".json"])
def test_what_is_written_is_read(tmp_path, suffix):
    rng = np.random.default_rng(1)
    letters = list("abc  \"'\\공일{}[],:é\u2028\x85\x0b")
    utterances = [
        Utterance(
            id=f"id {n}" if n % 3 else f"sub/{n}.wav",
            audio=tmp_path / f"sub/{n}.wav" if n % 2 else Path(f"/elsewhere/{n}.wav"),
            text="".join(rng.choice(letters, 12)),
            seconds=None if n % 4 == 0 else float(rng.uniform(0.1, 20)),
            speaker="" if n % 5 == 0 else f"s{n}",
        )
        for n in range(60)
    ]
    path = tmp_path / f"new/../m{suffix}"
    write_manifest(path, utterances)
    found = read_manifest(path)
    assert [dataclasses.replace(u, audio=Path(os.path.abspath(u.audio))) for u in found] == utterances


def test_written_paths_are_relative_inside_the_folder_only(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    inside = Utterance(id="1", audio=Path("out/audio/a.flac"), text="x")
    outside = Utterance(id="2", audio=Path("b.flac"), text="y")
    write_manifest("out/m.tsv", [inside, outside])
    rows = f"audio/a.flac\tx\t1\n{tmp_path}/b.flac\ty\t2\n"
    assert Path("out/m.tsv").read_text() == "FilePath\tText\tId\n" + rows


def test_a_failed_write_leaves_the_old_manifest(tmp_path):
    path = tmp_path / "m.tsv"
    good = Utterance(id="a.wav", audio=tmp_path / "a.wav", text="x")
    write_manifest(path, [good])
    old = path.read_bytes()
    for bad in (
        [dataclasses.replace(good, text="x\ty")],
        [dataclasses.replace(good, text="x\r")],
        [good, good],
        [dataclasses.replace(good, audio=tmp_path / os.fsdecode(b"\xe9.wav"))],
    ):
        assert str(path) in failure(write_manifest, path, bad)
    assert path.read_bytes() == old
    assert [file.name for file in tmp_path.iterdir()] == ["m.tsv"]


TSV = "FilePath\tText\n"
JSON = '{"audio_filepath": "a", "text": "x", '


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("m.tsv", "", ["m.tsv", "FilePath"]),
        ("m.tsv", "\n\n", ["m.tsv", "FilePath"]),
        ("m.tsv", TSV, ["m.tsv", "no utterances"]),
        ("m.tsv", "a.wav\thi\nb.wav\tyou\n", ["m.tsv:1", "header", "FilePath", "a.wav, hi"]),
        ("m.tsv", "FilePath\tTranscript\na\tb\n", ["m.tsv:1", "Text", "FilePath, Transcript"]),
        ("m.tsv", "FilePath\tText\ttext\na\tb\tc\n", ["m.tsv:1", "one column Text"]),
        ("m.tsv", TSV + "a.wav\tx\nb.wav\n", ["m.tsv:3", "2 fields", "got 1"]),
        ("m.tsv", TSV + "a.wav\tx\ty\n", ["m.tsv:2", "2 fields", "got 3"]),
        ("m.tsv", TSV + "\thello\n", ["m.tsv:2", "path"]),
        ("m.tsv", TSV + "a\0.wav\thello\n", ["m.tsv:2", "path"]),
        ("m.tsv", TSV + "a.wav\tx\na.wav\ty\n", ["m.tsv:3", "'a.wav'", "m.tsv:2"]),
        ("m.tsv", "FilePath\tText\tSeconds\na\tb\tlong\n", ["m.tsv:2", "seconds", "'long'"]),
        ("m.tsv", "FilePath\tText\tSeconds\na\tb\tnan\n", ["m.tsv:2", "seconds", "'nan'"]),
        ("m.tsv", "FilePath\tText\tSeconds\na\tb\t-1\n", ["m.tsv:2", "seconds", "'-1'"]),
        ("m.tsv", TSV.encode() + b"a.wav\tx\nb.wav\tn\xe9", ["m.tsv:3", "UTF-8", "0xe9"]),
        ("m.tsv", (TSV + "a.wav\tx\n").encode("utf-16"), ["m.tsv:1", "UTF-8"]),
        ("m.csv", TSV + "a.wav\tx\n", ["m.csv", ".tsv, .jsonl"]),
        ("m.jsonl", "", ["m.jsonl", "no utterances"]),
        ("m.jsonl", "{\n", ["m.jsonl:1", "JSON object a line"]),
        ("m.jsonl", "[]\n", ["m.jsonl:1", "JSON object a line", "list"]),
        ("m.jsonl", "[" * 100_000, ["m.jsonl:1", "JSON object a line"]),
        ("m.jsonl", '{"audio_filepath": "a.wav", "text": "\\ud800"}', ["m.jsonl:1", "surrogates"]),
        ("m.jsonl", '{"audio_filepath": "a.wav"}', ["m.jsonl:1", "text", "audio_filepath"]),
        ("m.jsonl", '{"audio_filepath": 3, "text": "x"}', ["m.jsonl:1", "audio_filepath", "3"]),
        ("m.jsonl", JSON + '"duration": true}', ["m.jsonl:1", "seconds", "True"]),
        ("m.jsonl", JSON + '"duration": 1e999}', ["m.jsonl:1", "seconds", "inf"]),
        ("m.jsonl", JSON + f'"duration": 1{"0" * 400}}}', ["m.jsonl:1", "seconds"]),
        ("m.jsonl", JSON + '"speaker": []}', ["m.jsonl:1", "speaker", "[]"]),
        ("m.jsonl", JSON + '"offset": 1.5}', ["m.jsonl:1", "offset"]),
    ],
)
def test_what_is_wrong_with_a_manifest(tmp_path, name, content, said):
    message = failure(read_manifest, write(tmp_path / name, content))
    assert all(part in message for part in said), message


def test_no_manifest(tmp_path):
    assert "no such manifest" in failure(read_manifest, tmp_path / "none.tsv")
    (tmp_path / "folder.tsv").mkdir()
    assert "directory" in failure(read_manifest, tmp_path / "folder.tsv")


def test_measure_reads_headers(tmp_path):
    tone(tmp_path / "a.wav", 1.5)
    tone(tmp_path / "b.flac", 0.25, 8000)
    (tmp_path / "c.pcm").write_bytes(bytes(2 * 4000 + 1))  # 16 kHz, and the odd byte of KsponSpeech
    tone(tmp_path / "d.wav", 1)
    path = write(
        tmp_path / "m.tsv",
        "FilePath\tText\tSeconds\na.wav\tx\t\nb.flac\tx\t\nc.pcm\tx\t\nd.wav\tx\t9\n",
    )
    before = read_manifest(path)
    after = measure(before)
    assert [u.seconds for u in after] == [1.5, 0.25, 0.25, 9.0]  # what the manifest says is not asked again
    assert [dataclasses.replace(u, seconds=None) for u in after] == [
        dataclasses.replace(u, seconds=None) for u in before
    ]
    assert [u.seconds for u in before] == [None, None, None, 9.0]


def test_measure_names_the_first_bad_file_and_counts_the_others(tmp_path):
    tone(tmp_path / "a.wav", 1)
    write(tmp_path / "b.wav", "no audio at all")
    rows = ["a.wav\tx\t", "b.wav\tx\t", "c.wav\tx\t", "d.wav\tx\t3.5", "e" * 400 + "\tx\t1"]
    path = write(tmp_path / "m.tsv", "\n".join(["FilePath\tText\tSeconds", *rows]))
    message = failure(measure, read_manifest(path))
    assert f"{path}:3" in message and str(tmp_path / "b.wav") in message and "3 more" in message
    message = failure(measure, read_manifest(path)[2:3])
    assert f"{path}:4" in message and str(tmp_path / "c.wav") in message and "more" not in message
    message = failure(measure, [Utterance(id="u9", audio=tmp_path, text="")])
    assert message.startswith("u9: ")


def test_train_and_dev_must_be_apart(tmp_path):
    tone(tmp_path / "a.wav", 1)
    (tmp_path / "link.wav").symlink_to(tmp_path / "a.wav")
    (tmp_path / "sub").mkdir()
    train = read_manifest(write(tmp_path / "train.tsv", TSV + "a.wav\tx\nb.wav\tx\n"))
    apart = read_manifest(write(tmp_path / "dev.tsv", TSV + "c.wav\tx\n"))
    check_disjoint(train, apart)
    assert "1 more" in failure(check_disjoint, train, train)
    for same in ("sub/../a.wav", "link.wav"):
        dev = read_manifest(write(tmp_path / "dev.tsv", f"{TSV}c.wav\tx\n{same}\tx\n"))
        message = failure(check_disjoint, train, dev)
        assert f"{tmp_path}/dev.tsv:3" in message and f"{tmp_path}/train.tsv:2" in message


def test_real_manifests():
    if not DATA.exists():
        pytest.skip("needs ../shared/data")
    train, dev = (measure(read_manifest(DATA / f"an4-{name}.tsv")) for name in ("train", "dev"))
    check_disjoint(train, dev)
    assert (len(train), len(dev)) == (845, 103)
    for utterance in dev[:5]:
        samples, rate = soundfile.read(utterance.audio)
        assert utterance.seconds == len(samples) / rate


def test_data_modules_load_no_tensorflow():
    modules = "asr_train.manifest, asr_train.tokenizer, asr_train.corpora.synth"
    code = f"import sys, {modules}; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
