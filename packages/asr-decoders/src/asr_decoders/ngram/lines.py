"""The lines of a text file: taken one by one, or as many at a time as are in memory."""

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NoReturn, cast

_BLOCK = 1 << 23  # bytes that are read at a time; no line is longer


def opened(path: str | Path) -> BinaryIO:
    """The file for reading, unpacked where it is gzipped."""
    with open(path, "rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    return cast(BinaryIO, gzip.open(path, "rb")) if zipped else open(path, "rb")


class Source:
    """The lines of a file, one by one and many at a time."""

    def __init__(self, path: str | Path, file: BinaryIO) -> None:
        self.path = path
        self.line = 0  # the number of the last line that was taken
        self._file = file
        self._buffer = b""
        self._at = 0  # what is before it has been taken

    def fail(self, message: str, line: int | None = None) -> NoReturn:
        raise ValueError(f"{self.path}, line {self.line if line is None else line}: {message}")

    def text_line(self) -> bytes | None:
        """The next line that is not blank, without the spaces around it; None at the end."""
        while self._fill():
            end = self._buffer.find(b"\n", self._at) + 1 or len(self._buffer)
            line = self._buffer[self._at : end].strip()
            self._at = end
            self.line += 1
            if line:
                return line
        return None

    def section(self) -> Iterator[tuple[bytes, int]]:
        """Whole lines up to the next that begins with a backslash, and the number of the line before them."""
        while self._fill() and not self._buffer.startswith(b"\\", self._at):
            end = self._buffer.find(b"\n\\", self._at) + 1 or self._buffer.rfind(b"\n") + 1
            if end <= self._at:  # the last line of a file that is cut
                end = len(self._buffer)
            lines = self._buffer[self._at : end]
            before = self.line
            self._at = end
            self.line += lines.count(b"\n") + (not lines.endswith(b"\n"))
            yield lines, before

    def _fill(self) -> bool:
        """Reads until there is a whole line to take, and says whether there is any."""
        if self._buffer.find(b"\n", self._at) < 0:
            self._buffer = self._buffer[self._at :] + self._file.read(_BLOCK)
            self._at = 0
            if len(self._buffer) >= _BLOCK and b"\n" not in self._buffer:
                self.fail(f"an ARPA file expected, got a line of more than {_BLOCK} bytes")
        return self._at < len(self._buffer)


def shown(line: bytes | None) -> str:
    """The line for a message; None is the end of the file."""
    if line is None:
        return "the end of the file: it is cut"
    return repr(line[:60].decode("utf-8", "replace"))
