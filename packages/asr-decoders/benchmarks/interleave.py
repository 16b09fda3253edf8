"""What the benchmarks share: calls measured in turns on one thread, and their tables. Import it before numpy.

A machine with other work to do is never equally fast for long. So the calls take turns (A, B, C, A, B, C ...), it is
CPU time that counts, and a ratio is of two medians of one run: it holds where the times do not.
"""

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")  # of numpy and its like
THREADS += ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
os.environ.update(dict.fromkeys(THREADS, "1"))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import datetime  # noqa: E402
import importlib.metadata  # noqa: E402
import importlib.util  # noqa: E402
import platform  # noqa: E402
import resource  # noqa: E402
import statistics  # noqa: E402
import time  # noqa: E402

PACKAGE = Path(__file__).resolve().parents[1]
SHARED = PACKAGE.parents[1].parent / "shared" / "data"
TURN = 0.005  # seconds: what is quicker is called several times in a turn
PATIENCE = 15.0  # seconds that one call may take altogether; slow ones are measured in fewer rounds, at least one


def present(modules: str) -> bool:
    """Whether all of the modules, named with spaces between, are installed."""
    return all(importlib.util.find_spec(module) for module in modules.split())


def arguments(description: str, rounds: int) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--rounds", type=int, default=rounds, help="how often each is measured (default %(default)s)")
    parser.add_argument("--output", type=Path, help="write the tables to this Markdown file too")
    return parser.parse_args()


def interleave(calls: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """The median CPU seconds of each call, over so many rounds in which each is called in its turn.

    Each is called before, to load what it needs. Where that takes half of PATIENCE already it is all that counts.
    """
    repeats: dict[str, int] = {}
    times: dict[str, list[float]] = {}
    spent: dict[str, float] = {}
    for name, call in calls.items():
        first = cpu(call)
        if 2 * first > PATIENCE:
            times[name], spent[name] = [first], PATIENCE
        else:
            first = min(first, cpu(call))
            repeats[name] = max(1, round(TURN / max(first, 1e-9)))
            times[name], spent[name] = [], first
    for _ in range(rounds):
        for name, call in calls.items():
            if spent[name] < PATIENCE:
                times[name].append(cpu(call, repeats[name]))
                spent[name] += times[name][-1]
    return {name: statistics.median(each) for name, each in times.items()}


def cpu(call: Callable[[], object], repeats: int = 1) -> float:
    """CPU seconds of one call, of so many."""
    start = time.process_time()
    for _ in range(repeats):
        call()
    return (time.process_time() - start) / repeats


def peak() -> int:
    """The most bytes that this process has held."""
    found = _status("VmHWM")  # the other counts what the process that started this one held
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return found or (most if sys.platform == "darwin" else 1024 * most)


def held() -> int:
    """The bytes that this process holds now, where the system tells; else the most that it has held."""
    return _status("VmRSS") or peak()


def _status(name: str) -> int:
    """A number of bytes that Linux knows of this process, 0 elsewhere."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(name + ":")), 0)


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table: the first column to the left, the others to the right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def goals(rows: Sequence[tuple[str, float, float]]) -> str:
    """A table of what was found, (what, found, at least): negative numbers are of what is to be at most."""
    lines = []
    for what, found, least in rows:
        bound = f"{'at most' if least < 0 else 'at least'} {abs(least):g}"
        lines.append([what, f"{abs(found):.3g}", bound, "yes" if found >= least else "**no**"])
    return table(["goal", "found", "wanted", "reached"], lines)


def versions(modules: Sequence[str]) -> str:
    """The versions of those of the modules that are installed, and which are not."""
    distributions = importlib.metadata.packages_distributions()
    wanted = ("numpy", *modules)
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
    import asr_decoders

    made = (
        f"Made by `python benchmarks/{Path(script).name}` on {datetime.date.today():%Y-%m-%d} with asr-decoders "
        f"{asr_decoders.__version__}: {machine()}, {versions(modules)}."
    )
    text = "\n\n".join([f"# {title}", *parts, made]) + "\n"
    print(text)
    if output:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text, encoding="utf-8")
