"""Whole training steps of LAS and DeepSpeech2 against the same networks in PyTorch and of stock Keras layers.

Forward, loss, gradients, clipping and Adam, each in a process of its own, in turns. Sixteen utterances of 480 to 800
frames of 80 features. LAS: a pyramid of four LSTM layers with 256 units a direction, location-aware attention, two
layers of speller, 60 of 1000 pieces, cross-entropy. DeepSpeech2: two convolutions, five LSTM layers with 256 units a
direction, 60 of 32 characters, CTC. No dropout. bfloat16 is torch's autocast, Keras' policy "mixed_bfloat16", and the
same policy of ours, under which the large products alone are bfloat16. CPU time counts on one thread, wall time on
two. The times of a peer are those of the same type.

torch's LSTM layers are given the padded batch, which is quicker than a packed one, and wrong at its end: the backward
direction begins in the padding. Its batch normalisation takes the padding in as well. Ours does neither.
"""

import argparse
import sys
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
MEASURED = (("torch", 1), ("torch", 2), ("Keras", 1))
"""What beside ours at once, for the stock layers fill the memory, and on how many threads."""
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


def measure(family: str, peer: str, threads: int, rounds: int) -> tuple[str, Any]:
    """The table of ours and a peer's on so many threads, and the seconds."""
    kinds = [(name, dtype) for name in (OURS, peer) for dtype in DTYPES]
    if peer == "torch" and threads == 1:
        kinds.append((COMPILED, "float32"))
    commands = {f"{name}|{dtype}": [__file__, "--worker", family, name, dtype] for name, dtype in kinds}
    times, first = interleave.take_turns(commands, rounds, threads)
    rows = []
    for name, dtype in kinds:
        kind, base = f"{name}|{dtype}", f"{peer}|{dtype}"
        cells = [f"{interleave.median(times, kind, wall=wall):.2f}" for wall in (True, False)]
        cells += [f"{interleave.ratio(times, base, kind, wall=wall):.2f}" for wall in (True, False)]
        rows.append([name, dtype, *cells, f"{first[kind]['first']:.0f}", f"{first[kind]['peak'] / 1e9:.1f}"])
    header = ["", "", "wall s", "CPU s", f"wall, times {peer}", f"CPU, times {peer}", "first call s", "peak GB"]
    title = f"## {FAMILIES[family]} and {peer}, {threads} thread{'s' if threads > 1 else ''}"
    return f"{title}\n\n{interleave.table(header, rows)}", times


def reached(found: dict[tuple[str, str, int], Any]) -> str:
    rows = []
    for (family, peer, threads), times in found.items():
        for dtype in DTYPES:
            wall, least = threads > 1, GOAL if dtype == "bfloat16" else 1.0
            what = f"{FAMILIES[family]}, {dtype}: {'wall' if wall else 'CPU'} time of {peer} / ours"
            rows.append((what, interleave.ratio(times, f"{peer}|{dtype}", f"{OURS}|{dtype}", wall=wall), least))
    return interleave.goals(rows)


def main() -> None:
    arguments = interleave.parser(str(__doc__).splitlines()[0], rounds=3)
    arguments.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.worker:
        return interleave.serve(call_of(*options.worker)[0])
    parts, found = [" ".join(paragraph.split()) for paragraph in str(__doc__).split("\n\n")[1:]], {}
    for family in FAMILIES:
        for peer, threads in MEASURED:
            if interleave.present(PEERS[peer]):
                text, found[family, peer, threads] = measure(family, peer, threads, options.rounds)
                print(text, file=sys.stderr, flush=True)  # the whole takes a while
                parts.append(text)
    parts.append("## Goals\n\n" + reached(found))
    output = options.output or interleave.PACKAGE / "benchmarks" / "results" / "whole_step.md"
    interleave.report(__file__, "Whole training steps", parts, MODULES, output)


if __name__ == "__main__":
    main()
