"""A short run of fuzz/read.py, and that it finds what it is there to find."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

FUZZ = Path(__file__).parents[1] / "fuzz"
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's limits of a process")

HEAD = f"import sys, time, os, pathlib; sys.path.insert(0, {str(FUZZ)!r}); import read\n"


@pytest.fixture
def fuzz(monkeypatch):
    monkeypatch.syspath_prepend(FUZZ)
    import read

    return read


def test_two_hundred_mutated_files():
    command = [sys.executable, FUZZ / "read.py", "--cases", "200", "--seed", "1"]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "200 cases of seed 1: 0 findings" in run.stdout
    assert "refused: the file is cut short" in run.stdout and " read\n" in run.stdout


def test_the_sounds_themselves_are_read(fuzz, tmp_path):
    for name, content in fuzz.originals(tmp_path).items():
        (tmp_path / name).write_bytes(content)
        assert fuzz.examine(tmp_path / name) == "read", name


def test_a_case_is_made_of_its_seed_and_number_alone(fuzz, tmp_path):
    def made(numbers):
        return {number: path.read_bytes() for number, path in fuzz.cases(5, numbers, tmp_path)}

    assert made(range(7, 9)) == {number: content for number, content in made(range(10)).items() if number in (7, 8)}
    assert len(set(made(range(50)).values())) > 45


def test_checksums_of_ogg_are_mended(fuzz, tmp_path):
    from mutations import mend_ogg

    for name, content in fuzz.originals(tmp_path).items():
        if name.endswith(".ogg"):
            damaged = bytearray(content)
            damaged[22:26] = b"none"
            mend_ogg(damaged)
            assert damaged == content


@pytest.mark.parametrize(
    "body, finding",
    [
        ("lambda path: os.abort()", "finding: the process ended with SIGABRT"),
        ("lambda path: sys.exit(3)", "finding: the process ended with 3"),
        ("lambda path: [0 for _ in iter(int, 1)]", "finding: longer than 2 s"),
        ("lambda path: str(len(bytes(600 * 2**20)))", "finding: the process ended with 1"),  # MemoryError
    ],
)
def test_what_ends_a_process_is_found(fuzz, body, finding):
    worker = fuzz.Worker([sys.executable, "-c", f"{HEAD}read.SECONDS = 0.2\nread.serve({body})"])
    assert worker(Path("a.wav")) == finding
    worker.close()


def test_a_process_that_sleeps_is_found(fuzz, monkeypatch):
    monkeypatch.setattr(fuzz, "PATIENCE", 1)
    worker = fuzz.Worker([sys.executable, "-c", f"{HEAD}read.serve(lambda path: time.sleep(60))"])
    assert worker(Path("a.wav")) == "finding: longer than 2 s"


@pytest.mark.parametrize(
    "error, finding",
    [
        (KeyError("x"), "finding: KeyError"),
        (UnicodeDecodeError("utf-8", b"x", 0, 1, "x"), "finding: UnicodeDecodeError"),
        (ValueError("{path}: one\ntwo"), "finding: ValueError"),
        (ValueError("no path"), "finding: ValueError"),
    ],
)
def test_errors_that_are_not_documented_are_found(fuzz, tmp_path, monkeypatch, error, finding):
    from asr_features import audio

    path = tmp_path / "a.pcm"
    path.write_bytes(bytes(2000))
    assert fuzz.examine(path) == "read"

    def fail(*_, **__):
        raise type(error)(*(str(path).join(x.split("{path}")) if isinstance(x, str) else x for x in error.args))

    monkeypatch.setattr(audio, "read", fail)
    assert fuzz.examine(path).startswith(finding)


@pytest.mark.parametrize(
    "name, spoil, finding",
    [
        ("read", lambda result: result.astype(np.float64), "finding: float64"),
        ("read", lambda result: result[1:], "finding: float32 (999,)"),
        ("read", lambda result: result + 2, "finding: samples beyond"),
        ("blocks", lambda result: (block + 0.5 for block in result), "finding: blocks are not what read gives"),
    ],
)
def test_results_that_are_wrong_are_found(fuzz, tmp_path, monkeypatch, name, spoil, finding):
    from asr_features import audio

    path = tmp_path / "a.pcm"
    path.write_bytes(bytes(2000))
    sound = getattr(audio, name)
    monkeypatch.setattr(audio, name, lambda *args, **options: spoil(sound(*args, **options)))
    assert fuzz.examine(path).startswith(finding)
