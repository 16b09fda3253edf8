"""Lowers the whole training step of the LibriSpeech recipes for a TPU, on a machine that has none.

    nox -s tpu-lowering

It is the step that `asr-train train` runs: the recipe's model and losses, gradients, loss scaling, clipping by the
common norm, the optimizer, the moving average, and the skipping of what is no number. Each recipe is lowered for every
bucket, and for one of them in every precision and with every optimizer. What is needed, and what is found, is told by
`packages/asr-models/tpu/lower.py`, whose eyes this borrows; beside `tensorflow-tpu` it needs what asr-train needs.

A variable lives on a device, and there is none to lower for: all of them come in as tensors here, and go out as they
are afterwards. So the optimizers' kernels, which change variables in place, are replaced by their arithmetic; that a
TPU has them is asked of each alone.
"""

import argparse
import datetime
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
PACKAGES = Path(__file__).resolve().parents[2]
BENCHMARKS = PACKAGES / "asr-train" / "benchmarks"
sys.path[:0] = [str(PACKAGES / f"asr-{name}" / "src") for name in ("train", "models", "decoders", "features")]
sys.path[:0] = [str(PACKAGES / "asr-models" / "tpu"), str(BENCHMARKS)]

import librispeech  # noqa: E402, of the benchmarks: the buckets
import lower as bridge  # noqa: E402
import programs  # noqa: E402

OUTPUT = BENCHMARKS / "results" / "tpu_lowering.md"
ROWS = 8
VARIANTS: dict[str, dict[str, Any]] = {
    "bfloat16": {"precision": "bfloat16"},
    "float16 with loss scaling": {"precision": "float16"},
    "AdamW": {"optimizer": "adamw", "weight_decay": 1e-4},
    "SGD with momentum": {"optimizer": "sgd"},
    "two batches an update": {"accumulate": 2},
    "weight noise": {"weight_noise": 0.05},
}
"""Beside float32 with Adam: what is changed."""
KERNELS: dict[str, dict[str, Any]] = {
    "ResourceApplyAdam": dict.fromkeys(("beta1_power", "beta2_power", "lr", "beta1", "beta2", "epsilon"), 0.5),
    "ResourceApplyMomentum": {"lr": 0.5, "momentum": 0.5},
}
PLACES = {"ResourceApplyAdam": ("var", "m", "v"), "ResourceApplyMomentum": ("var", "accum")}


def adam(*, var: Any, m: Any, v: Any, lr: Any, grad: Any, **given: Any) -> None:
    """What ResourceApplyAdam does, by its documentation."""
    import tensorflow as tf

    rate = lr * tf.sqrt(1 - given["beta2_power"]) / (1 - given["beta1_power"])
    m.assign(given["beta1"] * m + (1 - given["beta1"]) * grad)
    v.assign(given["beta2"] * v + (1 - given["beta2"]) * tf.square(grad))
    var.assign_sub(rate * m / (tf.sqrt(v) + given["epsilon"]))


def momentum(*, var: Any, accum: Any, lr: Any, grad: Any, momentum: float) -> None:
    """What ResourceApplyMomentum does, by its documentation."""
    accum.assign(momentum * accum + grad)
    var.assign_sub(lr * accum)


def training_step(recipe: str, shape: Any, changes: dict[str, Any]) -> programs.Lowered:
    """The step of a replica, of a batch with these sizes."""
    import tensorflow as tf
    from keras import Variable

    from asr_train import steps
    from asr_train.batches import Batch

    family, config = librispeech.family_of(recipe, {"ema_decay": 0.999, **changes})
    state = state_of_tensors(family.model, config.train)
    step = steps.replica_step(family, state)
    variables: list[Variable] = [v for group in state.groups().values() for v in group.values()]

    def run(*arguments: Any) -> Any:
        with without_places(variables):
            return step(Batch(*arguments[:5]), *arguments[5:])

    lengths = tf.TensorSpec([ROWS], tf.int32)
    features = tf.TensorSpec([ROWS, shape.frames, config.features.dim])
    batch = [features, lengths, tf.TensorSpec([ROWS, shape.labels], tf.int32), lengths, lengths]
    told = [tf.TensorSpec([4]), tf.TensorSpec([2], tf.int32), tf.TensorSpec([3])]
    return programs.pure(run, variables, [*batch, *told])


def state_of_tensors(model: Any, config: Any) -> Any:
    """A `TrainingState` of Keras' variables: in a stateless scope these are tensors."""
    import keras

    from asr_train.state import TrainingState

    class State(TrainingState):
        def __init__(self) -> None:
            super().__init__(model, config)
            own = {variable.path: variable for variable in model.variables}
            self.everything = dict(own)
            self.weights, self.statistics = (
                {name: own[name] for name in group} for group in (self.weights, self.statistics)
            )
            self.slots = {name: tuple(map(self._as_keras, of)) for name, of in self.slots.items()}
            self.ema, self.gathered, self.counters = (
                {name: self._as_keras(v) for name, v in group.items()}
                for group in (self.ema, self.gathered, self.counters)
            )

        @staticmethod
        def _as_keras(variable: Any) -> Any:
            return keras.Variable(variable.numpy(), dtype=variable.dtype.name, trainable=False)

        def sources(self) -> list[Any]:
            return [variable.value for variable in self.weights.values()]

    return State()


