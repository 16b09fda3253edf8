"""What the benchmarks share: calls or processes measured in turns, and their tables. Import it before numpy.

A machine with other work to do is never equally fast for long. So what is compared takes turns (A, B, C, A, B, C ...),
and a ratio is the median over the rounds of one run: it holds where the times do not.

Small calls are measured in one process, on one thread. Whole networks have a process each (`workers`), because
the threads of two libraries in one process wait for one another and spend CPU time doing so.
"""

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")  # of numpy and torch
THREADS += ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
COUNT = os.environ.get("BENCHMARK_THREADS", "1")
os.environ.update(dict.fromkeys(THREADS, COUNT))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import datetime  # noqa: E402
import importlib.metadata  # noqa: E402
import importlib.util  # noqa: E402
import json  # noqa: E402
import platform  # noqa: E402
import resource  # noqa: E402
import statistics  # noqa: E402
import subprocess  # noqa: E402
import time  # noqa: E402

PACKAGE = Path(__file__).resolve().parents[1]

Seconds = dict[str, list[tuple[float, float]]]
"""For each name, (wall, CPU) seconds of a call in each round."""


def present(modules: str) -> bool:
    """Whether all of the modules, named with spaces between, are installed."""
    return all(importlib.util.find_spec(module) for module in modules.split())


def parser(description: str, rounds: int) -> argparse.ArgumentParser:
    """The arguments that all benchmarks have."""
    found = argparse.ArgumentParser(description=description)
    found.add_argument("--rounds", type=int, default=rounds, help="how often each is measured (default %(default)s)")
    found.add_argument("--output", type=Path, help="write the tables to this Markdown file too")
    return found


def interleave(calls: Mapping[str, Callable[[], object]], rounds: int) -> Seconds:
    """Each call in its turn, so many rounds; once before, to load and compile what it needs."""
    for call in calls.values():
        call()
    times: Seconds = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            times[name].append(measured(call))
    return times


def measured(call: Callable[[], object]) -> tuple[float, float]:
    """(wall, CPU) seconds of one call."""
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - wall, time.process_time() - cpu


def ratio(times: Seconds, peer: str, ours: str, *, wall: bool = False) -> float:
    """How many times our seconds the peer takes: the median over the rounds."""
    column = 0 if wall else 1
    pairs = zip(times[peer], times[ours], strict=True)
    return statistics.median(theirs[column] / mine[column] for theirs, mine in pairs)


def median(times: Seconds, name: str, *, wall: bool = False) -> float:
    """Seconds of one call."""
    return statistics.median(each[0 if wall else 1] for each in times[name])


def serve(call: Callable[[], float]) -> None:
    """In a process of `workers`: the first call, then one for each line that comes in, each told in a line."""
    start = time.perf_counter()
    value = call()
    first = time.perf_counter() - start
    call()
    print(json.dumps({"first": first, "value": value, "peak": peak()}), flush=True)
    for _ in sys.stdin:
        print(json.dumps(measured(call)), flush=True)


@contextmanager
def workers(commands: Mapping[str, Sequence[str]], threads: int) -> Iterator[dict[str, subprocess.Popen[str]]]:
    """A process for each Python command, which is to call `serve`."""
    environment = {**os.environ, **dict.fromkeys(THREADS, str(threads)), "BENCHMARK_THREADS": str(threads)}
    with ExitStack() as stack:
        found = {}
        for name, command in commands.items():
            pipe = subprocess.PIPE
            process = subprocess.Popen(
                [sys.executable, *command],
                stdin=pipe,
                stdout=pipe,
                text=True,
                env=environment,
                cwd=PACKAGE / "benchmarks",
            )
            found[name] = stack.enter_context(process)
            stack.callback(process.kill)
        yield found


def take_turns(
    commands: Mapping[str, Sequence[str]], rounds: int, threads: int
) -> tuple[Seconds, dict[str, dict[str, float]]]:
    """Each process in its turn, so many rounds: the seconds, and what each told of its first call."""
    with workers(commands, threads) as running:
        first = {name: _answer(name, process) for name, process in running.items()}
        times: Seconds = {name: [] for name in running}
        for _ in range(rounds):
            for name, process in running.items():
                assert process.stdin is not None
                process.stdin.write("\n")
                process.stdin.flush()
                wall, cpu = _answer(name, process)
                times[name].append((wall, cpu))
    return times, first


def _answer(name, process):
    for line in process.stdout:
        if line.startswith(("{", "[")):  # whatever else a library has to say
            return json.loads(line)
    sys.exit(f"the process of {name} ended without an answer, with status {process.wait()}: see what it wrote above")


def peak() -> int:
    """The most bytes that this process has held."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    found = next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), 0)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # counts what started this process, too
    return found or (most if sys.platform == "darwin" else 1024 * most)


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table: the first column to the left, the others to the right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def goals(rows: Sequence[tuple[str, float, float]]) -> str:
    """A table of what was found, (what, found, at least)."""
    lines = [
        [what, f"{found:.2f}", f"at least {least:g}", "yes" if found >= least else "**no**"]
        for what, found, least in rows
    ]
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
    kinds = (("AMX", "amx_bf16"), ("AVX-512 with bfloat16", "avx512_bf16"), ("AVX-512", "avx512f"), ("AVX2", "avx2"))
    vectors = next((f" with {name}" for name, flag in kinds if flag in flags), "")
    python = f"Python {platform.python_version()}"
    return f"{platform.machine()}{vectors}, {os.cpu_count()} cores, {platform.system()}, {python}"


def report(script: str, title: str, parts: Sequence[str], modules: Sequence[str], output: Path | None) -> None:
    """Prints the tables and how they were made, and writes them to `output`."""
    import asr_models

    made = (
        f"Made by `python benchmarks/{Path(script).name}` on {datetime.date.today():%Y-%m-%d} with asr-models "
        f"{asr_models.__version__}: {machine()}, {versions(modules)}."
    )
    text = "\n\n".join([f"# {title}", *parts, made]) + "\n"
    print(text)
    if output:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text, encoding="utf-8")
