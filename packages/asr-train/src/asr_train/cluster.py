"""Which process of how many this is, from the environment. Nothing here loads TensorFlow."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from asr_train.errors import UserError

PORT = 12345
"""Of the first worker of each node under Slurm; the next ones have the next ports."""


@dataclass(frozen=True)
class Cluster:
    """The workers of a run, in the order of their numbers; worker 0 is the chief, which alone writes."""

    addresses: tuple[str, ...]
    """`host:port` of each."""
    index: int
    """Which one this process is."""

    def __post_init__(self) -> None:
        if not 0 <= self.index < len(self.addresses):
            raise UserError(f"this is worker {self.index} of {len(self.addresses)}: expected a number below that")
        for address in self.addresses:
            if not re.fullmatch(r".+:\d+", address):
                raise UserError(f"worker address {address!r}: expected host:port")
        if len(set(self.addresses)) < len(self.addresses):
            raise UserError(f"two workers have one address: {', '.join(self.addresses)}")

    @property
    def chief(self) -> bool:
        """Whether this process writes the run's folder."""
        return self.index == 0

    def name(self, index: int) -> str:
        """How a worker is called in messages."""
        return f"worker {index} ({self.addresses[index]})"

    def tf_config(self) -> str:
        """The value of TF_CONFIG that says the same."""
        task = {"type": "worker", "index": self.index}
        return json.dumps({"cluster": {"worker": list(self.addresses)}, "task": task})


def find_cluster(environment: Mapping[str, str]) -> Cluster | None:
    """From TF_CONFIG, or else from Slurm's variables; None where there is neither.

    Raises:
        UserError: TF_CONFIG or Slurm's variables are there, but do not say it.
    """
    if environment.get("TF_CONFIG"):
        return from_tf_config(environment["TF_CONFIG"])
    return from_slurm(environment) if "SLURM_STEP_NUM_TASKS" in environment else None


def from_tf_config(text: str) -> Cluster:
    """`{"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}`; a chief counts first.

    Raises:
        UserError: anything else.
    """
    try:
        values = json.loads(text)
        hosts = {role: list(addresses) for role, addresses in values["cluster"].items()}
        role, index = values["task"]["type"], int(values["task"]["index"])
    except (ValueError, KeyError, TypeError, AttributeError):
        expected = '{"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}'
        raise UserError(f"TF_CONFIG: expected {expected}, got {text}") from None
    if set(hosts) - {"chief", "worker"} or role not in hosts:
        raise UserError(f"TF_CONFIG: expected the roles chief and worker, got {', '.join(hosts)} and a task {role!r}")
    chiefs = hosts.get("chief", [])
    return Cluster(tuple(chiefs + hosts.get("worker", [])), index + (len(chiefs) if role == "worker" else 0))


def from_slurm(environment: Mapping[str, str]) -> Cluster:
    """One worker a task of the job step that `srun` started.

    Raises:
        UserError: a variable is missing or not of Slurm's form.
    """
    names = ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_STEP_NODELIST", "SLURM_STEP_TASKS_PER_NODE")
    try:
        rank, tasks, nodes, per_node = (environment[name] for name in names)
        counts = [int(m[1]) for part in per_node.split(",") for m in _repeated(part)]
        hosts = expand_nodes(nodes)
        addresses = [f"{host}:{PORT + n}" for host, count in zip(hosts, counts, strict=True) for n in range(count)]
        if len(addresses) != int(tasks):
            raise ValueError
        return Cluster(tuple(addresses), int(rank))
    except (KeyError, ValueError):
        found = ", ".join(f"{name}={environment.get(name)}" for name in names)
        raise UserError(f"Slurm: cannot tell the workers from {found}; start with srun, or set TF_CONFIG") from None


def _repeated(part: str) -> list[re.Match[str]]:
    """`4(x2)` is four tasks on each of two nodes."""
    match = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part)
    if match is None:
        raise ValueError(part)
    return [match] * int(match[2] or 1)


def expand_nodes(text: str) -> list[str]:
    """`gpu[01-03,7],login` -> gpu01, gpu02, gpu03, gpu7, login."""
    names: list[str] = []
    for part in re.findall(r"(?:[^,\[]|\[[^\]]*\])+", text):
        match = re.fullmatch(r"([^\[]*)(?:\[([^\]]+)\])?([^\[\]]*)", part)
        if match is None:
            raise ValueError(part)
        prefix, ranges, suffix = match.groups()
        for item in (ranges or "").split(","):
            first, _, last = item.partition("-")
            numbers = range(int(first), int(last or first) + 1) if item else [None]
            names += [prefix + ("" if n is None else str(n).zfill(len(first))) + suffix for n in numbers]
    return names
