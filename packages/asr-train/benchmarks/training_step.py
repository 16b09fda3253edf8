"""The training steps of recipes against the same networks in PyTorch and of stock Keras layers.

    python benchmarks/training_step.py [--recipe NAME]

Ours is the step that `asr-train train` makes, whole: forward with dropout and scheduled sampling whose draws go with
the utterance, loss (cross-entropy with smoothed labels joined by CTC, or CTC), gradient, check that it is finite,
clipping, Adam. What is timed is a step on each of three batches: the second, fourth and sixth seventh by duration of
an epoch that asr-train has planned, from the durations of AN4 and LibriSpeech. They hold noise. Each has a process of
its own, and they take turns on one thread; CPU time is compared, all of it float32.

PyTorch's recurrent layers are given the padded batch, which is quicker than a packed one, and wrong at its end: the
backward direction begins in the padding. Its batch normalisation takes the padding in as well. Its Adam is the fused
one. Keras' recurrent layers are given their mask, and its function is traced as `fit` does.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parents[1] / "asr-models" / "benchmarks"))

import interleave  # noqa: E402, first: it sets the limits on threads
import numpy as np  # noqa: E402
from corpora import Example, config_of, examples, tokenizer_of  # noqa: E402

import asr_train  # noqa: E402
from asr_train.config import RunConfig  # noqa: E402

MODULES = ("tensorflow", "keras", "torch")
RECIPES: dict[str, float | None] = {
    "an4-las": None,
    "an4-deepspeech2": None,
    "librispeech-las-small": 120.0,
    "librispeech-deepspeech2": 60.0,
}
"""And the seconds of a batch, where a CPU cannot do those of the recipe."""
BATCHES = 3
OURS, TORCH, KERAS = "asr-train", "torch", "Keras"
PEERS = {TORCH: "torch", KERAS: "keras"}
GOALS = {"las": {TORCH: 1.3, KERAS: 2.0}, "deepspeech2": {TORCH: 1.0, KERAS: 2.0}}


def ours(config: RunConfig, batches: list[Example]) -> tuple[Callable[[int], float], int]:
    """A training step on batch n as `asr-train train` makes it, which gives the loss a label, and the parameters."""
    import tensorflow as tf

    from asr_train.batches import Batch
    from asr_train.devices import open_devices
    from asr_train.families import build_family
    from asr_train.state import TrainingState
    from asr_train.steps import knobs_for, training_step

    devices = open_devices("cpu")
    with devices.strategy.scope():
        family = build_family(
            config.model,
            features=config.features.dim,
            tokenizer=tokenizer_of(config),
            smoothing=config.train.label_smoothing,
            ctc_weight=config.train.ctc_weight,
            precision=config.train.precision,
        )
        state = TrainingState(family.model, config.train)
    step = training_step(family, state, devices, fixed_shapes=config.data.static_shapes)
    given = [Batch(*map(tf.constant, batch)) for batch in batches]

    def call(n: int) -> float:
        outcome = step(given[n], knobs_for(config.train, n), [1e-4, 0.0, 0.0, 0.0])
        return outcome.loss / outcome.labels

    return call, sum(int(tf.size(weight)) for weight in state.weights.values())


def step_of(recipe: str, name: str, batches: list[Example]) -> tuple[Callable[[int], float], int]:
    """`ours`, or a peer's: its batches are no longer than they need be."""
    config, cut = config_of(recipe), [batch.cut() for batch in batches]
    if name == TORCH:
        from stock_torch import step_of as torch_step

        return torch_step(config, cut, tokenizer_of(config).size)
    if name == KERAS:
        from stock_keras import step_of as keras_step

        return keras_step(config, cut, tokenizer_of(config).size)
    return ours(config, batches)


def serve(recipe: str, name: str, folder: Path) -> None:
    """In a process of its own: a call is a step on each batch."""
    batches = []
    for file in sorted(folder.glob("*.npz")):
        with np.load(file) as arrays:
            batches.append(Example(**arrays))
    step, parameters = step_of(recipe, name, batches)

    def call() -> Any:
        losses = [step(n) for n in range(len(batches))]
        return {"loss": losses[0], "parameters": parameters}

    interleave.serve(call)


def measure(recipe: str, rounds: int) -> tuple[str, interleave.Seconds]:
    """The table of a recipe, and the seconds."""
    names = [OURS, *(name for name, module in PEERS.items() if interleave.present(module))]
    with tempfile.TemporaryDirectory() as folder:
        batches = examples(recipe, BATCHES, RECIPES[recipe])
        for n, batch in enumerate(batches):
            np.savez(Path(folder) / f"{n}.npz", **batch._asdict())
        commands = {name: [str(HERE / "training_step.py"), "--worker", recipe, name, folder] for name in names}
        times, first = interleave.take_turns(commands, rounds, 1)
    rows = []
    for name in names:
        cells = [f"{interleave.median(times, name) / BATCHES:.3f}"]
        cells += [f"{interleave.ratio(times, peer, name):.2f}" for peer in names[1:]]
        cells += [f"{first[name]['value']['parameters']:,}", f"{first[name]['value']['loss']:.2f}"]
        rows.append([name, *cells, f"{first[name]['first']:.0f}", f"{first[name]['peak'] / 1e9:.1f}"])
    header = [
        "",
        "CPU s a step",
        *(f"times {peer}" for peer in names[1:]),
        "parameters",
        "loss",
        "first call s",
        "peak GB",
    ]
    shapes = ", ".join(" x ".join(map(str, (*b.features.shape[:2], b.labels.shape[1]))) for b in batches)
    least = f" Batches of {RECIPES[recipe]:g} s, so that a CPU can do them." if RECIPES[recipe] else ""
    told = f"Utterances, frames and labels of the batches: {shapes}.{least}"
    return f"## {recipe}\n\n{told}\n\n{interleave.table(header, rows)}", times


def main() -> None:
    arguments = interleave.parser(str(__doc__).splitlines()[0], rounds=5)
    arguments.add_argument("--recipe", action="append", choices=RECIPES, help="this one alone; may repeat")
    arguments.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.worker:
        recipe, name, folder = options.worker
        return serve(recipe, name, Path(folder))
    parts, found = [" ".join(paragraph.split()) for paragraph in str(__doc__).split("\n\n")[2:]], []
    for recipe in options.recipe or RECIPES:
        text, times = measure(recipe, options.rounds)
        print(text, file=sys.stderr, flush=True)  # the whole takes a while
        parts.append(text)
        wanted = GOALS[config_of(recipe).model.kind]
        found += [
            (f"{recipe}: CPU time of {peer} / ours", interleave.ratio(times, peer, OURS), wanted[peer])
            for peer in PEERS
            if peer in times
        ]
    parts.append(f"## Goals\n\n{interleave.goals(found)}\n\nWith asr-train {asr_train.__version__}.")
    output = options.output or HERE / "results" / "training_step.md"
    interleave.report(__file__, "Training steps of recipes", parts, MODULES, output)


if __name__ == "__main__":
    main()
