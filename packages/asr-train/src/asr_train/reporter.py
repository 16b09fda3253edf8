"""What a run tells: a bar or lines, `train.log`, and TensorBoard."""

import datetime
import sys
import time
from types import TracebackType
from typing import Any, Self

import tensorflow as tf
from tqdm import tqdm

from asr_train.checkpoint import Progress
from asr_train.evaluation import Evaluation
from asr_train.run import Run

SAMPLES = 3
SECONDS_BETWEEN_LINES = 30.0


class Reporter:
    """Opened for the time of a run; a terminal gets a bar, anything else a line now and then."""

    def __init__(self, run: Run, *, quiet: bool = False) -> None:
        self.run, self.quiet = run, quiet
        self.terminal = sys.stderr.isatty() and not quiet
        self.bar: Any = None
        self.spoke = time.perf_counter()

    def __enter__(self) -> Self:
        self.log = (self.run.output / "train.log").open("a", encoding="utf-8")
        self.board = tf.summary.create_file_writer(str(self.run.output / "logs"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.record(f"ended by {kind.__name__ if kind else ''}: {error}")
        if self.bar is not None:
            self.bar.close()
        self.board.close()
        self.log.close()

    def record(self, line: str) -> None:
        """Write to the log alone."""
        now = datetime.datetime.now().isoformat(timespec="seconds")
        self.log.write(f"{now} {line}\n")
        self.log.flush()

    def say(self, line: str) -> None:
        """Write to the log and to the screen."""
        self.record(line)
        if self.quiet:
            return
        if self.bar is not None:
            self.bar.clear()
        print(line, flush=True)

    def begin(self, model: Any, progress: Progress) -> None:
        """The first line."""
        hours = sum(u.seconds or 0.0 for u in self.run.train) / 3600
        self.say(
            f"{model.name}: {model.count_params():,} weights, {self.run.tokenizer.size} units; "
            f"{len(self.run.train)} utterances ({hours:.2f} h) to train on, {len(self.run.dev)} to validate"
        )
        if progress.step:
            self.say(f"resumed at step {progress.step}, epoch {progress.epoch + 1}, batch {progress.batch}")

    def step(self, progress: Progress, loss: float, rate: float, batches: int, utterances: int) -> None:
        """After every step."""
        epochs = self.run.config.train.epochs
        with self.board.as_default(step=progress.step):
            tf.summary.scalar("train/loss", loss)
            tf.summary.scalar("train/learning_rate", rate)
        if self.terminal:
            if self.bar is None:
                self.bar = tqdm(total=len(self.run.train), unit="utt", leave=False, dynamic_ncols=True)
            self.bar.set_description(f"epoch {progress.epoch + 1}/{epochs} loss {loss:.3f}", refresh=False)
            self.bar.update(utterances)
        elif time.perf_counter() - self.spoke > SECONDS_BETWEEN_LINES:
            self.spoke = time.perf_counter()
            self.say(
                f"epoch {progress.epoch + 1}/{epochs} batch {progress.batch}/{batches} "
                f"loss {progress.loss / progress.tokens:.3f} after {progress.seconds:.0f} s"
            )

    def epoch(self, progress: Progress, loss: float, result: Evaluation) -> None:
        """After every validation: scores and three transcripts."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None
        trained = progress.loss / max(progress.tokens, 1.0)
        with self.board.as_default(step=progress.step):
            for name, value in (("loss", loss), ("wer", result.words.rate), ("cer", result.characters.rate)):
                tf.summary.scalar(f"dev/{name}", value)
        self.board.flush()
        self.say(
            f"epoch {progress.epoch}/{self.run.config.train.epochs} step {progress.step}: loss {trained:.3f}, "
            f"dev loss {loss:.3f}, WER {result.words.rate:.2%}, CER {result.characters.rate:.2%} "
            f"({progress.seconds:.0f} s)"
        )
        spread = max(len(result.scored) // SAMPLES, 1)
        for one in result.scored[::spread][:SAMPLES]:
            self.say(f"  {one.utterance.id}\n    reference:  {one.utterance.text}\n    hypothesis: {one.hypothesis}")
