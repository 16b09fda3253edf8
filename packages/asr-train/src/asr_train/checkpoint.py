"""Whole-state checkpoints: everything that a run needs to go on, written atomically. Nothing here knows TensorFlow.

A checkpoint is a folder `step-N`: a safetensors file for each group of arrays (`model`, `optimizer`, and `ema` and
`scale` where there are such), `progress.json`, and the sums of them all. Seeds need no place in it: they are made of
the run's seed and the step.
"""

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

from asr_train.errors import UserError
from asr_train.files import Arrays, read_arrays, write_arrays, writing
from asr_train.folders import check_folder, recover, remove, whole_folder

FORMAT = 2
NEWEST = 2
"""So many are kept whatever their worth: if the newest turns out damaged, there is another."""


class Score(NamedTuple):
    """A validation; the smaller is the better."""

    wer: float
    loss: float
    step: int


@dataclass(kw_only=True)
class Progress:
    """Where a run is."""

    step: int = 0
    """Training steps made."""
    epoch: int = 0
    """Epochs finished."""
    batch: int = 0
    """Batches done of the epoch in progress: the position in the data."""
    seconds: float = 0.0
    """Time spent in training."""
    loss: float = 0.0
    """Sum of the losses of the epoch in progress."""
    tokens: float = 0.0
    """Number of labels under that sum."""
    scores: list[Score] = field(default_factory=list)
    """Of all validations, in their order."""
    schedule: dict[str, float] = field(default_factory=dict)
    """What a schedule remembers, such as that of the plateau."""
    averaged: bool = False
    """The run is over, and its checkpoints were averaged."""

    def validated(self, wer: float, loss: float) -> bool:
        """Note the scores at the end of an epoch; whether they are the best so far."""
        leads = not self.scores or (wer, loss) < min(self.scores)[:2]
        self.scores = [one for one in self.scores if one.step != self.step] + [Score(wer, loss, self.step)]
        return leads

    @property
    def stale(self) -> int:
        """How many validations there were after the best one."""
        return len(self.scores) - 1 - self.scores.index(min(self.scores)) if self.scores else 0

    def last(self, count: int) -> list[int]:
        """The steps at which the last epochs ended, oldest first."""
        return [one.step for one in self.scores[-count:]] if count else []

    def best(self, count: int) -> list[int]:
        """The steps of the best validations, best first."""
        return [one.step for one in sorted(self.scores)[:count]]


class Timer:
    """When the next checkpoint is due: after so many steps, or so many minutes of wall time."""

    def __init__(self, *, steps: int | None = None, minutes: float | None = None) -> None:
        self.steps, self.minutes, self.saved = steps, minutes, time.monotonic()

    def due(self, step: int) -> bool:
        """Whether to save after this step; if so, the minutes begin anew."""
        by_steps = self.steps is not None and step % self.steps == 0
        by_time = self.minutes is not None and time.monotonic() - self.saved >= 60 * self.minutes
        if by_steps or by_time:
            self.saved = time.monotonic()
        return by_steps or by_time


def save(
    folder: Path, groups: Mapping[str, Arrays], progress: Progress, *, keep_last: int = 1, keep_best: int = 0
) -> Path:
    """Write `folder/step-N`, and remove those that are of no more use; the newest two stay in any case.

    Args:
        folder: of the run's checkpoints; the run's own folder, its parent, must be there.
        groups: at least `model` and `optimizer`; arrays by name.
        progress: where the run is.
        keep_last: of so many last epochs, the ends are kept.
        keep_best: of so many best validations, those at which they were made are kept.

    Raises:
        UserError: the disk is full, read-only or gone. The other checkpoints are as they were.
    """
    target = path_of(folder, progress.step)
    before = names(folder)
    last = f"the last good checkpoint is {before[-1]}" if before else "there is no checkpoint yet"
    with writing(target, f"{last}; make room, or mend the disk, and continue with --resume"):
        folder.mkdir(exist_ok=True)  # but not its parent: a disk that is gone must not be written beside
        with whole_folder(target) as partial:
            for name, arrays in groups.items():
                write_arrays(partial / f"{name}.safetensors", arrays)
            values = {"format": FORMAT, **asdict(progress)}
            (partial / "progress.json").write_text(json.dumps(values), encoding="utf-8")
        _prune(folder, [*progress.last(keep_last), *progress.best(keep_best)])
    return target


def path_of(folder: Path, step: int) -> Path:
    """Where the checkpoint of a step is, if it is kept."""
    return folder / f"step-{step:08d}"


def names(folder: Path) -> list[str]:
    """The names of the checkpoints, oldest first."""
    return sorted(path.name for path in folder.glob("step-*"))


def _prune(folder: Path, worth: Sequence[int]) -> None:
    kept = {path_of(folder, step) for step in worth}
    for name in names(folder)[:-NEWEST]:
        if folder / name not in kept:
            remove(folder / name)
    for leftover in folder.glob(".step-*"):  # of processes that died
        shutil.rmtree(leftover, ignore_errors=True)


def newest(folder: Path) -> tuple[Path | None, list[str]]:
    """The newest checkpoint that is whole, and a word about each newer one that is not."""
    for old in folder.glob(".step-*.old"):
        recover(folder / old.name.removeprefix(".").removesuffix(".old"))
    complaints: list[str] = []
    for name in reversed(names(folder)):
        try:
            check_folder(folder / name, ("model.safetensors", "optimizer.safetensors", "progress.json"))
        except (UserError, OSError) as error:
            complaints.append(f"skipped a damaged checkpoint: {error}")
        else:
            return folder / name, complaints
    return None, complaints


def read(path: Path) -> tuple[dict[str, Arrays], Progress]:
    """The groups of arrays of a whole checkpoint, and where the run was.

    Raises:
        UserError: another version of asr-train wrote it.
    """
    values = json.loads((path / "progress.json").read_text(encoding="utf-8"))
    if values.pop("format", 1) != FORMAT:
        raise UserError(f"{path}: written by another version of asr-train; continue the run with that one")
    values["scores"] = [Score(*one) for one in values["scores"]]
    return {file.stem: read_arrays(file) for file in sorted(path.glob("*.safetensors"))}, Progress(**values)
