"""The whole step of the LibriSpeech recipes under XLA, in every bucket: what compiling takes, and the loss it gives.

    python benchmarks/xla_buckets.py

`train.jit_compile` with the recipe's own options, against the same steps without it, from the same weights and batches
of a few rows, each as long as its bucket. Both must give one loss in each of ten steps, to 1e-4 of it, and learn. Ends
with status 1 where they do not. Seconds are those of this process's CPU.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import argparse
import time
from pathlib import Path
from typing import Any, NamedTuple

import librispeech

from asr_train.batches import Batch, Shape
from asr_train.devices import open_devices
from asr_train.state import TrainingState
from asr_train.steps import knobs_for, training_step

OUTPUT = Path(__file__).parent / "results" / "xla_buckets.md"
STEPS, WITHIN = 10, 1e-4
PART = 0.01
"""Of the recipe's learning rate: what it has in a hundredth of its warm-up, still more than in its first ten steps."""
HEADER = ("recipe", "frames", "labels", "compile, s", "without, s", "first loss", "last loss", "furthest apart")


class Trainer:
    """A recipe's step, with or without XLA, that can begin anew."""

    def __init__(self, recipe: str, *, jit_compile: bool) -> None:
        family, config = librispeech.family_of(recipe, {"jit_compile": jit_compile})
        self.config, self.state = config.train, TrainingState(family.model, config.train)
        self.state.begin_average()
        self.step = training_step(family, self.state, open_devices("cpu", "one"), fixed_shapes=True)
        self.first = self.state.arrays()

    def __call__(self, batch: Batch) -> tuple[list[float], float]:
        """The loss a label of each step, and the CPU seconds of the first step beyond those of the second."""
        self.state.assign(self.first)
        losses, spent, rate = [], [], PART * self.config.learning_rate
        for number in range(STEPS):
            before = time.process_time()
            outcome = self.step(batch, knobs_for(self.config, number), [rate, 0.0, 0.0, 0.0])
            spent.append(time.process_time() - before)
            losses.append(outcome.loss / outcome.labels)
        return losses, spent[0] - spent[1]


class Row(NamedTuple):
    """What was found of a bucket."""

    recipe: str
    shape: Shape
    compiling: float
    tracing: float
    losses: tuple[float, float]
    apart: float

    @property
    def passed(self) -> bool:
        return self.apart <= WITHIN and self.losses[1] < self.losses[0]

    @property
    def cells(self) -> list[str]:
        first, last = (f"{loss:.4f}" for loss in self.losses)
        seconds = [f"{self.compiling:.0f}", f"{self.tracing:.0f}"]
        told = f"{self.apart:.1g}" if self.passed else f"**{self.apart:.1g}**"
        return [self.recipe, str(self.shape.frames), str(self.shape.labels), *seconds, first, last, told]


def compare(recipe: str, rows: int, buckets: int) -> list[Row]:
    """The first so many buckets of a recipe, the shortest first."""
    plain, compiled = (Trainer(recipe, jit_compile=xla) for xla in (False, True))
    found = []
    for shape in sorted(librispeech.shapes(recipe), key=lambda shape: shape.frames)[:buckets]:
        batch = librispeech.batch_of(recipe, shape, rows)
        (expected, tracing), (got, compiling) = plain(batch), compiled(batch)
        apart = max(abs(a - b) / abs(a) for a, b in zip(expected, got, strict=True))
        found.append(Row(recipe, shape, compiling, tracing, (got[0], got[-1]), apart))
        print(" | ".join(found[-1].cells), flush=True)
    return found


def write(output: Path, found: list[Row], rows: int) -> None:
    import platform

    import tensorflow as tf

    import asr_train

    lines = [f"| {' | '.join(HEADER)} |", f"|---|{'--:|' * (len(HEADER) - 1)}"]
    lines += [f"| {' | '.join(row.cells)} |" for row in found]
    kept = sum(row.passed for row in found)
    parts = [
        "# The whole step under XLA, in every bucket of the LibriSpeech recipes",
        f"{rows} rows a batch; the loss a label of {STEPS} steps at {PART:g} of the recipe's rate, compiled and not; "
        "the furthest that one is from the other, in parts of it. CPU seconds: of the first step beyond the second.",
        "\n".join(lines),
        f"{kept} of {len(found)} keep the loss to {WITHIN:g}, and learn. asr-train {asr_train.__version__}, tensorflow "
        f"{tf.__version__}, {platform.system()} {platform.machine()}.",
    ]
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def main(arguments: Any = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", nargs="+", choices=librispeech.RECIPES, default=librispeech.RECIPES)
    parser.add_argument("--rows", type=int, default=2)
    parser.add_argument("--buckets", type=int, default=99, help="only the first so many; no table is written")
    given, _ = parser.parse_known_args(arguments)
    found = [row for recipe in given.recipes for row in compare(recipe, given.rows, given.buckets)]
    if given.buckets == 99 and len(given.recipes) == len(librispeech.RECIPES):
        write(OUTPUT, found, given.rows)
    return 0 if all(row.passed for row in found) else 1


if __name__ == "__main__":
    raise SystemExit(main())
