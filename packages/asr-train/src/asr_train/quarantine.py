"""Utterances that cannot be used: left out, listed with the reason, and not too many of them."""

import threading
from pathlib import Path
from typing import NamedTuple

from asr_train.errors import UserError
from asr_train.files import write_whole
from asr_train.manifest import Utterance

HEADER = "Id\tRow\tFilePath\tReason"


class BadUtteranceError(UserError):
    """An utterance whose audio is missing, broken or of no use; `reason` is without its manifest row."""

    def __init__(self, utterance: Utterance, reason: str) -> None:
        self.utterance, self.reason = utterance, " ".join(reason.split())
        super().__init__(f"{utterance.row or utterance.id}: {self.reason}")


class Entry(NamedTuple):
    """A line of quarantine.tsv."""

    id: str
    row: str
    audio: str
    reason: str


class Quarantine:
    """The utterances of a run that are left out; many threads may report to it.

    What is in `path` from before a run was resumed stays, and counts. An utterance is listed once; it is tried again
    in each epoch, for a disk may only have been away.
    """

    def __init__(self, path: Path | None = None, *, most: int = 0) -> None:
        """`most`: so many utterances may be bad.

        Raises:
            UserError: `path` is there, and not a quarantine.
        """
        self.path, self.most, self._lock = path, most, threading.Lock()
        self._entries = {entry.id: entry for entry in _read(path)} if path is not None and path.exists() else {}

    @property
    def entries(self) -> tuple[Entry, ...]:
        """What is listed, first found first."""
        with self._lock:
            return tuple(self._entries.values())

    def add(self, bad: BadUtteranceError) -> None:
        """List an utterance.

        Raises:
            UserError: one more than may be.
        """
        one = bad.utterance
        entry = Entry(*(" ".join(str(text).split()) for text in (one.id, one.row, one.audio, bad.reason)))
        with self._lock:
            if entry.id in self._entries:
                return
            self._entries[entry.id] = entry
            if self.path is not None:
                lines = [HEADER, *("\t".join(item) for item in self._entries.values())]
                write_whole(self.path, ("\n".join(lines) + "\n").encode(errors="replace"))
            count = len(self._entries)
        if count > self.most:
            told = f"; {count} utterances are bad, all are in {self.path}" if self.path and count > 1 else ""
            raise UserError(f"{bad}{told}; data.max_bad allows {self.most}")


def _read(path: Path) -> list[Entry]:
    lines = path.read_text(encoding="utf-8").splitlines()
    if not lines or lines[0] != HEADER or any(line.count("\t") != 3 for line in lines):
        raise UserError(f"{path}: not a list of bad utterances that asr-train wrote; move it away")
    return [Entry(*line.split("\t")) for line in lines[1:]]
