"""Malformed inputs against the decoders: python packages/asr-decoders/fuzz/decode.py --cases 10000

Every case is made from the seed and its number alone (`cases.py`), and must be refused by a ValueError of one line, or
be decoded to something sound where it may be as good as before. Anything else is a finding, and the exit status is
1: another exception, a message of several lines, a crash. On Linux with a C++ compiler, the native library is compiled
with AddressSanitizer and UndefinedBehaviorSanitizer for this; --plain takes the package as it is installed.
"""

import argparse
import collections
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[1] / "src" / "asr_decoders"
COMPILER = os.environ.get("CXX", "g++")
SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"]


def sanitized(folder: Path) -> dict[str, str]:
    """Copies the package to the folder, its library compiled to find faults; the environment that it needs."""
    shutil.copytree(SOURCE, folder / "asr_decoders", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    native = folder / "asr_decoders" / "native"
    command = [COMPILER, "-std=c++17", "-O1", "-g", "-shared", "-fPIC", *SANITIZE, *map(str, native.glob("*.cpp"))]
    subprocess.run([*command, "-o", str(native / "decoders.so")], check=True)
    runtime = subprocess.run([COMPILER, "-print-file-name=libasan.so"], capture_output=True, text=True, check=True)
    return {
        "PYTHONPATH": str(folder),
        "LD_PRELOAD": runtime.stdout.strip(),
        "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1",
        "PYTHONMALLOC": "malloc",  # what Python gives to the library is watched too
    }


def serve(seed: int, first: int, last: int) -> None:
    """The worker: an outcome a line."""
    import cases

    from asr_decoders import native

    print(f"{native.__file__}: {native.why_not() or 'native'}", file=sys.stderr, flush=True)
    for number in range(first, last):
        print(cases.examine(seed, number), flush=True)


def run(seed: int, first: int, last: int, environment: dict[str, str], errors: Path) -> list[str]:
    """The outcomes of the cases, in processes that follow each other when one dies."""
    outcomes: list[str] = []
    with errors.open("wb") as file:
        while first + len(outcomes) < last:
            command = [sys.executable, __file__, "--serve", str(seed), str(first + len(outcomes)), str(last)]
            worker = subprocess.Popen(
                command, env=os.environ | environment, stdout=subprocess.PIPE, stderr=file, text=True
            )
            outcomes.extend(line.strip() for line in worker.stdout)
            if worker.wait() and first + len(outcomes) < last:
                outcomes.append(f"finding: the process ended with {worker.returncode}, see {errors}")
    return outcomes


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--case", type=int, help="only this one")
    parser.add_argument("--plain", action="store_true", help="the package as it is installed")
    parser.add_argument("--errors", type=Path, default=Path(tempfile.gettempdir()) / "asr-decoders-fuzz.log")
    options = parser.parse_args(arguments)
    first, last = (0, options.cases) if options.case is None else (options.case, options.case + 1)
    with tempfile.TemporaryDirectory() as folder:
        plain = options.plain or sys.platform != "linux" or shutil.which(COMPILER) is None
        environment = {} if plain else sanitized(Path(folder))
        outcomes = run(options.seed, first, last, environment, options.errors)
    for outcome, count in sorted(collections.Counter(outcomes).items()):
        print(f"{count:6} {outcome}")
    found = [number for number, outcome in enumerate(outcomes, first) if outcome.startswith("finding")]
    print(f"{len(outcomes)} cases of seed {options.seed}: {len(found)} findings {found[:10]}")
    return 1 if found else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(*map(int, sys.argv[2:]))
    else:
        sys.exit(main())
