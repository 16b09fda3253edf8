"""The command line: wrong input ends in one line and status 2, and nothing is slow to say so."""

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr_train import model_dir, quickstart, recipes
from asr_train.cli import status
from asr_train.config import RunConfig
from asr_train.config_file import read_config
from asr_train.manifest import read_manifest
from asr_train.run import prepare


@pytest.fixture(scope="module")
def model(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from asr_train.config_file import from_dict
    from asr_train.loop import train

    from_conftest = {
        "features": {"preset": "kaldi-23", "sample_rate": 8000},
        "tokenizer": {"kind": "char"},
        "model": {"preset": "deepspeech2-small", "recurrent_layers": 1, "recurrent_units": 8},
        "data": {"train": [str(corpus / "train.tsv")], "dev": [str(corpus / "dev.tsv")]},
        "train": {"epochs": 1},
    }
    run = prepare(from_dict(from_conftest), tmp_path_factory.mktemp("model") / "run")
    train(run, quiet=True)
    return run.model


def refused(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 2) -> str:
    """The one line on standard error of a command that fails."""
    assert status([str(argument) for argument in arguments]) == code
    captured = capsys.readouterr()
    assert captured.err.startswith("asr-train: ") and captured.err.count("\n") == 1, captured.err
    return captured.err


def test_help_loads_nothing_and_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    code = (
        "import sys; from asr_train.cli import status; assert status(['--help']) == 0; "
        "loaded = {'numpy', 'tensorflow', 'pydantic', 'yaml', 'scipy'} & set(sys.modules); assert not loaded, loaded"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    for command in ("quickstart", "tokenizer", "train", "evaluate", "transcribe"):
        assert command in done.stdout
        assert status([command, "--help"]) == 0
        assert "Usage: asr-train" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "-c", "no-such", "-o", "x"],
        ["train", "-c", "digits-las", "--set", "model.droput=1", "-o", "x"],
        ["train", "-c", "digits-las", "--train", "none.tsv", "--dev", "none.tsv", "-o", "x"],
        ["evaluate", "none", "none.tsv"],
        ["transcribe", "none", "none.wav"],
    ],
)
def test_mistakes_are_told_before_tensorflow_is_loaded(arguments: list[str], tmp_path: Path) -> None:
    code = (
        f"import sys; from asr_train.cli import status; code = status({arguments!r}); "
        "assert 'tensorflow' not in sys.modules; sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert not (tmp_path / "x").exists()


def test_wrong_use(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "no such command 'trian'; the commands are quickstart, tokenizer, lm, records" in refused(capsys, "trian")
    assert "--output" in refused(capsys, "train", "-c", "digits-las")
    assert "--config is missing: give a YAML file or a recipe (" in refused(capsys, "train", "-o", tmp_path / "x")
    assert "no train manifest: give --train FILE" in refused(capsys, "train", "-c", "digits-las", "-o", tmp_path / "x")
    assert "No such option" in refused(capsys, "train", "--epochs", "3")
    assert "is not one of" in refused(capsys, "transcribe", "m", "a", "--format", "doc")


def test_missing_manifest_and_missing_audio(capsys: pytest.CaptureFixture[str], corpus: Path, tmp_path: Path) -> None:
    train = ("train", "-c", "digits-las", "-o", tmp_path / "run", "--dev", corpus / "dev.tsv", "--train")
    assert "none.tsv" in refused(capsys, *train, tmp_path / "none.tsv")
    (tmp_path / "bad.tsv").write_text("FilePath\tText\nnone.flac\tone two\n")
    told = refused(capsys, *train, tmp_path / "bad.tsv")
    assert "bad.tsv:2" in told and "none.flac" in told
    (tmp_path / "fake.wav").write_text("hello")
    (tmp_path / "bad.tsv").write_text("FilePath\tText\nfake.wav\tone two\n")
    told = refused(capsys, *train, tmp_path / "bad.tsv")
    assert "bad.tsv:2" in told and "fake.wav" in told
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("split", ["train", "dev"])
def test_audio_that_breaks_in_the_middle_of_training_is_one_line(
    capsys: pytest.CaptureFixture[str], corpus: Path, tmp_path: Path, split: str
) -> None:
    shutil.copytree(corpus, tmp_path / "corpus")
    path = tmp_path / f"corpus/{split}/00003.flac"
    path.write_bytes(path.read_bytes()[:-200])  # the header is whole, the end is missing
    command = [
        "train",
        "-c",
        "quickstart-deepspeech2",
        "-o",
        tmp_path / "run",
        *("--set", "model.recurrent_units=8", "--set", "model.recurrent_layers=1"),
    ]
    told = refused(capsys, *command, "--train", tmp_path / "corpus/train.tsv", "--dev", tmp_path / "corpus/dev.tsv")
    assert f"{split}.tsv:5" in told and "00003.flac" in told


def test_audio_that_breaks_while_a_normalisation_is_estimated_is_one_line(
    capsys: pytest.CaptureFixture[str], corpus: Path, tmp_path: Path
) -> None:
    shutil.copytree(corpus, tmp_path / "corpus")
    path = tmp_path / "corpus/train/00003.flac"
    path.write_bytes(path.read_bytes()[:-200])
    command = ["train", "-c", "quickstart-deepspeech2", "-o", tmp_path / "run", "--set", "data.normalize=global"]
    told = refused(capsys, *command, "--train", tmp_path / "corpus/train.tsv", "--dev", tmp_path / "corpus/dev.tsv")
    assert "train.tsv:5" in told and not (tmp_path / "run").exists()


def test_a_run_given_for_its_model_is_told_so(capsys: pytest.CaptureFixture[str], model: Path, corpus: Path) -> None:
    told = refused(capsys, "transcribe", model.parent, corpus / "test/00000.flac")
    assert f"did you mean {model}?" in told


@pytest.mark.parametrize("name", ["config.json", "weights.safetensors", "tokenizer.model", "SHA256SUMS"])
def test_a_model_folder_with_a_file_missing_or_altered(
    capsys: pytest.CaptureFixture[str], model: Path, corpus: Path, tmp_path: Path, name: str
) -> None:
    broken = tmp_path / "model"
    shutil.copytree(model, broken)
    (broken / name).write_bytes((broken / name).read_bytes().replace(b"0", b"1") + b" ")
    told = refused(capsys, "evaluate", broken, corpus / "test.tsv")
    assert "altered" in told or "SHA256SUMS" in told
    (broken / name).unlink()
    assert f"{name} is missing" in refused(capsys, "transcribe", broken, corpus / "test/00000.flac")


def test_a_config_that_was_resealed_is_still_checked(
    capsys: pytest.CaptureFixture[str], model: Path, corpus: Path, tmp_path: Path
) -> None:
    """Right sums, wrong content: nothing in the folder is trusted."""
    from asr_train.folders import whole_folder

    for change, message in (
        ({"format": 99}, "expected format 1, got 99"),
        ({"model": {"kind": "os.system"}}, "unknown kind 'os.system'"),
        ({"model": {"kind": "deepspeech2", "droput": 1}}, "did you mean 'dropout'"),
        ({"features": {}}, "kind is missing"),
        ({"decode": {"beam_size": 0}}, "beam_size is 0"),
        ({"model": {**json.loads((model / "config.json").read_text())["model"], "recurrent_layers": 2}}, "weight"),
    ):
        values = {**json.loads((model / "config.json").read_text()), **change}
        with whole_folder(tmp_path / "model") as folder:
            for path in model.iterdir():
                if path.name not in ("SHA256SUMS", "config.json"):
                    shutil.copy(path, folder)
            (folder / "config.json").write_text(json.dumps(values))
        assert message in refused(capsys, "evaluate", tmp_path / "model", corpus / "test.tsv")


def test_evaluate(capsys: pytest.CaptureFixture[str], model: Path, corpus: Path, tmp_path: Path) -> None:
    table = tmp_path / "table.tsv"
    assert status(["evaluate", str(model), str(corpus / "test.tsv"), "--json", "--output", str(table)]) == 0
    captured = capsys.readouterr()
    scores = json.loads(captured.out)
    assert captured.err == ""
    assert set(scores) >= {"utterances", "seconds", "wer", "cer", "real_time_factor"}
    assert set(scores["wer"]) == {"rate", "errors", "reference", "substitutions", "deletions", "insertions"}
    wer = scores["wer"]
    assert wer["rate"] == pytest.approx(wer["errors"] / wer["reference"])
    assert wer["errors"] == wer["substitutions"] + wer["deletions"] + wer["insertions"]
    rows = [line.split("\t") for line in table.read_text().splitlines()]
    assert len(rows) == 7 and sum(int(n) for row in rows[1:] for n in row[4:]) == wer["errors"]
    assert sum(len(row[1].split()) for row in rows[1:]) == wer["reference"]
    assert status(["evaluate", str(model), str(corpus / "test.tsv"), "--beam-size", "4"]) == 0
    assert "WER" in capsys.readouterr().out


def test_transcribe(capsys: pytest.CaptureFixture[str], model: Path, corpus: Path, tmp_path: Path) -> None:
    audio = [str(corpus / "test" / f"0000{n}.flac") for n in range(2)]
    assert status(["transcribe", str(model), audio[0]]) == 0
    text = capsys.readouterr().out
    assert text == model_dir.load(model).transcribe(audio[0]).text + "\n"
    assert status(["transcribe", str(model), *audio, "--format", "tsv"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == f"{audio[0]}\t{text.rstrip()}"
    assert status(["transcribe", str(model), *audio, "--format", "json", "--output-dir", str(tmp_path / "out")]) == 0
    assert json.loads((tmp_path / "out/00000.json").read_text())["text"] == text.rstrip("\n")


def test_two_files_of_one_name_are_not_written_over_each_other(
    capsys: pytest.CaptureFixture[str], model: Path, corpus: Path, tmp_path: Path
) -> None:
    audio = [corpus / "test/00000.flac", corpus / "dev/00000.flac"]
    told = refused(capsys, "transcribe", model, *audio, "--output-dir", tmp_path / "out")
    assert "would be written to one file" in told and not (tmp_path / "out").exists()


def test_transcribe_reads_any_rate_and_container(
    capsys: pytest.CaptureFixture[str], model: Path, corpus: Path, tmp_path: Path
) -> None:
    samples, rate = soundfile.read(corpus / "test/00000.flac")
    soundfile.write(tmp_path / "a.wav", np.stack([samples, samples], 1), rate, subtype="PCM_16")
    assert status(["transcribe", str(model), str(corpus / "test/00000.flac"), str(tmp_path / "a.wav")]) == 0
    lines = [line.split("\t")[1] for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == lines[1]


def test_transcribe_names_what_is_not_audio_and_does_the_rest(
    capsys: pytest.CaptureFixture[str], model: Path, corpus: Path, tmp_path: Path
) -> None:
    (tmp_path / "fake.wav").write_text("hello")
    told = refused(capsys, "transcribe", model, tmp_path / "fake.wav")
    assert "fake.wav" in told
    refused(capsys, "transcribe", model, tmp_path / "none.wav")
    good = corpus / "test/00000.flac"
    assert status(["transcribe", str(model), str(tmp_path / "fake.wav"), str(good)]) == 1
    captured = capsys.readouterr()
    assert "fake.wav" in captured.err and captured.err.count("\n") == 1
    assert captured.out.startswith(str(good))


def test_tokenizer(capsys: pytest.CaptureFixture[str], corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "tokens/char.model"
    assert status(["tokenizer", str(corpus / "train.tsv"), "--kind", "char", "--output", str(out)]) == 0
    assert "units from 24 texts" in capsys.readouterr().out
    from asr_train.tokenizer import Tokenizer

    tokenizer = Tokenizer.load(out)
    assert tokenizer.decode(tokenizer.encode("one two")) == "one two"
    assert "exists already" in refused(capsys, "tokenizer", corpus / "train.tsv", "--output", out)


def test_resume_needs_no_configuration(capsys: pytest.CaptureFixture[str], tiny_ctc: RunConfig, tmp_path: Path) -> None:
    one = dataclasses.replace(tiny_ctc, train=dataclasses.replace(tiny_ctc.train, epochs=1))
    prepare(one, tmp_path / "run")
    assert status(["train", "--resume", "--output", str(tmp_path / "run")]) == 0
    assert "epoch 1/1" in capsys.readouterr().out


@pytest.mark.parametrize("source", ["manifests", "records"])
def test_a_run_of_relative_paths_is_resumed_from_another_directory(
    capsys: pytest.CaptureFixture[str],
    corpus: Path,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    source: str,
) -> None:
    shutil.copytree(corpus, tmp_path / "here/corpus")
    shutil.copytree(model, tmp_path / "here/model")
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    changes = {"epochs": "1", "init_from": "model"}
    settings = [f"train.{key}={value}" for key, value in changes.items()]
    settings += ["model.recurrent_units=8", "model.recurrent_layers=1", "data.dev=[corpus/dev.tsv]"]
    if source == "records":
        options = ["--config", "quickstart-deepspeech2", "--shards", "1", "--output", "records"]
        assert status(["records", "corpus/train.tsv", *options]) == 0
        settings += ["data.records=[records]"]
    else:
        settings += ["data.train=[corpus/train.tsv]", "augment.noise.files=[corpus/test.tsv]", "data.cache=disk"]
        settings += ["data.cache_folder=cache", "tokenizer.path=model/tokenizer.model"]
    prepare(read_config(recipes.find("quickstart-deepspeech2"), tuple(settings)), Path("run"))
    monkeypatch.chdir(tmp_path / "there")
    assert status(["train", "--resume", "--output", "../here/run"]) == 0, capsys.readouterr().err
    assert "epoch 1/1" in capsys.readouterr().out and not list((tmp_path / "there").iterdir())
    assert (tmp_path / "here/cache").is_dir() == (source == "manifests")
    # The whole command is another one here, but for what it names by absolute paths.
    command = ["train", "--config", "quickstart-deepspeech2", "--resume", "--output", "../here/run"]
    told = refused(capsys, *command, *(part for setting in settings for part in ("--set", setting)))
    assert "data.dev" in told and "train.init_from" in told


def test_quickstart_refuses_a_folder_in_use(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    assert "not empty; choose another --output" in refused(capsys, "quickstart", "--output", tmp_path)


@pytest.mark.parametrize(("model", "language"), [("deepspeech2", "en"), ("las", "ko")])
def test_quickstart_runs_from_beginning_to_end(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model: str, language: str
) -> None:
    # One epoch of a narrow model; the learning is for the test of the whole repository.
    layers = {"deepspeech2": {"recurrent_layers": 1, "recurrent_units": 16}, "las": {"listener_units": 8}}
    small = ("train.epochs=1", *(f"model.{key}={value}" for key, value in layers[model].items()))
    monkeypatch.setattr(quickstart, "read_config", lambda path, settings: read_config(path, (*settings, *small)))
    output = tmp_path / "out"
    options = ["--model", model, "--language", language, "--utterances", "32"]
    assert status(["quickstart", "--output", str(output), *options]) == 0
    told = capsys.readouterr().out
    assert "2 utterances of voices that were not trained on" in told and "% of the test strings" in told
    speakers = {
        name: {u.speaker.split("+")[1] for u in read_manifest(output / f"corpus/{name}.tsv")}
        for name in ("train", "dev", "test")
    }
    assert not speakers["train"] & (speakers["dev"] | speakers["test"]) and not speakers["dev"] & speakers["test"]
    assert status(["transcribe", str(output / "run/model"), str(output / "corpus/test/00000.flac")]) == 0


def test_traceback_on_request(tmp_path: Path) -> None:
    from asr_train.errors import UserError

    with pytest.raises(UserError):
        status(["--traceback", "evaluate", str(tmp_path), str(tmp_path / "none.tsv")])
