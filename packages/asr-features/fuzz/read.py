"""Mutated audio files against `read`, `info` and `blocks`: python packages/asr-features/fuzz/read.py --cases 5000

Every case is a sound file with a few mutations, made from the seed and the number of the case alone. A worker
process reads it, within 512 MB of address space and 2 s of CPU time. Refusals must be those that `read`
documents, in one line; what is read must be sound, and the same whole, in blocks and in ranges. Anything else is
a finding: the file is kept, named by seed and case, and the exit status is 1. Needs soundfile, and Linux.
"""

import argparse
import collections
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from mutations import mutate, originals

MEGABYTES = 512
SECONDS = 2
PATIENCE = 60
"""Seconds of waiting, after which a worker that uses no CPU time hangs too."""

REFUSALS = (ValueError, FileNotFoundError, ImportError)


def examine(path: Path) -> str:
    """What becomes of one file: "read", "refused: ..." or, in the end to be avoided, "finding: ..."."""
    from asr_features import audio

    def attempt(call: Callable[[], object]) -> object:
        try:
            return call()
        except Exception as error:
            message = str(error)
            if type(error) not in REFUSALS or "\n" in message or not message.startswith(f"{path}: "):
                raise AssertionError(f"{type(error).__name__}: {message!r}") from error
            return message

    try:
        found = attempt(lambda: audio.info(path))
        whole = attempt(lambda: audio.read(path))
        in_blocks = attempt(lambda: np.concatenate(list(audio.blocks(path, seconds=0.1))))
        resampled = attempt(lambda: audio.read(path, sample_rate=11025))
        refusals = {result for result in (whole, in_blocks, resampled, found) if isinstance(result, str)}
        if isinstance(whole, str):
            require(len(refusals) == 1 and isinstance(in_blocks, str), f"refused in unequal ways: {refusals}")
            require(isinstance(resampled, str), "refused, but not when it is resampled")
            return f"refused: {whole.removeprefix(f'{path}: ')}"
        require(not refusals, f"refused in part: {refusals}")
        require(whole.dtype == np.float32 and whole.shape == (found.samples,), f"{whole.dtype} {whole.shape} {found}")
        require(bool((np.abs(whole) <= 1).all()), "samples beyond [-1, 1]")
        require(np.array_equal(whole, in_blocks), "blocks are not what read gives")
        require(len(resampled) == -(-found.samples * 11025 // found.sample_rate), f"{len(resampled)} resampled")
        start, stop = found.samples // 3, found.samples // 2 + 1
        rate = found.sample_rate
        part = attempt(lambda: audio.read(path, start=start / rate, stop=stop / rate))
        # A decoder may begin in the middle of a broken file and find less than from its beginning: it may refuse.
        require(isinstance(part, str) or np.array_equal(part, whole[start:stop]), f"a range is no slice: {part!r}")
    except AssertionError as error:
        return f"finding: {' '.join(str(error).split())}"
    return "read"


def require(holds: bool, law: str) -> None:
    if not holds:
        raise AssertionError(law)


def serve(examine: Callable[[Path], str] = examine) -> None:
    """The worker: a path a line comes in, an outcome a line goes out."""
    import resource

    memory = MEGABYTES * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for line in sys.stdin:
        # A timer of the process: its signal ends loops within C code, and time given to others does not count.
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        outcome = examine(Path(line.strip()))
        signal.setitimer(signal.ITIMER_PROF, 0)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 2**10
        if peak > MEGABYTES:
            outcome = f"finding: {peak} MB of memory"
        print(outcome, flush=True)


class Worker:
    """A process that examines files, started anew when one has ended it."""

    def __init__(self, command: list[str]) -> None:
        self.command = command
        self.process: subprocess.Popen[str] | None = None

    def __call__(self, path: Path) -> str:
        """The outcome for one file."""
        if self.process is None:
            environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}  # each thread would take address space
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
            self.process = subprocess.Popen(self.command, text=True, env=environment, **pipes)
        self.process.stdin.write(f"{path}\n")
        self.process.stdin.flush()
        if select.select([self.process.stdout], [], [], PATIENCE)[0] and (line := self.process.stdout.readline()):
            return line.strip()
        alive = self.process.poll() is None and not select.select([self.process.stdout], [], [], 0)[0]
        status = self.close()
        if alive or status == -signal.SIGPROF:
            return f"finding: longer than {SECONDS} s"
        return f"finding: the process ended with {signal.Signals(-status).name if status < 0 else status}"

    def close(self) -> int:
        """Ends the process; its exit status."""
        process, self.process = self.process, None
        if process is None:
            return 0
        process.stdin.close()
        try:
            return process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()
        finally:
            process.stdout.close()


def cases(seed: int, numbers: range, folder: Path) -> Iterator[tuple[int, Path]]:
    """The files of the cases, one at a time; each is deleted when the next is asked for."""
    sounds = originals(folder)
    for number in numbers:
        name, content = mutate(sounds, np.random.default_rng([seed, number]))
        path = folder / f"{seed}-{number}-{name}"
        path.write_bytes(content)
        yield number, path
        path.unlink()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--case", type=int, help="only this one")
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir()) / "asr-features-fuzz")
    options = parser.parse_args(arguments)
    numbers = range(options.cases) if options.case is None else range(options.case, options.case + 1)
    worker = Worker([sys.executable, "-W", "error", __file__, "--serve"])
    outcomes: collections.Counter[str] = collections.Counter()
    findings = 0
    with tempfile.TemporaryDirectory() as folder:
        for _, path in cases(options.seed, numbers, Path(folder)):
            outcome = worker(path)
            if outcome.startswith("finding"):
                findings += 1
                options.keep.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, options.keep)
                print(f"{options.keep / path.name}: {outcome}", flush=True)
            outcomes[" ".join(word for word in outcome.split() if not any(map(str.isdigit, word)))] += 1
    worker.close()
    for outcome, count in outcomes.most_common():
        print(f"{count:6} {outcome[:150]}")
    print(f"{len(numbers)} cases of seed {options.seed}: {findings} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    if sys.argv[1:] == ["--serve"]:
        serve()
    else:
        sys.exit(main())
