"""Runs that are killed, stopped, or left without room, and what becomes of them."""

import dataclasses
import errno
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asr_train import checkpoint, model_dir
from asr_train.averaging import weights_of
from asr_train.config import RunConfig, TokenizerConfig
from asr_train.config_file import write_config
from asr_train.errors import UserError
from asr_train.files import read_arrays
from asr_train.run import prepare
from asr_train.stopping import Stopped

TOOLS = Path(__file__).resolve().parents[1] / "tools"


def train(config: RunConfig, output: Path, *, resume: bool = False) -> Any:
    from asr_train.loop import train

    return train(prepare(config, output, resume=resume), quiet=True)


def changed(config: RunConfig, **train: Any) -> RunConfig:
    return dataclasses.replace(config, train=dataclasses.replace(config.train, **train))


def newest(output: Path) -> Path:
    found, complaints = checkpoint.newest(output / "checkpoints")
    assert found is not None and not complaints
    return found


def log(output: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (output / "train.log").read_text(encoding="utf-8").splitlines()]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_runs_that_are_killed_end_with_the_bits_of_one_that_was_not(
    start: Callable[..., subprocess.Popen[str]], corpus: Path, tmp_path: Path
) -> None:
    shutil.copytree(corpus, tmp_path / "corpus")
    process = start([sys.executable, str(TOOLS / "kill_runs.py"), str(tmp_path), "--model", "both", "--runs", "1"])
    said = process.communicate(timeout=600)[0]
    assert process.returncode == 0, said
    assert all(f"{model}: 1 runs killed" in said for model in ("deepspeech2", "las")) and said.count("same bits") == 2


def test_the_tool_sees_a_bit_that_differs(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("kill_runs", TOOLS / "kill_runs.py")
    assert spec is not None and spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    sys.modules["kill_runs"] = tool
    spec.loader.exec_module(tool)
    weights = {"a": np.arange(4, dtype=np.float32), "b": np.zeros(2, np.float32)}
    before = tool.digest(weights)
    assert tool.digest(dict(reversed(weights.items()))) == before
    weights["a"][2] = np.nextafter(weights["a"][2], np.float32(9))
    assert tool.digest(weights) != before


def test_asked_to_stop_a_run_saves_the_step_it_is_at(
    start: Callable[..., subprocess.Popen[str]], tiny_ctc: RunConfig, tmp_path: Path
) -> None:
    # No other checkpoint is due for long.
    config = changed(tiny_ctc, epochs=1000, checkpoint_steps=10**6)
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, batch_seconds=2.5))
    write_config(config, tmp_path / "config.yaml")
    output, before = tmp_path / "run", dict[str, Any]()
    arguments = ["train", "--config", str(tmp_path / "config.yaml"), "--output", str(output)]
    command = [sys.executable, "-c", "from asr_train.cli import main; main()", *arguments]
    for number, status in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):
        begun = len(log(output)) if output.exists() else 0
        process = start(command, stderr=subprocess.PIPE)
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline:
            assert process.poll() is None, process.stderr and process.stderr.read()
            if (output / "train.log").exists() and any(line["event"] == "step" for line in log(output)[begun:]):
                break
            time.sleep(0.05)
        asked = time.monotonic()
        process.send_signal(number)
        said, complained = process.communicate(timeout=60)
        assert time.monotonic() - asked < 10
        assert process.returncode == status, complained
        assert complained.splitlines()[-1] == f"asr-train: stopped by {number.name}; continue with --resume"
        progress = json.loads((newest(output) / "progress.json").read_text())
        steps = [line["step"] for line in log(output) if line["event"] == "step"]
        assert progress["step"] >= steps[-1]
        if number == signal.SIGINT:
            assert f"resumed at step {before['step']}, epoch {before['epoch'] + 1}, batch {before['batch']}" in said
            assert progress["step"] > before["step"]
        before = progress
        if "--resume" not in command:
            refused = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
            assert refused.returncode == 2 and "already holds a run; add --resume" in refused.stderr
            command = [*command, "--resume"]


