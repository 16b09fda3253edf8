"""What threads cost: CPU time with no limit set on them, as a user has it, against one thread.

Without limits, BLAS and OpenMP wake a thread for every core, which may spin for longer than it works.
"""

import os
import statistics
import subprocess
import sys
import time

import interleave  # first: it sets the limits on threads
import numpy as np
from libraries import PEERS

from asr_features import presets, resample

AT_MOST = 1.5
MODULES = ("librosa", "torch", "torchaudio", "python_speech_features")
OURS = {
    "KALDI_80": presets.KALDI_80,
    "KALDI_MFCC_13": presets.KALDI_MFCC_13,
    "LIBROSA_80": presets.LIBROSA_80,
    "LIBROSA_MFCC_20": presets.LIBROSA_MFCC_20,
    "WHISPER_80": presets.WHISPER_80,
    "resample 44.1 to 16 kHz": lambda samples: resample(samples, 44100, 16000),
}
THEIRS = {
    "librosa": PEERS["librosa-80"],
    "Whisper's torch code": PEERS["whisper-80"],
    "torchaudio.compliance.kaldi": PEERS["kaldi-80 torchaudio"],
    "python_speech_features": PEERS["psf-26"],
}


def work(name: str) -> None:
    """Answers each line of the input with the CPU seconds, of all threads, of one minute's features, made thrice."""
    function = OURS[name] if name in OURS else THEIRS[name][1]()
    signals, _ = interleave.utterances(8)
    minute = np.resize(np.concatenate(signals), 60 * interleave.RATE)
    function(minute)
    time.sleep(0.5)  # a library's threads spin when they are made, which is no part of the work: cold.py has it
    for _ in sys.stdin:
        start = time.process_time()
        for _ in range(3):
            function(minute)
        print((time.process_time() - start) / 3, flush=True)


def measure(name: str, rounds: int) -> list[float]:
    """The median CPU seconds, with one thread and with no limit set: two processes in turns."""
    command = [sys.executable, __file__, "--work", name]
    environments = (dict(os.environ), interleave.unlimited())
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    workers = [subprocess.Popen(command, env=environment, text=True, **pipes) for environment in environments]
    times: list[list[float]] = [[], []]
    for _ in range(rounds):
        for worker, each in zip(workers, times, strict=True):
            print(file=worker.stdin, flush=True)
            each.append(float(worker.stdout.readline()))
    for worker in workers:
        worker.communicate()
    return [statistics.median(each) for each in times]


def main() -> None:
    options = interleave.arguments(__doc__, rounds=15)
    names = [*OURS, *(name for name, (needs, _) in THEIRS.items() if interleave.present(needs))]
    lines = []
    for name in names:
        one, many = measure(name, options.rounds)
        goal = f"{AT_MOST:g}" if name in OURS else ""
        lines.append([name, f"{1e3 * one:.1f}", f"{1e3 * many:.1f}", f"**{many / one:.2f}**", goal])
    header = ["one minute of audio", "one thread, ms", "no limit set, ms", "ratio", "at most"]
    text = f"CPU time of all threads, of two processes in turns; the medians of {options.rounds} rounds."
    interleave.report(__file__, "Threads", [text, interleave.table(header, lines)], MODULES, options.output)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        work(sys.argv[2])
    else:
        main()
