"""Start a command as several workers on this machine, for trying out what will run on many.

    python tools/run_workers.py 2 asr-train train --config digits-las --output run

Each process gets its TF_CONFIG. Their lines are prefixed by their numbers; the exit status is the highest of theirs.
"""

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import ExitStack

OFFSET = 1000  # the chief's second port, see asr_train.watch


def free_ports(count: int) -> list[int]:
    """Ports on which nobody listens, the first with another such one a thousand further."""
    while True:
        with ExitStack() as stack:
            ports = []
            for _ in range(count):
                holder = stack.enter_context(socket.socket())
                holder.bind(("127.0.0.1", 0))
                ports.append(holder.getsockname()[1])
            if ports[0] + OFFSET > 65535 or ports[0] + OFFSET in ports:
                continue
            with socket.socket() as other:
                if other.connect_ex(("127.0.0.1", ports[0] + OFFSET)) != 0:
                    return ports


def environments(count: int) -> list[dict[str, str]]:
    """The environment of each worker."""
    addresses = [f"127.0.0.1:{port}" for port in free_ports(count)]
    tasks = [{"cluster": {"worker": addresses}, "task": {"type": "worker", "index": n}} for n in range(count)]
    return [{**os.environ, "TF_CONFIG": json.dumps(task)} for task in tasks]


def start(count: int, command: Sequence[str]) -> list[subprocess.Popen[str]]:
    """The processes, with their standard output and error in one pipe each."""
    return [
        subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for env in environments(count)
    ]


def main(count: int, command: Sequence[str]) -> int:
    processes = start(count, command)

    def relay(number: int) -> None:
        for line in processes[number].stdout or ():
            print(f"[{number}] {line}", end="", flush=True)

    relays = [threading.Thread(target=relay, args=(n,)) for n in range(count)]
    for thread in relays:
        thread.start()
    for thread in relays:
        thread.join()
    return max(abs(process.wait()) for process in processes)


if __name__ == "__main__":
    if len(sys.argv) < 3 or not sys.argv[1].isdigit():
        sys.exit(f"usage: {sys.argv[0]} COUNT COMMAND...")
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