@contextmanager
def without_places(variables: list[Any]) -> Iterator[None]:
    """Inside the block nothing is changed in place: branches give what they changed, and optimizers calculate."""
    import keras
    import tensorflow as tf

    branches = tf.cond

    def cond(wanted: Any, yes: Callable[[], Any], no: Callable[[], Any]) -> Any:
        before = [variable.value for variable in variables]

        def changed(branch: Callable[[], Any]) -> tuple[Any, list[Any]]:
            given = branch()
            after = [variable.value for variable in variables]
            for variable, value in zip(variables, before, strict=True):
                variable.assign(value)
            return given, after

        given, after = branches(wanted, partial(changed, yes), partial(changed, no))
        for variable, value in zip(variables, after, strict=True):
            variable.assign(value)
        return given

    with ExitStack() as stack:
        stack.enter_context(mock.patch("tensorflow.cond", cond))
        stack.enter_context(mock.patch("tensorflow.raw_ops.ResourceApplyAdam", adam))
        stack.enter_context(mock.patch("tensorflow.raw_ops.ResourceApplyMomentum", momentum))
        # An optimizer hands over handles of variables: those of tensors are themselves.
        stack.enter_context(mock.patch.object(keras.Variable, "handle", property(lambda variable: variable)))
        yield


def kernel(operation: str) -> programs.Lowered:
    """An operation that changes variables, with a resource that is none: a TPU must know it, and complain of that."""
    import tensorflow as tf

    def run(numbers: Any) -> Any:
        array = tf.raw_ops.TensorArrayV3(size=1, dtype=tf.float32).handle
        places = dict.fromkeys(PLACES[operation], array)
        getattr(tf.raw_ops, operation)(**places, **KERNELS[operation], grad=tf.cast(numbers, tf.float32))
        return numbers

    return run, [tf.TensorSpec([ROWS], tf.int32)]


def check_kernels() -> tuple[list[list[str]], int]:
    """A row of each operation that the optimizers use, and how many a TPU has not."""
    rows, missing = [], 0
    for operation in KERNELS:
        found = bridge.lower(partial(kernel, operation)).refused
        known = "a TPU has no" not in found
        missing += not known
        rows.append([operation, "known" if known else "**unknown**", found])
        print(f"{operation}: {' | '.join(rows[-1][1:])}", flush=True)
    return rows, missing


def steps() -> dict[str, Callable[[], programs.Lowered]]:
    """Every step that is lowered, by name."""
    found: dict[str, Callable[[], programs.Lowered]] = {}
    for recipe in librispeech.RECIPES:
        shapes = librispeech.shapes(recipe)
        for shape in shapes:
            size = f"{shape.frames} frames, {shape.labels} labels"
            found[f"{recipe}, {size}"] = partial(training_step, recipe, shape, {})
        for name, changes in VARIANTS.items():
            found[f"{recipe}, {name}"] = partial(training_step, recipe, shapes[-1], changes)
    return found


def write(output: Path, rows: list[list[str]], kernels: list[list[str]]) -> None:
    import tensorflow as tf

    import asr_train

    interleave = bridge.interleave
    parts = [
        "# The recipes' steps, lowered for a TPU on a machine without one",
        f"A batch of {ROWS} rows on a replica; the sizes are those of the buckets of LibriSpeech. It is HLO, before "
        "XLA's own compiler: a lack of memory is not seen. Seconds are those of tracing and lowering.",
        "## Whole steps\n\nLoss, gradients, scaling, clipping, the optimizer (Adam and float32, if nothing is said), "
        "a moving average, and the skipping of what is no number.",
        interleave.table(["", "lowered", "HLO operations", "MB", "CPU s"], rows),
        "## The optimizers' kernels\n\nIn the steps above they are replaced by their arithmetic, for they change "
        "variables in place, which lie on a device. Alone and given no variable, they are refused for that only.",
        interleave.table(["", "by a TPU", "said of it"], kernels),
        f"Made by `python tpu/lower_recipes.py` on {datetime.date.today():%Y-%m-%d} with asr-train "
        f"{asr_train.__version__}: {interleave.machine()}, tensorflow-tpu {tf.__version__}, "
        f"{interleave.versions(['keras'])}.",
    ]
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="only what has this in its name; no table is written")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="the Markdown file (default %(default)s)")
    options = parser.parse_args()
    if missed := bridge.check_controls()[1]:
        print(f"{missed} things passed that no TPU takes, so nothing can be said: is this tensorflow-tpu?")
        return 1
    kernels, missing = check_kernels()
    programs_ = {
        name: make for name, make in steps().items() if not options.names or any(part in name for part in options.names)
    }
    bridge.PROGRAMS.update(programs_)
    rows, refused = bridge.check(list(programs_))
    if not options.names:
        write(options.output, rows, kernels)
    print(f"{len(rows) - refused} of {len(rows)} lowered for a TPU; {missing} kernels are unknown to it")
    return 1 if refused or missing else 0


if __name__ == "__main__":
    sys.exit(main())
