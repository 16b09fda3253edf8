"""Whole training steps of LAS and DeepSpeech2 against the same networks in PyTorch and of stock Keras layers.

Forward, loss, gradients, clipping and Adam, each in a process of its own, in turns. Sixteen utterances of 480 to 800
frames of 80 features. LAS: a pyramid of four LSTM layers with 256 units a direction, location-aware attention, two
layers of speller, 60 of 1000 pieces, cross-entropy. DeepSpeech2: two convolutions, five LSTM layers with 256 units a
direction, 60 of 32 characters, CTC. No dropout. bfloat16 is torch's autocast, Keras' policy "mixed_bfloat16", and the
same policy of ours, under which the large products alone are bfloat16. CPU time is compared on one thread, wall time
on two.

torch's LSTM layers are given the padded batch, which is quicker than a packed one, and wrong at its end: the backward
direction begins in the padding. Its batch normalisation takes the padding in as well. Ours does neither.
"""

import argparse
from collections.abc import Callable
from typing import Any

import interleave  # first: it sets the limits on threads

from asr_models import DeepSpeech2Config, LasConfig

MODULES = ("tensorflow", "keras", "torch")
LAS = LasConfig(
    speller_layers=2, speller_units=256, embedding_units=256, attention="location", dropout=0.0, sampling=0.0
)
DS2 = DeepSpeech2Config(recurrent_units=256, merge="concat", norm="none", dropout=0.0)
FAMILIES = {"las": "LAS", "deepspeech2": "DeepSpeech2"}
OURS, COMPILED = "asr-models", "asr-models, all compiled"
PEERS = {"torch": "torch", "Keras": "keras"}
DTYPES = ("float32", "bfloat16")
GOAL = 1.3


def batch_of(family: str) -> tuple[Any, tuple[int, int]]:
    """The batch, and how many features and tokens it has."""
    from training_step import random_batch

    vocabulary = 1000 if family == "las" else 32
    return random_batch(batch=16, frames=800, features=80, labels=60, vocabulary=vocabulary), (80, vocabulary)


def ours(family: str, dtype: str, *, compiled: bool) -> tuple[Callable[[], float], int]:
    """A training step that gives its loss, and the number of parameters."""
    import keras
    import tensorflow as tf
    from training_step import TrainingStep

    from asr_models import DeepSpeech2, Las

    keras.config.set_dtype_policy("mixed_bfloat16" if dtype == "bfloat16" else "float32")
    batch, (features, vocabulary) = batch_of(family)
    kind, config = (Las, LAS) if family == "las" else (DeepSpeech2, DS2)
    model = kind(config, features=features, vocab_size=vocabulary)
    step = tf.function(TrainingStep(model), jit_compile=compiled, autograph=False)
    arguments = [*map(tf.constant, batch), tf.constant([0, 1])]
    return lambda: float(step(*arguments)), model.count_params()


def call_of(family: str, name: str, dtype: str) -> tuple[Callable[[], float], int]:
    if name == "torch":
        from peers_torch import step_of as torch_step

        return torch_step(family, dtype, int(interleave.COUNT))
    if name == "Keras":
        from peers_keras import step_of as keras_step

        return keras_step(family, dtype)
    return ours(family, dtype, compiled=name == COMPILED)


def measure(family: str, threads: int, options: argparse.Namespace) -> tuple[str, Any]:
    """The table of a family on so many threads, and the seconds."""
    kinds = [(OURS, dtype) for dtype in DTYPES] + [(COMPILED, "float32")] * (threads == 1)
    kinds += [(name, dtype) for name, module in PEERS.items() if interleave.present(module) for dtype in DTYPES]
    commands = {f"{name}|{dtype}": [__file__, "--worker", family, name, dtype] for name, dtype in kinds}
    times, first = interleave.take_turns(commands, options.rounds, threads)
    rows = []
    for kind in commands:
        bases = [base for base in ("torch|float32", "torch|bfloat16") if base in times]
        against = [f"{interleave.ratio(times, base, kind, wall=threads > 1):.2f}" for base in bases] or ["-", "-"]
        seconds = [f"{interleave.median(times, kind, wall=wall):.2f}" for wall in (True, False)]
        told = first[kind]
        rows.append([*kind.split("|"), *seconds, *against, f"{told['first']:.0f}", f"{told['peak'] / 1e9:.1f}"])
    time = "wall" if threads > 1 else "CPU"
    header = ["", "", "wall s", "CPU s", f"{time}, times torch", f"{time}, times torch bfloat16", "first call s", "GB"]
    title = f"## {FAMILIES[family]}, {threads} thread{'s' if threads > 1 else ''}"
    return f"{title}\n\n{interleave.table(header, rows)}", times


def reached(found: dict[tuple[str, int], Any]) -> str:
    rows = []
    for (family, threads), times in found.items():
        for dtype in DTYPES:
            if f"torch|{dtype}" in times:
                wall = threads > 1
                what = f"{FAMILIES[family]}, {dtype}: {'wall' if wall else 'CPU'} time of torch / ours"
                found_ratio = interleave.ratio(times, f"torch|{dtype}", f"{OURS}|{dtype}", wall=wall)
                rows.append((what, found_ratio, GOAL if dtype == "bfloat16" else 1.0))
    return interleave.goals(rows)


def main() -> None:
    arguments = interleave.parser(str(__doc__).splitlines()[0], rounds=3)
    arguments.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.worker:
        return interleave.serve(call_of(*options.worker)[0])
    parts, found = [" ".join(paragraph.split()) for paragraph in str(__doc__).split("\n\n")[1:]], {}
    for family in FAMILIES:
        for threads in (1, 2):
            text, found[family, threads] = measure(family, threads, options)
            parts.append(text)
    parts.append("## Goals\n\n" + reached(found))
    output = options.output or interleave.PACKAGE / "benchmarks" / "results" / "whole_step.md"
    interleave.report(__file__, "Whole training steps", parts, MODULES, output)


if __name__ == "__main__":
    main()
