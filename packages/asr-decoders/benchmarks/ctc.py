"""CTC beam search against the libraries that do it: CPU time of an utterance, one thread, in turns."""

import sys

import interleave  # first: it sets the limits on threads
from peers import PRUNED, UNPRUNED
from posteriors import FRAMES, WHAT, models, source, statistics

UTTERANCES = 2
LENGTHS = (500, 1000)
BEAMS = (10, 50, 100)
MODULES = ("tensorflow", "fast_ctc_decode", "flashlight", "pyctcdecode", "sentencepiece")

# What of ours, how many times less than which peer, pruned or not, over the lengths with beam 100. Like is compared
# with like: what does not prune with ours that loses nothing, what prunes with ours that prunes.
PRUNES = "native, pruned as pyctcdecode"
GOALS = {
    "characters": [
        ("native", "tf.nn", False, 30),
        ("numpy", "tf.nn", False, 5),
        ("native", "flashlight-text", False, 50),
        (PRUNES, "fast-ctc-decode", True, 3),
        (PRUNES, "flashlight-text", True, 50),
    ],
    "pieces": [
        ("native", "tf.nn", False, 1000),
        ("numpy", "tf.nn", False, 500),
        ("native", "flashlight-text", False, 50),
        (PRUNES, "fast-ctc-decode", True, 3),
        (PRUNES, "flashlight-text", True, 50),
    ],
}


class Cell:
    """One size of a problem: the milliseconds an utterance that each decoder takes, and the texts that it finds."""

    def __init__(self, peers, vocabulary, utterances, beam_size, rounds):
        log_probs = [utterance.log_probs for utterance in utterances]
        work = log_probs[0].size * beam_size
        self.texts, calls = {}, {}
        for name, peer in peers.items():
            if interleave.present(peer.needs) and work <= peer.most:
                decode = peer.make(vocabulary, beam_size)
                calls[name] = self.over(name, decode, [peer.prepare(each) for each in log_probs])
        seconds = interleave.interleave(calls, rounds)
        self.milliseconds = {name: 1000 * each / len(utterances) for name, each in seconds.items()}

    def over(self, name, decode, inputs):
        def call():
            self.texts[name] = [decode(each) for each in inputs]

        return call


def measure(pruned: bool, model, rounds: int) -> dict[tuple[int, int], Cell]:
    """By frames and size of the beam."""
    peers = PRUNED if pruned else UNPRUNED
    return {
        (length, beam_size): Cell(peers, model.vocabulary, model.utterances(UTTERANCES, length), beam_size, rounds)
        for length in LENGTHS
        for beam_size in BEAMS
    }


def lines(cells: dict[tuple[int, int], Cell], peers) -> list[list[str]]:
    """A row a decoder: milliseconds, and how many times ours; and how often it finds the text that ours does."""
    rows = []
    for name in peers:
        measured = [cell for cell in cells.values() if name in cell.milliseconds]
        if not measured:
            continue
        row = [name]
        for cell in cells.values():
            found, base = cell.milliseconds.get(name), cell.milliseconds["native"]
            times = "" if name == "native" else f" ({found / base:.3g}x)" if found else ""
            row.append(f"{found:.3g}{times}" if found else "–")
        same = [a == b for cell in measured for a, b in zip(cell.texts[name], cell.texts["native"], strict=True)]
        rows.append([*row, f"{sum(same)}/{len(same)}"])
    return rows


def different(cells: dict[tuple[int, int], Cell], what: str) -> list[str]:
    """The texts of those that make the same search as ours and find another one."""
    return [
        f"{what}, {length} frames, beam {beam_size}: {name} {theirs!r}, native {ours!r}"
        for (length, beam_size), cell in cells.items()
        for name in cell.texts
        if name.startswith(("native, with", "numpy")) or (name in UNPRUNED and UNPRUNED[name].same)
        for theirs, ours in zip(cell.texts[name], cell.texts["native"], strict=True)
        if theirs != ours
    ]


def main() -> None:
    options = interleave.arguments(__doc__, rounds=5)
    parts = [
        f"Posteriors made from {source()}; {UTTERANCES} utterances of each size. Milliseconds of CPU time an "
        f"utterance, on one thread, the medians of {options.rounds} rounds in turns (fewer where one call takes "
        "seconds), and how many times ours (native) that is. –: left out, it takes many seconds or gigabytes. Ours "
        "does not prune, but where its name says so; the last column counts the texts that are those of ours."
    ]
    reached, wrong = [], []
    header = ["decoder", *(f"T {length}, beam {beam}" for length in LENGTHS for beam in BEAMS), "same text"]
    for kind, model in models().items():
        found = {pruned: measure(pruned, model, options.rounds) for pruned in (False, True)}
        parts += [f"## {WHAT[kind]}", f"Here {statistics(model.utterances(8, LENGTHS[-1]))}."]
        for pruned, peers in ((False, UNPRUNED), (True, PRUNED)):
            parts.append(f"The libraries {'with their own pruning' if pruned else 'without pruning'}:")
            parts.append(interleave.table(header, lines(found[pruned], peers)))
        wrong += different(found[False], kind)
        for mine, peer, pruned, least in GOALS[kind]:
            cells = [cell.milliseconds for (_, beam), cell in found[pruned].items() if beam == BEAMS[-1]]
            ratios = [cell[peer] / cell[mine] for cell in cells if peer in cell]
            if ratios:
                how = " pruned" if pruned else ""
                reached.append((f"{kind}: {peer}{how} to {mine}, beam {BEAMS[-1]}", min(ratios), least))
    if len(FRAMES) > len(models()):
        parts.append("sentencepiece is not installed, so pieces are not measured.")
    parts += ["## Goals", "Times the CPU of ours, the least over the lengths.", interleave.goals(reached)]
    interleave.report(__file__, "CTC beam search", parts, MODULES, options.output)
    if wrong:
        sys.exit("\n".join(["texts that should be the same are not:", *wrong]))


if __name__ == "__main__":
    main()
