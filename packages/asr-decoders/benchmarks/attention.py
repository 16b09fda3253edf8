"""Attention search: what it costs with a step function that costs nothing, and in a TensorFlow graph."""

import heapq

import interleave  # first: it sets the limits on threads
import numpy as np

from asr_decoders import AttentionBeam, repeat

BEGIN, END = 1, 0
STEPS = 100
FRAMES = 250  # of CTC: ten seconds, 40 ms apart
CASES = [(1, 1000, 10), (8, 1000, 10), (1, 5000, 10), (8, 5000, 10), (1, 1000, 100)]  # utterances, tokens, beam
AT_MOST = 0.1  # ms a step, of the first case
MODULES = ("tensorflow",)


class Given:
    """A step function that looks its answers up: the end is not near before the last step."""

    def __init__(self, rows: int, vocab_size: int) -> None:
        rng = np.random.default_rng(0)
        logits = 2 * rng.gumbel(size=(20, rows, vocab_size)).astype(np.float32)
        logits[:, :, END] = -30
        self.answers = logits - np.logaddexp.reduce(logits, axis=2, keepdims=True)

    def __call__(self, tokens, state):
        return self.answers[int(state["length"][0]) % len(self.answers)], {**state, "length": state["length"] + 1}

    def start(self, rows: int):
        return {"length": np.zeros(rows, dtype=int), "hidden": np.zeros((rows, 256), dtype=np.float32)}


def search_in_lists(step, start, beam_size: int, steps: int):
    """As peers do it: a hypothesis is an object with its own state, and each step joins and parts them. Of one."""
    alive = [(0.0, [BEGIN], {name: leaf[0] for name, leaf in start.items()})]
    ended = []
    for _ in range(steps):
        state = {name: np.stack([hypothesis[2][name] for hypothesis in alive]) for name in start}
        log_probs, state = step(np.array([hypothesis[1][-1] for hypothesis in alive], dtype=np.int32), state)
        candidates = []
        for i, (score, tokens, _) in enumerate(alive):
            best = np.argpartition(log_probs[i], -beam_size)[-beam_size:]
            parted = {name: leaf[i] for name, leaf in state.items()}
            candidates += [(score + float(log_probs[i, token]), [*tokens, int(token)], parted) for token in best]
            ended.append((score + float(log_probs[i, END]), tokens))
        alive = heapq.nlargest(beam_size, candidates, key=lambda hypothesis: hypothesis[0])
        ended = heapq.nlargest(beam_size, ended, key=lambda hypothesis: hypothesis[0])
    return ended


def overhead(rounds: int) -> tuple[str, float]:
    """The table of ms a step for one utterance, and that of the first case."""
    calls = {}
    for batch, size, beam_size in CASES:
        rows = batch * beam_size
        step = Given(rows, size)
        plain = AttentionBeam(begin=BEGIN, end=END, beam_size=beam_size)
        joint = AttentionBeam(begin=BEGIN, end=END, beam_size=beam_size, ctc_weight=0.3, blank=size - 1)
        ctc = [np.full((FRAMES, size), -np.log(size), dtype=np.float32)] * batch
        case = batch, size, beam_size
        state = step.start(rows)
        search = {"batch": batch, "max_lengths": STEPS}
        calls[case, "ours"] = lambda f=plain, step=step, state=state, call=search: f(step, state, **call)
        if case == CASES[0]:
            calls[case, "lists"] = lambda s=step, k=beam_size: search_in_lists(s, s.start(k), k, STEPS)
        if size == CASES[0][1]:
            calls[case, "ctc"] = lambda f=joint, step=step, state=state, call=search, ctc=ctc: f(
                step, state, ctc=ctc, **call
            )
    seconds = interleave.interleave(calls, rounds)
    lines = []
    for case in CASES:
        per_step = [seconds.get((case, kind), np.nan) / STEPS / case[0] for kind in ("ours", "ctc", "lists")]
        lines.append([*case, *("" if np.isnan(value) else f"{1e3 * value:.3f}" for value in per_step)])
    header = ["utterances", "tokens", "beam", "search", f"with CTC, {FRAMES} frames", "in lists of hypotheses"]
    return interleave.table(header, lines), 1e3 * seconds[CASES[0], "ours"] / STEPS


def graph(rounds: int) -> str:
    """The table of ms for a batch: the search in numpy around a TensorFlow step, and the same in a graph."""
    import tensorflow as tf

    from asr_decoders.tf import in_graph

    tf.get_logger().setLevel("ERROR")
    units, steps = 256, 50
    calls = {}
    for batch, size in [(1, 1000), (8, 1000), (8, 5000)]:
        rng = np.random.default_rng(0)
        embed, recur, project = (
            tf.constant(rng.normal(0, 0.1, shape), tf.float32)
            for shape in [(size, units), (units, units), (units, size)]
        )

        def step(tokens, state, embed=embed, recur=recur, project=project):
            hidden = tf.tanh(tf.gather(embed, tokens) + state @ recur)
            return tf.nn.log_softmax(hidden @ project), hidden

        search = AttentionBeam(begin=BEGIN, end=END, beam_size=10, min_length=steps)
        traced, inside = tf.function(step), in_graph(search)
        state = repeat(tf.random.stateless_normal([batch, units], [0, 0]), 10)
        call = {"batch": batch, "longest": steps}
        calls[batch, size, "numpy"] = lambda f=search, g=traced, s=state, b=batch: f(g, s, batch=b, max_lengths=steps)
        for name, compiled in [("graph", False), ("XLA", True)]:
            function = tf.function(lambda s, f=inside, g=step, c=call: f(g, s, **c), jit_compile=compiled)
            calls[batch, size, name] = lambda f=function, s=state: f(s).scores.numpy()
    seconds = interleave.interleave(calls, rounds)
    lines = [
        [batch, size, *(f"{1e3 * seconds[batch, size, kind]:.1f}" for kind in ("numpy", "graph", "XLA"))]
        for batch, size, name in calls
        if name == "numpy"
    ]
    text = f"A TensorFlow step (a recurrent layer of {units}), beam 10, {steps} steps: ms of CPU for the batch."
    header = ["utterances", "tokens", "search in numpy", "search in the graph", "compiled by XLA"]
    return text + "\n\n" + interleave.table(header, lines)


def main() -> None:
    options = interleave.arguments(__doc__, rounds=7)
    costs, first = overhead(options.rounds)
    text = (
        f"{STEPS} steps of a step function that costs nothing, a state of 256 numbers a row, on one thread: ms of CPU "
        f"for each step of each utterance, the medians of {options.rounds} rounds in turns."
    )
    goals = interleave.goals([("ms a step of the search, 1000 tokens, beam 10", -first, -AT_MOST)])
    parts = [text, costs, goals]
    if interleave.present("tensorflow"):
        parts.append(graph(options.rounds))
    interleave.report(__file__, "Attention search", parts, MODULES, options.output)


if __name__ == "__main__":
    main()
