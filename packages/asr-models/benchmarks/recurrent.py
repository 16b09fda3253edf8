"""A listener's four bidirectional LSTM layers in a pyramid, against torch.nn.LSTM and stock Keras layers.

Each in a process of its own, in turns: a training step (forward, a loss, all gradients) and inference, in float32 and
with bfloat16 products. Sixteen utterances of 480 to 800 frames of 80 features; between two layers every second frame
joins the one before it (Chan et al., 2016). CPU time is compared on one thread, wall time on two.

The padded `torch.nn.LSTM` has no notion of lengths: its backward direction begins in the padding, so that an output
depends on how long the others of a batch are. It is here because it is the quickest that PyTorch has, and all columns
compare with it in float32. The packed one (`pack_padded_sequence`, before each layer) gives what ours gives.
"First call" has the tracing and compiling in it. "Graph loops" are not compiled; in "all compiled" the whole step is.
"""

import argparse
import itertools
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from interleave import PACKAGE, goals, median, parser, present, ratio, report, serve, table, take_turns

BATCH, FRAMES, FEATURES, UNITS, LAYERS = 16, 800, 80, 256, 4
OURS = ("asr-models", "asr-models, graph loops", "asr-models, all compiled")
PACKED, BASE = "torch, packed", "torch, padded|float32"
PEERS = {"torch, padded": "torch", PACKED: "torch", "Keras": "keras"}
DTYPES = ("float32", "bfloat16")
LABEL = {"train": "training step", "infer": "inference"}


def batch() -> tuple[Any, Any]:
    """Features `(B, T, F)` and lengths `(B,)`, the longest first."""
    rng = np.random.default_rng(0)
    lengths = np.linspace(FRAMES, 0.6 * FRAMES, BATCH).astype(np.int32)
    return rng.normal(size=(BATCH, FRAMES, FEATURES)).astype(np.float32), lengths


def inputs_of(layer: int) -> int:
    return FEATURES if layer == 0 else 4 * UNITS


def ours(name: str, dtype: str, training: bool) -> Callable[[], float]:
    from asr_models import Recurrent

    rng = np.random.default_rng(0)
    loops: bool | str = "auto" if name == "asr-models" else False
    layers = [Recurrent(inputs_of(n), UNITS, products=dtype, compiled=loops, rng=rng) for n in range(LAYERS)]

    def outputs(values: Any, lengths: Any) -> Any:
        for n, layer in enumerate(layers):
            values = layer(values if n == 0 else pairs(values), lengths, training=training)
            lengths = (lengths + 1) // 2
        return values

    return tensorflow_step(outputs, layers, training, compiled=name.endswith("all compiled"))


def stock_keras(dtype: str, training: bool) -> Callable[[], float]:
    import keras
    import tensorflow as tf

    policy = "mixed_bfloat16" if dtype == "bfloat16" else dtype
    layers = [
        keras.layers.Bidirectional(keras.layers.LSTM(UNITS, return_sequences=True, dtype=policy), dtype=policy)
        for _ in range(LAYERS)
    ]
    for n, layer in enumerate(layers):
        layer.build((BATCH, FRAMES >> n, inputs_of(n)))

    def outputs(values: Any, lengths: Any) -> Any:
        for n, layer in enumerate(layers):
            values = values if n == 0 else pairs(values)
            values = layer(values, mask=tf.sequence_mask(lengths, FRAMES >> n), training=training)
            lengths = (lengths + 1) // 2
        return values

    return tensorflow_step(outputs, layers, training)


