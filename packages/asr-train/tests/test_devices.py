"""One process, two replicas in one, two workers and four: the same weights in the end."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

HERE = Path(__file__).parent
_spec = importlib.util.spec_from_file_location("run_workers", HERE.parent / "tools/run_workers.py")
assert _spec is not None and _spec.loader is not None
run_workers = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(run_workers)

OPTIONS = {
    "deepspeech2": {"optimizer": "sgd"},
    "las": {"optimizer": "adamw", "learning_rate": 0.01, "accumulate": 2, "weight_noise": 0.02},
}
"""Of the two families, beside clipping, average and decay, which both have."""


def arguments(strategy: str, steps: int, output: Path, kinds: tuple[str, ...]) -> list[str]:
    jobs = [f"{kind}={json.dumps(OPTIONS[kind])}" for kind in kinds]
    return [sys.executable, str(HERE / "replicas.py"), strategy, str(steps), str(output), *jobs]


def run(strategy: str, steps: int, output: Path, *, workers: int = 1, kinds: tuple[str, ...] = tuple(OPTIONS)) -> Path:
    output.mkdir()
    command = arguments(strategy, steps, output, kinds)
    if workers == 1:
        subprocess.run(command, check=True, capture_output=True, text=True)
        return output
    processes = run_workers.start(workers, command)
    said = [process.communicate(timeout=600)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * workers, said
    return output


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run("one", 20, tmp_path_factory.mktemp("replicas") / "one")


def read(folder: Path, kind: str, worker: int = 0) -> dict[str, Any]:
    with np.load(folder / f"{kind}.{worker}.npz") as arrays:
        return dict(arrays)


def check(folder: Path, alone: Path, *, workers: int = 1, kinds: tuple[str, ...] = tuple(OPTIONS)) -> None:
    for kind in kinds:
        expected, got = read(alone, kind), read(folder, kind)
        assert expected.keys() == got.keys()
        assert np.min(expected["outcomes"][:, 2]) > 0.5, "the gradients are to be clipped"
        for name in expected.keys() - {"outcomes"}:
            np.testing.assert_allclose(got[name], expected[name], atol=1e-5, rtol=1e-5, err_msg=f"{kind} {name}")
        np.testing.assert_allclose(got["outcomes"][:, :3], expected["outcomes"][:, :3], rtol=1e-4)
        np.testing.assert_array_equal(got["outcomes"][:, 3], expected["outcomes"][:, 3])  # the chief's rate
        np.testing.assert_array_equal(got["outcomes"][:, 4], np.full(20, workers))  # a vote each
        for worker in range(1, workers):
            other = read(folder, kind, worker)
            for name in got:
                np.testing.assert_array_equal(other[name], got[name], err_msg=f"{kind} {name}")


def test_two_replicas_in_one_process_end_with_the_weights_of_one(alone: Path, tmp_path: Path) -> None:
    check(run("mirrored", 20, tmp_path / "mirrored"), alone)


def test_two_workers_end_with_the_weights_of_one_process(alone: Path, tmp_path: Path) -> None:
    check(run("workers", 20, tmp_path / "two", workers=2), alone, workers=2)


def test_four_workers_do_too_though_some_have_no_utterance_in_a_batch(alone: Path, tmp_path: Path) -> None:
    # The family with statistics in its layers; the other one differs in nothing that has to do with their number.
    kinds = ("deepspeech2",)
    check(run("workers", 20, tmp_path / "four", workers=4, kinds=kinds), alone, workers=4, kinds=kinds)
