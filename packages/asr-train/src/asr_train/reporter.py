"""What a run tells: a bar or lines, `train.log` in JSON lines, and TensorBoard."""

import contextlib
import datetime
import json
import os
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tqdm import tqdm

from asr_train.checkpoint import Progress
from asr_train.errors import UserError
from asr_train.evaluation import Evaluation
from asr_train.files import writing
from asr_train.run import Run

SAMPLES = 3
SECONDS_BETWEEN_LINES = 30.0
SECONDS_BETWEEN_RECORDS = 1.0
"""Of the steps of an epoch; a line for each step of a long run would fill a disk."""
SECONDS_BETWEEN_DRAWINGS = 0.2
STEPS_OF_PACE = 50
ADVICE = "make room, or mend the disk, and continue with --resume"


class Pace:
    """How fast a run is, by its last steps, and how long it will take."""

    def __init__(self) -> None:
        self.steps: deque[tuple[float, int, float]] = deque(maxlen=STEPS_OF_PACE + 1)
        self.first: tuple[float, float] | None = None
        self.utterances = self.real_time = 0.0
        """Utterances a second, and seconds of work for a second of audio."""
        self.left: float | None = None
        """Seconds until the run is over, validations included; unknown at first."""

    def step(self, now: float, utterances: int, seconds: float, part: float) -> None:
        """Count a step that ended at `now` with so many `seconds` of audio, when `part` (0 to 1) of the run is over."""
        self.steps.append((now, utterances, seconds))
        # The time of the oldest step ends where the others' begins.
        span = now - self.steps[0][0]
        counted = list(self.steps)[1:]
        if span > 0 and counted:
            self.utterances = sum(n for _, n, _ in counted) / span
            self.real_time = span / max(sum(s for _, _, s in counted), 1e-9)
        if self.first is None:
            self.first = (now, part)
        began, done = self.first
        if part > done:
            self.left = (now - began) * (1 - part) / (part - done)


