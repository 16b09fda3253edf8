"""The CTC loss and its gradient against PyTorch's and TensorFlow's own: CPU time, one thread, in turns."""

import interleave  # first: it sets the limits on threads
import numpy as np

MODULES = ("tensorflow", "torch")
BATCH = 16
# What it is like, frames, V, labels.
SIZES = [
    ("characters, 8 s", 400, 32, 120),
    ("characters, 16 s", 800, 32, 160),
    ("pieces, 16 s", 400, 1000, 80),
    ("pieces, 16 s", 400, 5000, 60),
]
GOALS = {"torch": 1.0, "tf.nn.ctc_loss": 2.0}


def problem(frames, vocabulary, labels):
    """Logits as an untrained network gives them, and texts; each utterance of its own length."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(BATCH, frames, vocabulary)).astype(np.float32)
    texts = rng.integers(1, vocabulary, (BATCH, labels)).astype(np.int32)
    lengths = np.linspace(0.6 * frames, frames, BATCH).astype(np.int32)
    return logits, lengths, texts, np.linspace(0.5 * labels, labels, BATCH).astype(np.int32)


def in_tensorflow(loss, logits, *, known=True):
    """Loss and gradient in a graph; with `known` its shapes are those of the batch."""
    import tensorflow as tf

    def run(logits):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            losses = loss(logits)
            total = tf.reduce_sum(losses)
        return losses, tape.gradient(total, logits)

    signature = [tf.TensorSpec(logits.shape if known else [None, None, logits.shape[2]], tf.float32)]
    graph, logits = tf.function(run, input_signature=signature, autograph=False), tf.constant(logits)
    return lambda: [part.numpy() for part in graph(logits)]


def ours(logits, lengths, texts, text_lengths, *, known=True):
    from asr_models import ctc_loss

    return in_tensorflow(lambda x: ctc_loss(x, lengths, texts, text_lengths), logits, known=known)


def theirs(logits, lengths, texts, text_lengths):
    import tensorflow as tf

    def loss(x):
        return tf.nn.ctc_loss(texts, x, text_lengths, lengths, logits_time_major=False, blank_index=0)

    return in_tensorflow(loss, logits)


def in_torch(logits, lengths, texts, text_lengths, *, dtype="float32"):
    import torch

    torch.set_num_threads(1)
    logits = torch.tensor(logits, dtype=getattr(torch, dtype), requires_grad=True)
    lengths, texts, text_lengths = (torch.tensor(part).long() for part in (lengths, texts, text_lengths))
    loss = torch.nn.CTCLoss(reduction="none")

    def call():
        logits.grad = None
        losses = loss(logits.log_softmax(-1).transpose(0, 1), texts, lengths, text_lengths)
        losses.sum().backward()
        return losses.detach().numpy(), logits.grad.numpy()

    return call


def gradient_error(call, exact) -> str:
    """The greatest difference of a gradient from that in float64."""
    return f"{np.abs(call()[1] - exact[1]).max():.0e}"


def main() -> None:
    options = interleave.parser(__doc__, rounds=7).parse_args()
    lines, errors, least = [], [], dict.fromkeys(GOALS, float("inf"))
    for what, *size in SIZES:
        batch = problem(*size)
        calls = {
            "ours": ours(*batch),
            "ours, unknown shapes": ours(*batch, known=False),
            "tf.nn.ctc_loss": theirs(*batch),
        }
        if interleave.present("torch"):
            calls["torch"] = in_torch(*batch)
            exact = in_torch(*batch, dtype="float64")()
            errors.append([what, size[1], *(gradient_error(calls[name], exact) for name in ("ours", "torch"))])
        times = interleave.interleave(calls, options.rounds)
        for name in calls:
            found = "" if name == "ours" else f"**{interleave.ratio(times, name, 'ours'):.2f}**"
            lines.append([what, *size, name, f"{1000 * interleave.median(times, name):.0f}", found])
            if name in least:
                least[name] = min(least[name], interleave.ratio(times, name, "ours"))
    header = ["what", "frames", "V", "labels", "loss and gradient", "CPU, ms", "times our CPU"]
    parts = [
        f"A batch of {BATCH}, logits to loss and gradient with respect to the logits, float32, on one thread; "
        f"{options.rounds} rounds in turns.",
        interleave.table(header, lines),
    ]
    if errors:
        parts += [
            "The greatest error of the gradient, against PyTorch's in float64:",
            interleave.table(["what", "V", "ours", "torch, float32"], errors),
        ]
    reached = [(f"{name}: times our CPU, at the size where it is least", least[name], GOALS[name]) for name in GOALS]
    parts.append(interleave.goals([row for row in reached if row[1] < float("inf")]))
    interleave.report(__file__, "CTC loss", parts, MODULES, options.output)


if __name__ == "__main__":
    main()
