"""What the benchmarks share: calls measured in turns on one thread, and their tables. Import it before numpy.

A machine with other work to do is never equally fast for long. So the calls take turns (A, B, C, A, B, C ...), it is
CPU time that counts, and a ratio is of two medians of one run: it holds where the times do not.
"""

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")  # of numpy, scipy and torch
THREADS += ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
if "BENCHMARK_DEFAULT_THREADS" not in os.environ:  # see unlimited()
    os.environ.update(dict.fromkeys(THREADS, "1"))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import datetime  # noqa: E402
import importlib.metadata  # noqa: E402
import importlib.util  # noqa: E402
import platform  # noqa: E402
import statistics  # noqa: E402
import time  # noqa: E402

import numpy as np  # noqa: E402

PACKAGE = Path(__file__).resolve().parents[1]
SHARED = PACKAGE.parents[1].parent / "shared" / "data"
RATE = 16000
Key = TypeVar("Key")
sys.path.append(str(PACKAGE / "tests" / "data"))  # libraries.py: the calls that the parity tests compare with


def present(modules: str) -> bool:
    """Whether all of the modules, named with spaces between, are installed."""
    return all(importlib.util.find_spec(module) for module in modules.split())


def arguments(description: str, rounds: int) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--rounds", type=int, default=rounds, help="how often each is measured (default %(default)s)")
    parser.add_argument("--output", type=Path, help="write the tables to this Markdown file too")
    return parser.parse_args()


def utterances(count: int) -> tuple[list[np.ndarray], str]:
    """So many utterances at 16 kHz, `(N,)` float32, and what they are: LibriSpeech if it is there, else noise."""
    files = sorted((SHARED / "librispeech").glob("*.flac"))[:count]
    if len(files) == count and present("soundfile"):
        from asr_features import read

        signals = [read(file, sample_rate=RATE) for file in files]
        what = "utterance of LibriSpeech"
    else:
        rng = np.random.default_rng(0)
        signals = [speech_like(rng, RATE * rng.uniform(4, 16)) for _ in range(count)]
        what = "utterance of noise with the spectrum and the rhythm of speech"
    if count > 1:
        what = f"{count} {what.replace('utterance', 'utterances')}"
    return signals, f"{what} ({sum(map(len, signals)) / RATE:.0f} s)"


def speech_like(rng: np.random.Generator, samples: float) -> np.ndarray:
    """Noise with more in the low frequencies, and four loud syllables a second."""
    noise = rng.standard_normal(int(samples))
    noise[1:] += 0.9 * noise[:-1]
    syllables = np.sin(np.pi * 4 * np.arange(int(samples)) / RATE) ** 4 + 1e-3
    return (0.01 * noise * syllables).astype(np.float32)


def interleave(calls: Mapping[Key, Callable[[], object]], rounds: int) -> dict[Key, float]:
    """The median CPU seconds of each call, over so many rounds in which each is called once."""
    for call in calls.values():
        call()
    times: dict[Key, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.process_time()
            call()
            times[name].append(time.process_time() - start)
    return {name: statistics.median(each) for name, each in times.items()}


def unlimited() -> dict[str, str]:
    """The environment without limits on threads, as a user has it, for a process of its own."""
    kept = {name: value for name, value in os.environ.items() if name not in THREADS}
    return {**kept, "BENCHMARK_DEFAULT_THREADS": "1"}


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table: the first column to the left, the others to the right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def versions(modules: Sequence[str]) -> str:
    """The versions of those of the modules that are installed, and which are not."""
    distributions = importlib.metadata.packages_distributions()
    wanted = ("numpy", "scipy", *modules)
    found = [f"{module} {importlib.metadata.version(distributions[module][0])}" for module in wanted if present(module)]
    missing = [module for module in wanted if not present(module)]
    return ", ".join(found) + (f". Not installed, so not measured: {', '.join(missing)}" if missing else "")


def machine() -> str:
    """What kind of machine this is, in words that hold for many."""
    cpuinfo = Path("/proc/cpuinfo")
    flags = cpuinfo.read_text() if cpuinfo.exists() else ""
    vectors = next((f" with {name}" for name, flag in (("AVX-512", "avx512f"), ("AVX2", "avx2")) if flag in flags), "")
    python = f"Python {platform.python_version()}"
    return f"{platform.machine()}{vectors}, {os.cpu_count()} cores, {platform.system()}, {python}"


def report(script: str, title: str, parts: Sequence[str], modules: Sequence[str], output: Path | None) -> None:
    """Prints the tables and how they were made, and writes them to `output`."""
    import asr_features

    made = (
        f"Made by `python benchmarks/{Path(script).name}` on {datetime.date.today():%Y-%m-%d} with asr-features "
        f"{asr_features.__version__}: {machine()}, {versions(modules)}."
    )
    text = "\n\n".join([f"# {title}", *parts, made]) + "\n"
    print(text)
    if output:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text)
