"""Lowers whole training steps and the greedy searches for a TPU, on a machine that has none, and names what it refuses.

    nox -s tpu-lowering

or, in an environment of its own, for `tensorflow-tpu` cannot stand beside `tensorflow`,

    pip install tensorflow-tpu==2.20.0 && pip uninstall -y libtpu
    python tpu/lower.py [NAME ...]

TensorFlow's bridge needs the kernels that are registered for a TPU, which are in that wheel (for Python 3.9 to 3.13).
The driver that comes with it, libtpu, stops the process where there is no TPU. The package is taken from the
repository, not installed: it asks for a newer TensorFlow.

What is lowered is HLO, before XLA's own compiler: an operation, a shape known too late or a string that a TPU cannot
have is found, a lack of memory is not. The bridge stops at the first operation that it refuses: the next one is named
when that one is gone.

Ends with status 1 if anything is refused, or if something is lowered that must be refused.
"""

import argparse
import datetime
import importlib.util
import os
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
PACKAGE = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(PACKAGE / "src"), str(PACKAGE / "benchmarks")]

import interleave  # noqa: E402, of the benchmarks: their tables
from programs import BATCH, CONTROLS, FEATURES, FRAMES, LABELS, SEARCHES, STEPS, VOCABULARY, Lowered  # noqa: E402

OUTPUT = PACKAGE / "benchmarks" / "results" / "tpu_lowering.md"
PROGRAMS = {**STEPS, **SEARCHES, **{name: make for name, (make, _) in CONTROLS.items()}}


class Found(NamedTuple):
    """What came of a program."""

    refused: str
    """What a TPU refuses of it, or nothing."""
    operations: int
    """Of the HLO."""
    megabytes: float
    """Of the HLO, as text."""
    seconds: float
    """Of the CPU, to trace it and to lower it."""


def lower(make: Callable[[], Lowered]) -> Found:
    import tensorflow as tf

    function, arguments = make()
    start = time.process_time()
    compiled = tf.function(function, jit_compile=True, autograph=False)
    text, refused = "", ""
    try:
        text = compiled.experimental_get_compiler_ir(*arguments)(stage="hlo", platform_name="TPU")
    except Exception as error:  # of any kind: it is told, and the next one is lowered
        refused = reason(str(error))
    operations = len(re.findall(r"^\s+(?:ROOT )?%[\w.-]+ = ", text, re.MULTILINE))
    return Found(refused or shapes_known_late(text), operations, len(text) / 1e6, time.process_time() - start)


def reason(error: str) -> str:
    """The operation that an error of the bridge names and where it was called, else its first line."""
    unknown = re.findall(r"(\w+) \(No registered '\1' OpKernel for XLA_TPU_JIT", error)
    late = re.findall(r"Input (\d+) to node `.*?` with op (\w+) must be a compile-time constant", error)
    what = [f"a TPU has no {operation}" for operation in dict.fromkeys(unknown)]
    what += [f"{operation} must know its input {number} as it is compiled" for number, operation in late]
    return ", ".join(what or [error.strip().splitlines()[0][:300]]) + place(error)


def place(error: str) -> str:
    """The last line of ours on the way to an operation, that of the loop for what is in one."""
    calls = re.findall(r'File "([^"]+)", line (\d+)', error)
    # Paths begin anywhere: TensorFlow leaves out what they have in common.
    ours = [f"{Path(file).name}:{line}" for file, line in calls if "site-packages" not in file]
    return f" (called from {ours[-1]})" if ours else ""


def shapes_known_late(text: str) -> str:
    """The operations that give a shape with a bound, [<=8]: it is lowered, but all of ours are known before."""
    given = dict.fromkeys(re.findall(r' set-dimension-size\(.*op_type="(\w+)"', text))
    return f"a shape known only as it runs, of {', '.join(given) or 'an argument'}" if "<=" in text else ""


def check(names: list[str]) -> tuple[list[list[str]], int]:
    """A row of each program, and how many were refused."""
    rows, refused = [], 0
    for name in names:
        found = lower(PROGRAMS[name])
        refused += bool(found.refused)
        told = f"**refused**: {found.refused}" if found.refused else "yes"
        size = [f"{found.operations}", f"{found.megabytes:.1f}"] if found.operations else ["", ""]
        rows.append([name, told, *size, f"{found.seconds:.1f}"])
        print(f"{name}: {' | '.join(rows[-1][1:])}", flush=True)
    return rows, refused


def check_controls() -> tuple[list[list[str]], int]:
    """A row of each thing that no TPU takes, and how many of them were not named."""
    rows, missed = [], 0
    for name, (make, operation) in CONTROLS.items():
        found = lower(make).refused
        named = re.search(rf"\b{operation}\b", found) is not None
        missed += not named
        rows.append([name, operation, found if named else f"**not named**: {found or 'it was lowered'}"])
        print(f"{name}: {rows[-1][-1]}", flush=True)
    return rows, missed


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="some of the programs, no table is written then")
    parser.add_argument("--list", action="store_true", help="name the programs and end")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="the Markdown file (default %(default)s)")
    options = parser.parse_args()
    if unknown := sorted(set(options.names) - PROGRAMS.keys()):
        parser.error(f"no program {', '.join(map(repr, unknown))}: expected some of those that --list names")
    if importlib.util.find_spec("libtpu"):
        parser.error("libtpu is installed, and would look for a TPU: pip uninstall -y libtpu")
    return options


def write(output: Path, steps: list[list[str]], searches: list[list[str]], controls: list[list[str]]) -> None:
    import tensorflow as tf

    import asr_models

    header = ["", "lowered", "HLO operations", "MB", "CPU s"]
    parts = [
        "# Lowered for a TPU, on a machine without one",
        f"A batch of {BATCH}, {FRAMES} frames of {FEATURES} features, {LABELS} of {VOCABULARY} labels where nothing "
        "else is said. It is HLO, before XLA's own compiler: a lack of memory is not seen. Seconds are those of "
        "tracing and lowering.",
        "## Whole training steps\n\nForward with dropout, loss, gradients, clipping by their common norm, Adam.",
        interleave.table(header, steps),
        "## Greedy searches",
        interleave.table(header, searches),
        "## What must be refused\n\nThat the check can fail: what no TPU takes, and what was said of it.",
        interleave.table(["", "to be named", "said"], controls),
        f"Made by `python tpu/lower.py` on {datetime.date.today():%Y-%m-%d} with asr-models {asr_models.__version__}: "
        f"{interleave.machine()}, tensorflow-tpu {tf.__version__}, {interleave.versions(['keras'])}.",
    ]
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def main() -> int:
    options = arguments()
    if options.list:
        print("\n".join(PROGRAMS))
        return 0
    controls, missed = check_controls()
    if missed:
        print(f"{missed} things passed that no TPU takes, so nothing can be said: is this tensorflow-tpu?")
        return 1
    steps, searches = [name for name in options.names or STEPS if name not in SEARCHES], list(SEARCHES)
    if options.names:
        searches = [name for name in options.names if name in SEARCHES]
    found, refused = zip(check(steps), check(searches), strict=True)
    if not options.names:
        write(options.output, *found, controls)
    count = len(steps) + len(searches)
    print(
        f"{count - sum(refused)} of {count} lowered for a TPU; of {len(controls)} that must be refused all were named"
    )
    return 1 if sum(refused) else 0


if __name__ == "__main__":
    sys.exit(main())
