"""What a run tells of itself, and what it does when it cannot."""

import errno
import io
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asr_decoders import errors
from asr_train import reporter as module
from asr_train.checkpoint import Progress
from asr_train.config import RunConfig
from asr_train.errors import UserError
from asr_train.evaluation import Evaluation, Scored
from asr_train.reporter import Pace, Reporter
from asr_train.run import Run, prepare


@pytest.fixture
def run(tiny_ctc: RunConfig, tmp_path: Path) -> Run:
    return prepare(tiny_ctc, tmp_path / "run")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


class Model:
    name = "deepspeech2"

    def count_params(self) -> int:
        return 12345


def validation(run: Run) -> Evaluation:
    said = [(u, "one two") for u in run.dev]
    scored = [
        Scored(u, text, errors(u.text, text, unit="word"), errors(u.text, text, unit="character")) for u, text in said
    ]
    return Evaluation(tuple(scored), 1.0, 0.5)


def log(run: Run) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run.output / "train.log").read_text(encoding="utf-8").splitlines()]


def some_steps(reporter: Reporter, clock: list[float], progress: Progress, count: int = 8) -> None:
    for _ in range(count):
        clock[0] += 10.0
        progress.step, progress.batch = progress.step + 1, progress.batch + 1
        progress.loss, progress.tokens = progress.loss + 8.0, progress.tokens + 2.0
        rows = np.array([0, 1, 2, -1], np.int32)
        scalars = {"loss": 1.25, "learning_rate": 1e-3, "norm": float("nan")}
        reporter.step(progress, scalars, batches=8, part=progress.step / 16, rows=rows)


def test_the_pace_is_that_of_the_last_steps_and_the_rest_is_estimated() -> None:
    pace = Pace()
    pace.step(100.0, 4, 20.0, 0.5)
    assert (pace.utterances, pace.real_time, pace.left) == (0.0, 0.0, None)
    for n in range(1, 100):  # 2 s a step of 4 utterances and 20 s
        pace.step(100.0 + 2 * n, 4, 20.0, 0.5 + n / 1000)
    assert pace.utterances == pytest.approx(2.0) and pace.real_time == pytest.approx(0.1)
    assert pace.left == pytest.approx((0.5 - 0.099) * 2000)


def test_the_log_is_one_object_a_line(run: Run, clock: list[float]) -> None:
    progress = Progress(step=0)
    with Reporter(run, quiet=True) as reporter:
        reporter.begin(Model(), progress)
        some_steps(reporter, clock, progress)
        progress.epoch, progress.batch = 1, 0
        reporter.epoch(progress, 3.5, validation(run), {"padding": 0.08, "input_wait": 0.015})
    lines = log(run)
    assert [line["event"] for line in lines] == ["begin", *["step"] * 8, "epoch", *["sample"] * 3, "end"]
    assert all(re.match(r"20\d\d-.*T.*[+-]\d\d:\d\d$", line["time"]) for line in lines)
    assert lines[0]["weights"] == 12345 and lines[0]["train"] == 24
    step = lines[8]
    assert (step["step"], step["epoch"], step["batch"], step["loss"]) == (8, 1, 8, 1.25)
    assert step["norm"] is None  # JSON has no nan
    assert step["utterances_per_second"] == pytest.approx(0.3) and step["left"] == pytest.approx(80, rel=1e-4)
    audio = sum(u.seconds or 0.0 for u in run.train[:3])
    assert step["real_time_factor"] == pytest.approx(10 / audio, rel=1e-4)
    epoch, result = lines[9], validation(run)
    assert epoch["loss"] == 4.0 and epoch["dev_loss"] == 3.5 and epoch["padding"] == 0.08
    assert epoch["wer"] == pytest.approx(result.words.rate, rel=1e-5)
    assert epoch["cer"] == pytest.approx(result.characters.rate, rel=1e-5)
    assert lines[10]["reference"] == run.dev[0].text and lines[10]["hypothesis"] == "one two"
    assert lines[-1]["error"] is None


def test_quick_steps_do_not_fill_the_log(run: Run, clock: list[float]) -> None:
    progress = Progress()
    with Reporter(run, quiet=True) as reporter:
        for _ in range(100):
            clock[0] += 0.05
            progress.step, progress.batch = progress.step + 1, progress.batch + 1
            rows = np.arange(2, dtype=np.int32)
            reporter.step(progress, {"loss": 1.0}, batches=100, part=0.1, rows=rows)
    steps = [line["step"] for line in log(run) if line["event"] == "step"]
    assert 5 <= len(steps) <= 7 and steps[0] == 1 and steps[-1] == 100


def test_without_a_terminal_a_line_every_half_minute(
    run: Run, clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    progress = Progress()
    with Reporter(run) as reporter:
        some_steps(reporter, clock, progress)
        progress.epoch, progress.batch = 1, 0
        reporter.epoch(progress, 3.5, validation(run), {"padding": 0.08, "input_wait": 0.015})
    out = capsys.readouterr().out
    lines = [line for line in out.splitlines() if "utt/s" in line]
    assert [re.search(r"batch (\d)/8", line)[1] for line in lines] == ["3", "6"]  # type: ignore[index]
    assert lines[0].startswith("epoch 1/2 batch 3/8 loss 4.000, 0.3 utt/s, real-time factor ")
    assert lines[0].endswith("0:02:10 left")
    assert "dev loss 3.500, WER " in out and "padding 8.0%, input wait 1.5% (0 s)" in out
    assert out.count("reference:") == out.count("hypothesis:") == 3


def test_a_terminal_gets_a_bar_of_the_whole_run(run: Run, clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    with Reporter(run) as reporter:
        some_steps(reporter, clock, Progress())
    text = screen.getvalue()
    assert "epoch 1 loss 1.250" in text and "50%" in text and "0.3 utt/s" in text and "0:01:20 left" in text


def test_tensorboard_has_the_curves(run: Run, clock: list[float]) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    progress = Progress()
    with Reporter(run, quiet=True) as reporter:
        some_steps(reporter, clock, progress)
        reporter.epoch(progress, 3.5, validation(run), {"padding": 0.08})
    board = EventAccumulator(str(run.output / "logs"))
    board.Reload()
    tags = set(board.Tags()["tensors"])
    assert tags == {
        "train/loss",
        "train/learning_rate",
        "train/norm",
        "dev/loss",
        "dev/wer",
        "dev/cer",
        "epoch/padding",
    }
    assert [event.step for event in board.Tensors("train/loss")] == list(range(1, 9))


def test_others_than_the_chief_write_nothing(run: Run, clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(run.output.iterdir())
    with Reporter(run, chief=False) as reporter:
        reporter.begin(Model(), Progress(step=3))
        some_steps(reporter, clock, Progress())
        reporter.epoch(Progress(), 3.5, validation(run))
    assert sorted(run.output.iterdir()) == before and not capsys.readouterr().out


def test_the_end_says_why(run: Run) -> None:
    with pytest.raises(UserError, match="too bad"), Reporter(run, quiet=True):
        raise UserError("too bad")
    assert log(run)[-1]["event"] == "end" and log(run)[-1]["error"] == "UserError: too bad"


def test_a_full_disk_is_told_once_and_in_one_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    message = "run: cannot be written: No space left on device; make room"
    with pytest.raises(UserError, match=message) as raised, Reporter(run, quiet=True) as reporter:
        reporter.log.close()
        monkeypatch.setattr(reporter, "log", type("Full", (io.StringIO,), {"write": full})())
        reporter.say("hello")
    assert "\n" not in str(raised.value)
