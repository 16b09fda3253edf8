"""Who the workers are, and what happens when one of them ends. Without TensorFlow, but for the last tests."""

import dataclasses
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from asr_train.cli import status
from asr_train.cluster import Cluster, expand_nodes, find_cluster
from asr_train.config import RunConfig
from asr_train.config_file import write_config
from asr_train.errors import UserError
from asr_train.watch import meeting_place

_spec = importlib.util.spec_from_file_location(
    "run_workers", Path(__file__).resolve().parent.parent / "tools/run_workers.py"
)
assert _spec is not None and _spec.loader is not None
run_workers = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(run_workers)


def tf_config(cluster: object, role: str, index: int) -> dict[str, str]:
    return {"TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": role, "index": index}})}


def test_tf_config_says_who_the_workers_are() -> None:
    assert find_cluster({}) is None
    found = find_cluster(tf_config({"worker": ["a:1", "b:2"]}, "worker", 1))
    assert found == Cluster(("a:1", "b:2"), 1) and not found.chief and found.name(1) == "worker 1 (b:2)"
    assert find_cluster({"TF_CONFIG": found.tf_config()}) == found
    roles = {"chief": ["a:1"], "worker": ["b:2", "c:3"]}
    assert find_cluster(tf_config(roles, "worker", 1)) == Cluster(("a:1", "b:2", "c:3"), 2)
    chief = find_cluster(tf_config(roles, "chief", 0))
    assert chief is not None and chief.chief


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"TF_CONFIG": "{"}, r"TF_CONFIG: expected \{"),
        ({"TF_CONFIG": "[]"}, r"TF_CONFIG: expected \{"),
        (tf_config({"worker": ["a:1"]}, "worker", 1), "worker 1 of 1: expected a number below"),
        (tf_config({"worker": ["a:1"], "ps": ["b:1"]}, "ps", 0), "expected the roles chief and worker, got worker, ps"),
        (tf_config({"worker": ["a"]}, "worker", 0), "'a': expected host:port"),
        (tf_config({"worker": ["a:1", "a:1"]}, "worker", 0), "two workers have one address"),
        ({"SLURM_STEP_NUM_TASKS": "2"}, "Slurm: cannot tell the workers"),
    ],
)
def test_what_does_not_say_it_is_refused(environment: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        find_cluster(environment)
    assert "\n" not in str(caught.value)


def test_slurm_says_it_too() -> None:
    environment = {
        "SLURM_PROCID": "4",
        "SLURM_STEP_NUM_TASKS": "5",
        "SLURM_STEP_NODELIST": "gpu[08-09],login",
        "SLURM_STEP_TASKS_PER_NODE": "2(x2),1",
    }
    found = find_cluster(environment)
    assert found == Cluster(("gpu08:12345", "gpu08:12346", "gpu09:12345", "gpu09:12346", "login:12345"), 4)
    with pytest.raises(UserError, match="start with srun"):
        find_cluster({**environment, "SLURM_STEP_NUM_TASKS": "6"})
    assert expand_nodes("a[1-3,07,10]-x,b") == ["a1-x", "a2-x", "a3-x", "a07-x", "a10-x", "b"]
    assert expand_nodes("one") == ["one"]


def test_the_workers_meet_beside_the_port_of_the_chief() -> None:
    assert meeting_place(Cluster(("::1:2222", "b:1"), 0)) == ("::1", 3222)
    assert meeting_place(Cluster(("a:65000", "b:1"), 1)) == ("a", 64000)


WORKER = """
import os, sys, time
from asr_train import watch
from asr_train.cluster import find_cluster
from asr_train.config import RunConfig
from asr_train.config_file import write_config
from asr_train.errors import UserError
watch.SILENCE, watch.BEAT = 3.0, 0.2
cluster = find_cluster(os.environ)
try:
    with watch.Watch(cluster, tell=lambda line: print("told:", line, flush=True), patience=20) as w:
        w.ready()
        print("begun", flush=True)
        exec(sys.argv[1])
except UserError as error:
    sys.exit(f"refused: {error}")
print("left")
"""


Start = Callable[[int, list[str]], list[subprocess.Popen[str]]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a command as several workers; they are gone when the test is over."""
    begun: list[subprocess.Popen[str]] = []

    def start(count: int, command: list[str]) -> list[subprocess.Popen[str]]:
        processes: list[subprocess.Popen[str]] = run_workers.start(count, command)
        begun.extend(processes)
        return processes

    yield start
    for process in begun:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def command(body: str) -> list[str]:
    return [sys.executable, "-c", WORKER, body]


def begun(processes: list[subprocess.Popen[str]]) -> None:
    for process in processes:
        assert process.stdout is not None and process.stdout.readline() == "begun\n"


def test_workers_that_are_done_leave_in_peace_the_slow_one_too(start: Start) -> None:
    processes = start(3, command("time.sleep(0.8 * cluster.index)"))
    said = [process.communicate(timeout=60)[0] for process in processes]
    assert said == ["begun\nleft\n"] * 3
    assert [process.returncode for process in processes] == [0] * 3


@pytest.mark.parametrize("victim", [0, 2])
def test_a_killed_worker_ends_the_others_at_once_with_its_name(start: Start, victim: int) -> None:
    processes = start(3, command("time.sleep(60)"))
    begun(processes)
    processes[victim].kill()
    killed = time.monotonic()
    for process in processes[:victim] + processes[victim + 1 :]:
        said = process.communicate(timeout=30)[0]
        message = (
            rf"worker {victim} \(127.0.0.1:\d+\) ended: its process is gone; start all workers again with --resume\n"
        )
        assert re.search(f"told: {message}", said) and re.search(f"asr-train: {message}", said)
        assert process.returncode == 1
    assert time.monotonic() - killed < 10


def test_a_worker_that_hangs_is_told_from_its_silence(start: Start) -> None:
    processes = start(2, command("time.sleep(60)"))
    begun(processes)
    os.kill(processes[1].pid, signal.SIGSTOP)
    said = processes[0].communicate(timeout=30)[0]
    assert "worker 1 " in said and "ended: no sign of it for 3 s" in said


def test_the_reason_of_a_worker_is_the_message_of_all(start: Start) -> None:
    processes = start(2, command("if cluster.index: raise UserError('train.tsv:3: no such file')\ntime.sleep(60)"))
    said = [process.communicate(timeout=30)[0] for process in processes]
    assert "worker 1 " in said[0] and "ended: train.tsv:3: no such file; start all workers again" in said[0]
    assert "refused: train.tsv:3: no such file" in said[1]
    assert [process.returncode for process in processes] == [1, 1]


def test_a_worker_that_does_not_come_is_named() -> None:
    environment = run_workers.environments(2)[0]
    body = WORKER.replace("patience=20", "patience=1")
    done = subprocess.run(
        [sys.executable, "-c", body, ""], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert (
        done.returncode == 1
        and "refused: worker 1 (127.0.0.1:" in done.stderr
        and "did not come within 1 s" in done.stderr
    )


def test_killing_one_of_two_workers_ends_the_run_and_another_number_resumes_it(
    start: Start, tiny_ctc: RunConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train = dataclasses.replace(tiny_ctc.train, epochs=3)
    data = dataclasses.replace(tiny_ctc.data, batch_seconds=4.0)
    write_config(dataclasses.replace(tiny_ctc, train=train, data=data), tmp_path / "config.yaml")
    arguments = ["train", "--config", str(tmp_path / "config.yaml"), "--output", str(tmp_path / "run")]
    chief, other = start(2, [sys.executable, "-c", "from asr_train.cli import main; main()", *arguments])
    deadline = time.monotonic() + 300
    while not list((tmp_path / "run").glob("checkpoints/step-*")) and time.monotonic() < deadline:
        assert chief.poll() is None and other.poll() is None, (chief.communicate(), other.communicate())
        time.sleep(0.05)
    other.kill()
    killed = time.monotonic()
    said = chief.communicate(timeout=60)[0]
    assert time.monotonic() - killed < 60
    assert chief.returncode == 1
    assert re.search(r"asr-train: worker 1 \(127.0.0.1:\d+\) ended: its process is gone; start all .* --resume", said)

    assert status([*arguments, "--resume"]) == 0
    said = capsys.readouterr().out
    assert re.search(r"resumed at step [1-9]\d*, epoch \d, batch \d+", said)
    assert "epoch 3/3" in said and (tmp_path / "run/model/weights.safetensors").is_file()