def test_asked_to_stop_while_it_validates(tiny_ctc: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from asr_train import scoring

    config, evaluate = changed(tiny_ctc, ema_decay=0.9, epochs=1, checkpoint_steps=10**6), scoring.evaluate

    def interrupted(*arguments: Any, **options: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return evaluate(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(scoring, "evaluate", interrupted)
        with pytest.raises(Stopped, match="SIGTERM") as raised:
            train(config, tmp_path / "run")
    assert raised.value.code == 143
    groups, progress = checkpoint.read(newest(tmp_path / "run"))
    assert progress.epoch == 0 and progress.batch == progress.step > 0 and not progress.scores
    # What is saved are the weights that were trained, not their moving average, which was being validated.
    assert any(not np.array_equal(groups["model"][name], groups["ema"][name]) for name in groups["ema"])
    assert train(config, tmp_path / "run", resume=True) is not None
    after, progress = checkpoint.read(newest(tmp_path / "run"))
    assert progress.epoch == 1 and progress.batch == 0
    for name, value in groups["model"].items():  # no step was made again, and none was lost
        np.testing.assert_array_equal(after["model"][name], value)


def test_a_disk_that_fills_up_ends_a_run_in_one_line(
    tiny_ctc: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, full = checkpoint.write_arrays, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def refuse(path: Path, arrays: Any) -> None:
        if "step-00000004" in str(path):
            write(path.with_name("half"), {"half": np.zeros(10)})
            raise full
        write(path, arrays)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "write_arrays", refuse)
        with pytest.raises(
            UserError, match="No space left on device; the last good checkpoint is step-00000002"
        ) as told:
            train(tiny_ctc, tmp_path / "run")
    assert "\n" not in str(told.value)
    assert log(tmp_path / "run")[-1]["error"].startswith("UserError: ")
    assert newest(tmp_path / "run").name == "step-00000002"
    assert train(tiny_ctc, tmp_path / "run", resume=True) is not None


def test_data_that_is_gone_ends_a_run_in_one_line(tiny_ctc: RunConfig, corpus: Path, tmp_path: Path) -> None:
    shutil.copytree(corpus, tmp_path / "corpus")
    folder = tmp_path / "corpus"
    data = dataclasses.replace(tiny_ctc.data, train=(folder / "train.tsv",), dev=(folder / "dev.tsv",))
    config = dataclasses.replace(changed(tiny_ctc, epochs=1), data=data)
    run = prepare(config, tmp_path / "run")
    shutil.rmtree(folder / "train")
    from asr_train.loop import train as train_run

    with pytest.raises(UserError, match=r"train.tsv:\d+: .*\.flac") as told:
        train_run(run, quiet=True)
    assert "\n" not in str(told.value)
    with pytest.raises(UserError, match=r"train.tsv:\d+: .*\.flac"):
        prepare(config, tmp_path / "run", resume=True)


def test_the_mean_of_the_last_epochs_is_tried(tiny_ctc: RunConfig, tmp_path: Path) -> None:
    base = tmp_path / "run"
    train(changed(tiny_ctc, epochs=3, keep_last=3, average="last", learning_rate=0.01, ema_decay=0.5), base)
    (event,) = [line for line in log(base) if line["event"] == "average"]
    _, progress = checkpoint.read(newest(base))
    assert progress.averaged and event["steps"] == progress.last(3) and len(progress.scores) == 3
    folders = [checkpoint.path_of(base / "checkpoints", step) for step in event["steps"]]
    mean = {name: np.mean([weights_of(f)[name] for f in folders], 0) for name in weights_of(folders[0])}
    best = min(progress.scores)
    assert event["taken"] == ((event["wer"], event["dev_loss"]) <= (round(best.wer, 6), round(best.loss, 6)))
    kept = read_arrays(base / "model/weights.safetensors")
    expected = mean if event["taken"] else weights_of(checkpoint.path_of(base / "checkpoints", best.step))
    for name, value in kept.items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-5, atol=1e-7, err_msg=name)


def test_a_new_vocabulary_on_old_weights(tiny: RunConfig, tmp_path: Path) -> None:
    from asr_train.training import Training

    base = tmp_path / "base"
    old = Training(prepare(changed(tiny, seed=7), base), quiet=True)  # first weights are weights too
    model_dir.save(base / "model", old.scores.recognizer, "")
    part = "recurrent_0*" if "deepspeech2" in type(tiny.model).__name__.lower() else "listener.*"
    other = TokenizerConfig(kind="unigram", vocab_size=24)
    config = dataclasses.replace(changed(tiny, epochs=1, init_from=base / "model", freeze=(part,)), tokenizer=other)
    train(config, tmp_path / "run")
    said = [line["text"] for line in log(tmp_path / "run") if line["event"] == "note"]
    assert any(text.startswith(f"started from {base / 'model'}: ") for text in said)
    assert any("units (the others start anew): " in text and "output/" in text for text in said)
    before, after = (
        read_arrays(base / "model/weights.safetensors"),
        checkpoint.read(newest(tmp_path / "run"))[0]["model"],
    )
    still = {name for name in before if name.startswith(part.rstrip("*"))}
    assert still
    for name in before:
        if name in still:
            np.testing.assert_array_equal(after[name], before[name], err_msg=name)
        elif after[name].shape == before[name].shape:
            assert not np.array_equal(after[name], before[name]), name
            if not name.endswith(("/mean", "/variance")):  # statistics follow the data at once
                np.testing.assert_allclose(after[name], before[name], atol=0.05, err_msg=name)  # a few steps away
    model_dir.check(tmp_path / "run/model")


def test_what_cannot_be_started_from_is_told(tiny_ctc: RunConfig, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="train.init_from: .*nowhere: no such folder"):
        prepare(changed(tiny_ctc, init_from=tmp_path / "nowhere"), tmp_path / "run")
    assert not (tmp_path / "run/config.yaml").exists()
    with pytest.raises(UserError, match=r"train.freeze: 'lisener\*' is no weight.* the parts are convolution_0, "):
        train(changed(tiny_ctc, freeze=("lisener*",)), tmp_path / "run")
