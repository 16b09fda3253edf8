"""RIFF WAVE files of plain integers or floats, and bare samples, read with numpy alone."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from .interfaces import Floats

PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE
READABLE = ((PCM, 1), (PCM, 2), (PCM, 3), (PCM, 4), (FLOAT, 4), (FLOAT, 8))
"""Codings, with the bytes of a sample; libsndfile reads other codings."""

STREAMED = 0x7FFF0000
"""Programs that write to a pipe cannot know the length, and leave about 2^31 or 2^32 in the header."""

CHUNKS = 1000
"""No more chunks than this are looked through for the samples: real files have a few."""

PIECE = 2**18
"""Values read at once, of all channels together."""


class Header(NamedTuple):
    """Where the samples are, and what they are."""

    coding: int
    width: int
    """Bytes a sample."""
    channels: int
    sample_rate: int
    samples: int
    """Per channel."""
    offset: int


def read_header(path: Path) -> Header | None:
    """The header, or None when the samples are coded otherwise; ValueError when it or the file is broken."""
    size_of_file = path.stat().st_size
    form = None
    with path.open("rb") as file:
        file.seek(12)
        for name, size in _chunks(file):
            if name == b"fmt ":
                form = file.read(min(size, 40))
            elif name == b"data" and form:
                return _header(path, form, size, size_of_file - file.tell(), file.tell())
    raise ValueError(f"{path}: the file is broken: RIFF without the chunks 'fmt ' and 'data'")


def pieces(path: Path, header: Header, first: int, last: int) -> Iterator[Floats]:
    """The samples `first:last`, `(n, channels)` at a time, integers scaled to [-1, 1); fewer if the file ends."""
    most = max(1, PIECE // header.channels)
    frame = header.channels * header.width
    with path.open("rb") as file:
        file.seek(header.offset + first * frame)
        for start in range(first, last, most):
            content = file.read(min(most, last - start) * frame)
            yield _values(content[: len(content) // frame * frame], header).reshape(-1, header.channels)


def _chunks(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """The name and size of every chunk, with the file where its content begins."""
    for _ in range(CHUNKS):
        head = file.read(8)
        if len(head) < 8:
            return
        name, size = struct.unpack("<4sI", head)
        content = file.tell()
        yield name, size
        file.seek(content + size + size % 2)


def _header(path: Path, form: bytes, size: int, held: int, offset: int) -> Header | None:
    if len(form) < 16:
        raise ValueError(f"{path}: the file is broken: its chunk 'fmt ' has {len(form)} bytes, expected 16 or more")
    coding, channels, rate, _, frame, _ = struct.unpack("<HHIIHH", form[:16])
    if coding == EXTENSIBLE and len(form) >= 26:
        (coding,) = struct.unpack("<H", form[24:26])
    if not channels or not rate:
        raise ValueError(f"{path}: the file is broken: its header tells of {channels} channels at {rate} Hz")
    width, rest = divmod(frame, channels)
    if (coding, width) not in READABLE or rest:
        return None
    if held < size < STREAMED:
        raise ValueError(f"{path}: the file is cut short: the header tells of {size} bytes, it holds {held}")
    return Header(coding, width, channels, rate, min(size, held) // frame, offset)


def _values(content: bytes, header: Header) -> Floats:
    if header.coding == FLOAT:
        with np.errstate(over="ignore", invalid="ignore"):  # what is no number in float32 is found by the caller
            return np.frombuffer(content, f"<f{header.width}").astype(np.float32)
    if header.width == 1:
        return np.asarray(np.frombuffer(content, np.uint8) / np.float32(128) - np.float32(1), np.float32)
    if header.width == 3:
        wide = np.zeros((len(content) // 3, 4), np.uint8)  # as the upper bytes of 32-bit integers
        wide[:, 1:] = np.frombuffer(content, np.uint8).reshape(-1, 3)
        return np.asarray(wide.view("<i4")[:, 0] / np.float32(2**31), np.float32)
    values = np.frombuffer(content, f"<i{header.width}") / np.float32(2 ** (8 * header.width - 1))
    return np.asarray(values, np.float32)