class Reporter:
    """Opened for the time of a run; a terminal gets a bar, anything else a line now and then.

    Only the chief of several workers has something to say: the others write nothing.
    """

    def __init__(self, run: Run, *, quiet: bool = False, chief: bool = True) -> None:
        self.run, self.chief, self.quiet = run, chief, quiet or not chief
        self.terminal = sys.stderr.isatty() and not self.quiet
        self.bar: Any = None
        self.spoke = self.drew = time.monotonic()
        self.recorded = -SECONDS_BETWEEN_RECORDS
        self.pace = Pace()
        self.seconds = np.array([u.seconds or 0.0 for u in run.train])

    def __enter__(self) -> Self:
        with self._writing():
            self.log = (self.run.output / "train.log" if self.chief else Path(os.devnull)).open("a", encoding="utf-8")
            self.board = (
                tf.summary.create_file_writer(str(self.run.output / "logs"))
                if self.chief
                else tf.summary.create_noop_writer()
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.close()
        # A disk that is full has been told of already.
        with contextlib.suppress(UserError) if error is not None else contextlib.nullcontext():
            self.record("end", error=None if error is None else f"{type(error).__name__}: {error}")
        with contextlib.suppress(OSError, tf.errors.OpError):
            self.board.close()
        with contextlib.suppress(OSError):
            self.log.close()

    def record(self, event: str, **values: Any) -> None:
        """Write one JSON object to the log: the time, the event, and what belongs to it.

        Raises:
            UserError: the disk is full or gone.
        """
        now = datetime.datetime.now().astimezone().isoformat(timespec="milliseconds")
        with self._writing():
            self.log.write(json.dumps({"time": now, "event": event, **values}, ensure_ascii=False) + "\n")
            self.log.flush()

    def say(self, line: str) -> None:
        """Write to the log and to the screen."""
        self.record("note", text=line)
        self.show(line)

    def show(self, line: str) -> None:
        """Write to the screen alone."""
        if self.quiet:
            return
        if self.bar is not None:
            self.bar.clear()
        print(line, flush=True)

    def begin(self, model: Any, progress: Progress) -> None:
        """The first line."""
        hours, units, weights = float(self.seconds.sum()) / 3600, self.run.tokenizer.size, model.count_params()
        sets = {"train": len(self.run.train), "dev": len(self.run.dev)}
        self.record("begin", model=model.name, weights=weights, units=units, hours=round(hours, 4), **sets)
        self.show(
            f"{model.name}: {weights:,} weights, {units} units; "
            f"{sets['train']} utterances ({hours:.2f} h) to train on, {sets['dev']} to validate"
        )
        if progress.step:
            where = {"step": progress.step, "epoch": progress.epoch + 1, "batch": progress.batch}
            self.record("resume", **where)
            self.show(f"resumed at step {progress.step}, epoch {progress.epoch + 1}, batch {progress.batch}")

    def step(
        self, progress: Progress, scalars: Mapping[str, float], *, batches: int, part: float, rows: NDArray[np.int32]
    ) -> None:
        """After every step.

        Args:
            progress: where the run is, this step included.
            scalars: `loss` (a label) of the step, and whatever else is to be drawn, such as `learning_rate`.
            batches: of an epoch.
            part: of the run that is over, 0 to 1.
            rows: the utterances of the global batch; -1 is none.
        """
        now, rows = time.monotonic(), rows[rows >= 0]
        self.pace.step(now, len(rows), float(self.seconds[rows].sum()), part)
        self._draw("train", scalars, progress.step)
        if now - self.recorded >= SECONDS_BETWEEN_RECORDS or progress.batch == batches:
            self.recorded = now
            pace = {"utterances_per_second": self.pace.utterances, "real_time_factor": self.pace.real_time}
            self.record("step", **self._place(progress), **_rounded({**scalars, **pace, "left": self.pace.left}))
        if self.terminal and now - self.drew >= SECONDS_BETWEEN_DRAWINGS:
            self.drew = now
            self._draw_bar(f"epoch {progress.epoch + 1} loss {scalars['loss']:.3f}", part)
        elif not self.terminal and now - self.spoke >= SECONDS_BETWEEN_LINES:
            self.spoke = now
            mean = progress.loss / max(progress.tokens, 1.0)
            place = f"epoch {progress.epoch + 1}/{self.run.config.train.epochs} batch {progress.batch}/{batches}"
            self.show(f"{place} loss {mean:.3f}, {self._speed()}")

    def epoch(
        self, progress: Progress, loss: float, result: Evaluation, measures: Mapping[str, float] | None = None
    ) -> None:
        """After every validation: scores, three transcripts, and what was measured of the epoch, such as `padding`."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None
        trained = progress.loss / max(progress.tokens, 1.0)
        wer, cer, measures = result.words.rate, result.characters.rate, dict(measures or {})
        self._draw("dev", {"loss": loss, "wer": wer, "cer": cer}, progress.step)
        self._draw("epoch", measures, progress.step)
        with self._writing():
            self.board.flush()
        scores = _rounded({"loss": trained, "dev_loss": loss, "wer": wer, "cer": cer, **measures})
        self.record("epoch", epoch=progress.epoch, step=progress.step, seconds=round(progress.seconds, 3), **scores)
        told = "".join(f", {name.replace('_', ' ')} {value:.1%}" for name, value in measures.items())
        self.show(
            f"epoch {progress.epoch}/{self.run.config.train.epochs} step {progress.step}: loss {trained:.3f}, "
            f"dev loss {loss:.3f}, WER {wer:.2%}, CER {cer:.2%}{told} ({progress.seconds:.0f} s)"
        )
        spread = max(len(result.scored) // SAMPLES, 1)
        for one in result.scored[::spread][:SAMPLES]:
            sample = {"id": one.utterance.id, "reference": one.utterance.text, "hypothesis": one.hypothesis}
            self.record("sample", step=progress.step, **sample)
            self.show(f"  {one.utterance.id}\n    reference:  {one.utterance.text}\n    hypothesis: {one.hypothesis}")

    def average(self, steps: Sequence[int], loss: float, result: Evaluation, *, taken: bool) -> None:
        """After the mean of checkpoints was tried."""
        wer, cer = result.words.rate, result.characters.rate
        self.record("average", steps=list(steps), taken=taken, **_rounded({"dev_loss": loss, "wer": wer, "cer": cer}))
        verdict = "it is the recogniser" if taken else "the best one stays"
        self.show(f"mean of {len(steps)} checkpoints: dev loss {loss:.3f}, WER {wer:.2%}, CER {cer:.2%}; {verdict}")

    def _place(self, progress: Progress) -> dict[str, int]:
        return {"step": progress.step, "epoch": progress.epoch + 1, "batch": progress.batch}

    def _draw(self, group: str, scalars: Mapping[str, float], step: int) -> None:
        with self._writing(), self.board.as_default(step=step):
            for name, value in scalars.items():
                tf.summary.scalar(f"{group}/{name}", value)

    def _draw_bar(self, text: str, part: float) -> None:
        if self.bar is None:
            form = "{desc} |{bar}| {percentage:3.0f}% {postfix}"
            self.bar = tqdm(total=1.0, bar_format=form, leave=False, dynamic_ncols=True)
        self.bar.n = part
        self.bar.set_description_str(text, refresh=False)
        self.bar.postfix = self._speed()
        self.bar.refresh()

    def _speed(self) -> str:
        left = "" if self.pace.left is None else f", {datetime.timedelta(seconds=round(self.pace.left))} left"
        return f"{self.pace.utterances:.1f} utt/s, real-time factor {self.pace.real_time:.3g}{left}"

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        with writing(self.run.output, ADVICE):
            try:
                yield
            except tf.errors.OpError as error:  # of TensorBoard's files
                raise OSError(None, error.message) from None


def _rounded(values: Mapping[str, float | None]) -> dict[str, float | None]:
    """To six digits, and what JSON has no number for as null."""
    return {
        name: None if value is None or not np.isfinite(value) else float(f"{value:.6g}")
        for name, value in values.items()
    }
