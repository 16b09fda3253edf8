"""Workers that know of each other's end.

A collective operation waits for ever for a worker that has died. So the workers of a run hold a line to the chief:
each end sends a beat every few seconds; a line that breaks, or is silent for long, ends every process of the run at
once, with a message that names the worker. Nothing here loads TensorFlow, so the line is there before it is.
"""

import contextlib
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from asr_train.cluster import Cluster
from asr_train.errors import UserError

BEAT = 2.0
"""Seconds between beats."""
SILENCE = 30.0
"""Seconds without a beat after which a worker is taken for dead."""
PATIENCE = 600.0
"""Seconds that the workers wait for each other at the start."""
OFFSET = 1000
"""The chief listens this far from its own port (below it where that is too high)."""


class Watch:
    """Opened for the time of a run, by every worker; the workers leave it together.

    Args:
        cluster: the workers.
        tell: called with a line before the process ends because another did.
        patience: seconds to wait for the others at the start.
    """

    def __init__(
        self,
        cluster: Cluster,
        *,
        tell: Callable[[str], None] = lambda _: None,
        patience: float = PATIENCE,
    ) -> None:
        self.cluster, self.tell, self.patience = cluster, tell, patience
        self.lines: dict[int, socket.socket] = {}
        self.ended: set[int] = set()
        self.prepared, self.closing = threading.Event(), threading.Event()
        self.lock = threading.Lock()

    def __enter__(self) -> Self:
        self._gather() if self.cluster.chief else self._join()
        for index, line in self.lines.items():
            line.settimeout(SILENCE)
            threading.Thread(target=self._listen, args=(index, line), daemon=True).start()
        threading.Thread(target=self._beat, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Say goodbye, with the reason if there is one; one who leaves in peace waits for the others' goodbye."""
        if isinstance(error, SystemExit):  # all were asked to stop, and did so at one step
            error = None
        if isinstance(error, Exception) and not isinstance(error, UserError):
            # It may be the echo of another worker's end: a moment for the line to say which.
            self.closing.wait(3 * BEAT)
        self.closing.set()
        reason = "" if error is None else f"{str(error).splitlines()[0]}" if str(error) else type(error).__name__
        self._send({"end": reason})
        deadline = time.monotonic() + SILENCE
        while error is None and len(self.ended) < len(self.lines) and time.monotonic() < deadline:
            time.sleep(0.02)
        for line in self.lines.values():
            with contextlib.suppress(OSError):
                line.close()

    def ready(self) -> None:
        """Wait until the chief is here; the chief itself lets the others go on."""
        if self.cluster.chief:
            self._send({"ready": True})
        else:
            self.prepared.wait()  # or the process ends

    def _gather(self) -> None:
        """The chief: wait until every worker has called."""
        _, port = meeting_place(self.cluster)
        deadline = time.monotonic() + self.patience
        try:
            server = socket.create_server(("", port), backlog=len(self.cluster.addresses))
        except OSError as error:
            raise UserError(f"{self.cluster.name(0)}: cannot listen on port {port}: {error.strerror}") from None
        with server:
            while len(self.lines) < len(self.cluster.addresses) - 1:
                server.settimeout(max(deadline - time.monotonic(), 0.001))
                try:
                    line, _ = server.accept()
                    line.settimeout(SILENCE)
                    said = _read(line)
                except TimeoutError:
                    missing = [n for n in range(1, len(self.cluster.addresses)) if n not in self.lines]
                    names = ", ".join(self.cluster.name(n) for n in missing)
                    raise UserError(f"{names} did not come within {self.patience:.0f} s") from None
                except (OSError, ValueError):  # not one of ours
                    continue
                self._admit(said, line)
        self._send({"go": True})

    def _admit(self, said: dict[str, Any], line: socket.socket) -> None:
        index = int(said.get("worker", 0))
        if not 0 < index < len(self.cluster.addresses) or index in self.lines:
            line.close()
            return
        self.lines[index] = line

    def _join(self) -> None:
        """A worker: call the chief until it answers, and wait until all are there."""
        place, deadline = meeting_place(self.cluster), time.monotonic() + self.patience
        while True:
            try:
                line = socket.create_connection(place, timeout=max(deadline - time.monotonic(), 0.001))
                break
            except OSError as error:
                if time.monotonic() > deadline:
                    where = f"{place[0]}:{place[1]}"
                    message = f"{self.cluster.name(0)} did not answer on {where} within {self.patience:.0f} s"
                    raise UserError(f"{message}: {error.strerror or error}") from None
                time.sleep(0.2)
        self.lines[0] = line
        self._send({"worker": self.cluster.index})
        line.settimeout(max(deadline - time.monotonic(), 0.001) + SILENCE)
        try:
            said = _read(line)
        except (OSError, ValueError):
            raise UserError(f"{self.cluster.name(0)} ended before the run began") from None
        if "go" not in said:
            raise UserError(f"{self.cluster.name(0)} ended before the run began: {said.get('end')}")

    def _listen(self, index: int, line: socket.socket) -> None:
        """Until a goodbye, or the end of the process."""
        try:
            while True:
                said = _read(line)
                if "ready" in said:
                    self.prepared.set()
                if "end" in said:
                    break
        except TimeoutError:
            said = {"end": f"no sign of it for {SILENCE:.0f} s", "index": index}
        except (OSError, ValueError):
            said = {"end": "its process is gone", "index": index}
        self.ended.add(index)
        if not said["end"] and not self.closing.wait(SILENCE):
            said = {"end": "it has left the run", "index": index}
        if said["end"]:
            self._give_up(said.get("index", index), said["end"])

    def _give_up(self, index: int, reason: str) -> None:
        """A worker is lost: pass the word on, and end this process, which may be waiting in a collective operation."""
        with self.lock:
            if self.closing.is_set():
                return
            message = f"{self.cluster.name(index)} ended: {reason}; start all workers again with --resume"
            if self.cluster.chief:  # the others have a line to the chief alone
                self._send({"end": reason, "index": index})
            self.closing.set()
            with contextlib.suppress(Exception):
                self.tell(message)
            print(f"asr-train: {message}", file=sys.stderr, flush=True)
            os._exit(1)

    def _beat(self) -> None:
        while not self.closing.wait(BEAT):
            self._send({"beat": True})

    def _send(self, said: dict[str, Any]) -> None:
        text = json.dumps(said).encode() + b"\n"
        for index, line in list(self.lines.items()):
            if index not in self.ended:
                with contextlib.suppress(OSError):  # the listener notices
                    line.sendall(text)


def meeting_place(cluster: Cluster) -> tuple[str, int]:
    """Where the chief listens for the others."""
    host, _, port = cluster.addresses[0].rpartition(":")
    number = int(port)
    return host, number + OFFSET if number + OFFSET < 65536 else number - OFFSET


def _read(line: socket.socket) -> dict[str, Any]:
    """One line of JSON, byte by byte: they are few and short."""
    text = b""
    while not text.endswith(b"\n"):
        byte = line.recv(1)
        if not byte:
            raise ConnectionResetError
        text += byte
    said = json.loads(text)
    if not isinstance(said, dict):
        raise ValueError(text)
    return said
