"""One process, two replicas in one, two workers and four: the same weights in the end."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from asr_train.config import TrainConfig
from asr_train.devices import Devices
from asr_train.errors import UserError
from asr_train.steps import training_step

OPTIONS = {
    "deepspeech2": {"optimizer": "sgd"},
    "las": {"optimizer": "adamw", "learning_rate": 0.01, "accumulate": 2, "weight_noise": 0.02},
}
"""Of the two families, beside clipping, average and decay, which both have."""
JOBS = {
    "one": ("one", 1, tuple(OPTIONS)),
    "mirrored": ("mirrored", 1, tuple(OPTIONS)),
    "two": ("workers", 2, ("las",)),
    # The family with statistics in its layers, and more workers than some batches have utterances for.
    "four": ("workers", 4, ("deepspeech2",)),
}


@pytest.fixture(scope="module")
def ends(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for each job, with what its processes had in the end."""
    output = tmp_path_factory.mktemp("replicas")
    jobs = {name: (how, count, {k: OPTIONS[k] for k in kinds}) for name, (how, count, kinds) in JOBS.items()}
    program = Path(__file__).with_name("replicas.py")
    process = subprocess.Popen([sys.executable, str(program), str(output), json.dumps(jobs)], start_new_session=True)
    try:
        assert process.wait(timeout=600) == 0
        yield output
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def read(folder: Path, kind: str, worker: int = 0) -> dict[str, Any]:
    with np.load(folder / f"{kind}.{worker}.npz") as arrays:
        return dict(arrays)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("job", ["mirrored", "two", "four"])
def test_replicas_end_with_the_weights_of_one_process(ends: Path, job: str) -> None:
    _, workers, kinds = JOBS[job]
    for name, count in (("one", 1), (job, workers)):
        said = "\n".join(path.read_text() for path in sorted((ends / name).glob("*.out")))
        assert json.loads((ends / name / "statuses.json").read_text()) == [0] * count, said
    for kind in kinds:
        expected, got = read(ends / "one", kind), read(ends / job, kind)
        assert expected.keys() == got.keys()
        assert np.min(expected["outcomes"][:, 2]) > 0.5, "the gradients are to be clipped"
        for name in expected.keys() - {"outcomes"}:
            np.testing.assert_allclose(got[name], expected[name], atol=1e-5, rtol=1e-5, err_msg=f"{kind} {name}")
        np.testing.assert_allclose(got["outcomes"][:, :3], expected["outcomes"][:, :3], rtol=1e-4)
        np.testing.assert_array_equal(got["outcomes"][:, 3], expected["outcomes"][:, 3])  # the chief's rate
        np.testing.assert_array_equal(got["outcomes"][:, 4], np.full(20, workers))  # a vote each
        for worker in range(1, workers):
            other = read(ends / job, kind, worker)
            for name in got:
                np.testing.assert_array_equal(other[name], got[name], err_msg=f"{kind} {name}")


class TwoReplicas(Devices):
    """All that is asked of devices before a step is traced."""

    replicas = 2


def test_compiling_a_step_of_several_replicas_is_refused() -> None:
    one = tf.distribute.OneDeviceStrategy("CPU:0")
    assert Devices(one).jit_compile(True) and not Devices(one).jit_compile(False)
    assert not TwoReplicas(one).jit_compile(False)
    state: Any = type("State", (), {"config": TrainConfig(jit_compile=True)})
    with pytest.raises(UserError, match="^train.jit_compile is for one device, and this run has 2 replicas: set it to"):
        training_step(None, state, TwoReplicas(one))  # type: ignore[arg-type]