def pairs(values: Any) -> Any:
    """`(B, T, D)` -> `(B, T / 2, 2 D)`."""
    import tensorflow as tf

    return tf.reshape(values, [BATCH, values.shape[1] // 2, 2 * values.shape[2]])


def tensorflow_step(outputs: Any, layers: list[Any], training: bool, *, compiled: bool = False) -> Callable[[], float]:
    import tensorflow as tf

    values, lengths = map(tf.constant, batch())
    variables = [variable.value for layer in layers for variable in layer.trainable_variables]

    @tf.function(jit_compile=compiled)
    def step(values: Any, lengths: Any) -> tuple[Any, ...]:
        if not training:
            return (tf.reduce_sum(tf.square(tf.cast(outputs(values, lengths), tf.float32))),)
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.square(tf.cast(outputs(values, lengths), tf.float32)))
        return loss, *tape.gradient(loss, variables)

    return lambda: step(values, lengths)[0].numpy().item()


def torch_lstm(name: str, dtype: str, training: bool) -> Callable[[], float]:
    import torch
    from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

    values, lengths = map(torch.from_numpy, batch())
    layers = [torch.nn.LSTM(inputs_of(n), UNITS, batch_first=True, bidirectional=True) for n in range(LAYERS)]
    parameters = [each for layer in layers for each in layer.parameters()]

    def outputs() -> Any:
        hidden, left = values, lengths
        for n, layer in enumerate(layers):
            if n > 0:
                hidden = hidden.reshape(BATCH, hidden.shape[1] // 2, 2 * hidden.shape[2])
            if name.endswith("packed"):
                packed, _ = layer(pack_padded_sequence(hidden, left.long(), batch_first=True))
                hidden, _ = pad_packed_sequence(packed, batch_first=True, total_length=FRAMES >> n)
                left = (left + 1) // 2
            else:
                hidden, _ = layer(hidden)
        return hidden

    def step() -> float:
        with torch.set_grad_enabled(training):
            with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
                hidden = outputs()
            loss = hidden.float().square().sum()
            if training:
                torch.autograd.grad(loss, parameters)
        return float(loss.detach())

    return step


def call_of(name: str, dtype: str, training: bool) -> Callable[[], float]:
    if name in OURS:
        return ours(name, dtype, training)
    return stock_keras(dtype, training) if name == "Keras" else torch_lstm(name, dtype, training)


def measure(mode: str, threads: int, rounds: int) -> tuple[str, Any]:
    """The table of a mode on so many threads, and the seconds."""
    kinds = [(name, dtype) for name, dtype in itertools.product((OURS[0], *PEERS), DTYPES) if runs(name)]
    kinds = [kind for kind in kinds if kind[0] != PACKED]
    if threads == 1:
        kinds += [(name, "float32") for name in OURS[1:]]
    commands = {f"{name}|{dtype}": [__file__, "--worker", name, dtype, mode] for name, dtype in kinds}
    times, first = take_turns(commands, rounds, threads)
    if threads == 1 and runs(PACKED):  # minutes of work: one round, on its own
        packed = f"{PACKED}|float32"
        found = take_turns({packed: [__file__, "--worker", PACKED, "float32", mode]}, 1, threads)
        times, first = times | found[0], first | found[1]
    rows = []
    for kind in times:
        seconds = [f"{median(times, kind, wall=wall):.2f}" for wall in (True, False)]
        against = [times_of(times, BASE, kind, wall=wall) if BASE in times else None for wall in (True, False)]
        more = [f"{first[kind]['first']:.0f}", f"{first[kind]['peak'] / 1e9:.1f}"]
        rows.append([*kind.split("|"), *seconds, *("-" if each is None else f"{each:.2f}" for each in against), *more])
    header = ["", "products", "wall s", "CPU s", "wall, times torch", "CPU, times torch", "first call s", "peak GB"]
    title = f"## {LABEL[mode].capitalize()}, {threads} thread{'s' if threads > 1 else ''}"
    return f"{title}\n\n{table(header, rows)}", times


def runs(name: str) -> bool:
    return name in OURS or present(PEERS[name])


def times_of(times: Any, peer: str, ours: str, *, wall: bool) -> float:
    """How many times our seconds the peer takes; of medians where one was measured less often."""
    if len(times[peer]) == len(times[ours]):
        return ratio(times, peer, ours, wall=wall)
    return median(times, peer, wall=wall) / median(times, ours, wall=wall)


def reached(found: dict[tuple[str, int], Any]) -> str:
    wanted = [
        ("train", 1, "Keras|float32", False, 2.0),
        ("train", 1, BASE, False, 1.0),
        ("train", 1, f"{PACKED}|float32", False, 1.0),
        ("train", 2, BASE, True, 1.3),
        ("infer", 1, BASE, False, 1.4),
    ]
    rows = []
    for mode, threads, peer, wall, least in wanted:
        times = found.get((mode, threads), {})
        if peer in times:
            what = f"{LABEL[mode]}, float32, {'wall' if wall else 'CPU'} time of {peer.split('|')[0]} / ours"
            rows.append((what, times_of(times, peer, "asr-models|float32", wall=wall), least))
    return goals(rows)


def main() -> None:
    arguments = parser(str(__doc__).splitlines()[0], rounds=5)
    arguments.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.worker:
        name, dtype, mode = options.worker
        return serve(call_of(name, dtype, mode == "train"))
    parts, found = [" ".join(str(__doc__).split("\n\n", 1)[1].splitlines())], {}
    for mode, threads in itertools.product(LABEL, (1, 2)):
        text, found[mode, threads] = measure(mode, threads, options.rounds)
        print(text, file=sys.stderr, flush=True)  # the whole takes a while
        parts.append(text)
    parts.append("## Goals\n\n" + reached(found))
    output = options.output or PACKAGE / "benchmarks" / "results" / "recurrent.md"
    report(__file__, "Recurrent layers", parts, ("tensorflow", "keras", "torch"), output)


if __name__ == "__main__":
    main()
