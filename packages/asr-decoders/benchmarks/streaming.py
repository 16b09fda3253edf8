"""CTC beam search over a stream: CPU time of a push, one thread, in turns; and ten hours in bounded memory."""

import subprocess
import sys
import time
from itertools import cycle, islice

import interleave  # first: it sets the limits on threads
import numpy as np
from posteriors import FRAMES, Model, source

from asr_decoders import CtcBeam

PUSHES = (1, 10, 50)  # frames of 20 ms
BEAMS = (16, 100)
LENGTH = 2000  # frames
HOURS = 10
BLOCK = 30  # utterances of 1000 frames: ten minutes, which are heard again and again
AT_MOST = 200  # MB beyond what was held before the first push
CONFIGURATIONS = {"native": {}, "native, no time stamps": {"align": False}, "numpy": {}}  # for beam 16
MODULES = ("flashlight",)
SECONDS = FRAMES["characters"][1]


def decoder(name: str, beam_size: int) -> CtcBeam:
    model = Model("characters")
    backend = "numpy" if name == "numpy" else "native"
    return CtcBeam(beam_size=beam_size, vocabulary=model.vocabulary, backend=backend, **CONFIGURATIONS[name])


def ours(beam: CtcBeam, chunks, *, partial: bool = False):
    def call():
        state = beam.start()
        for chunk in chunks:
            state = beam.step(state, chunk)
            if partial:
                beam.partial(state)
        return beam.finish(state)

    return call


def flashlight(beam_size: int, vocab_size: int, chunks):
    """As in `peers.py`, with its own pruning."""
    from flashlight.lib.text.decoder import CriterionType, LexiconFreeDecoder, LexiconFreeDecoderOptions, ZeroLM

    options = LexiconFreeDecoderOptions(
        beam_size=beam_size,
        beam_size_token=vocab_size,
        beam_threshold=25.0,
        lm_weight=0.0,
        sil_score=0.0,
        log_add=True,
        criterion_type=CriterionType.CTC,
    )
    search = LexiconFreeDecoder(options, ZeroLM(), 0, 0, [])

    def call():
        search.decode_begin()
        for chunk in chunks:
            search.decode_step(chunk.ctypes.data, *chunk.shape)
        search.decode_end()
        return search.get_best_hypothesis(0)

    return call


def pushes(rounds: int) -> str:
    """A table of the microseconds of a push."""
    model = Model("characters")
    (utterance,) = model.utterances(1, LENGTH)
    rows = []
    for beam_size in BEAMS:
        native, numpy = decoder("native", beam_size), decoder("numpy", beam_size)
        plain = decoder("native, no time stamps", beam_size)
        calls, counts = {}, {}
        for size in (*PUSHES, LENGTH):
            chunks = [utterance.log_probs[first : first + size].copy() for first in range(0, LENGTH, size)]
            made = {
                "native": ours(native, chunks),
                "native, a partial result after each": ours(native, chunks, partial=True),
                "native, no time stamps": ours(plain, chunks),
                "numpy": ours(numpy, chunks),
            }
            if interleave.present("flashlight"):
                made["flashlight-text"] = flashlight(beam_size, utterance.log_probs.shape[1], chunks)
            calls |= {(name, size): call for name, call in made.items()}
            counts[size] = len(chunks)
        seconds = interleave.interleave(calls, rounds)
        for name in made:
            row = [f"{1e6 * seconds[name, size] / counts[size]:.0f}" for size in PUSHES]
            rows.append([f"{name}, beam {beam_size}", *row, f"{1e6 * seconds[name, LENGTH] / LENGTH:.1f}"])
    header = ["decoder", *(f"push of {size}, µs" for size in PUSHES), "all at once, µs a frame"]
    return interleave.table(header, rows)


def block() -> np.ndarray:
    return np.concatenate([utterance.log_probs for utterance in Model("characters").utterances(BLOCK, 1000)])


def work(name: str, hours: float) -> tuple[float, float, int]:
    """Decodes so many hours, a second at a time: megabytes above the start, CPU seconds, characters."""
    beam = decoder(name, BEAMS[0])
    seconds = block().reshape(-1, round(1 / SECONDS), FRAMES["characters"][0])
    ours(beam, seconds[:10])()  # what is loaded and made once is not counted
    before, start = interleave.held(), time.process_time()
    state = beam.start()
    for second in islice(cycle(seconds), round(3600 * hours)):
        state = beam.step(state, second)
    (best,) = beam.finish(state)
    return (interleave.peak() - before) / 1e6, time.process_time() - start, len(best.tokens)


def measure(name: str, hours: float) -> tuple[float, float, int]:
    """The same, in a process of its own."""
    command = [sys.executable, __file__, "--work", name, str(hours)]
    megabytes, seconds, count = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split()
    return float(megabytes), float(seconds), int(count)


def main() -> None:
    options = interleave.arguments(__doc__, rounds=3)
    rows, goals = [], []
    for name in CONFIGURATIONS:
        for hours in (HOURS / 10, HOURS):
            megabytes, seconds, count = measure(name, hours)
            rows.append([name, f"{hours:g}", f"{megabytes:.0f}", f"{seconds:.1f}", count])
        goals.append((f"{name}: MB above the start, {HOURS} hours", -megabytes, -AT_MOST))
    parts = [
        f"29 characters, posteriors made from {source()}.",
        "## A push",
        f"{LENGTH} frames of 20 ms in pushes of some frames each, with all that a push does to the alignment and at "
        f"the end; CPU time on one thread, the medians of {options.rounds} rounds in turns.",
        pushes(options.rounds),
        "## Long streams",
        f"Ten minutes of posteriors heard again and again, 50 frames a push, beam {BEAMS[0]}, each in a process of "
        "its own: how far its memory rises above what it held before, the hypothesis of all it heard included.",
        interleave.table(["decoder", "hours", "MB above the start", "CPU s", "characters found"], rows),
        "## Goals",
        interleave.goals(goals),
    ]
    interleave.report(__file__, "Streaming", parts, MODULES, options.output)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        print(*work(sys.argv[2], float(sys.argv[3])))
    else:
        main()
