"""RIFF WAVE files of plain integers or floats, read with numpy alone; libsndfile reads other codings."""

import struct
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .interfaces import Floats

PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE
READABLE = ((PCM, 1), (PCM, 2), (PCM, 3), (PCM, 4), (FLOAT, 4), (FLOAT, 8))
"""Codings, with the bytes of a sample."""

STREAMED = 0x7FFF0000
"""Programs that write to a pipe cannot know the length, and leave about 2^31 or 2^32 in the header."""


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
    fields = None
    with path.open("rb") as file:
        file.seek(12)
        while len(head := file.read(8)) == 8:
            name, size = struct.unpack("<4sI", head)
            if name == b"fmt ":
                content = file.read(size + size % 2)
                if len(content) < 16:
                    break
                fields = struct.unpack("<HHIIHH", content[:16])
                coding = fields[0]
                if coding == EXTENSIBLE and len(content) >= 26:
                    (coding,) = struct.unpack("<H", content[24:26])
            elif name == b"data" and fields:
                _, channels, rate, _, frame, _ = fields
                width, rest = divmod(frame, channels or 1)
                if (coding, width) not in READABLE or rest or not channels or not rate:
                    return None
                held = size_of_file - file.tell()
                if size > held and size < STREAMED:
                    raise ValueError(
                        f"{path}: the file is cut short: the header tells of {size} bytes, it holds {held}"
                    )
                return Header(coding, width, channels, rate, min(size, held) // frame, file.tell())
            else:
                file.seek(size + size % 2, 1)
    raise ValueError(f"{path}: the file is broken: RIFF without the chunks 'fmt ' and 'data'")


def read_samples(path: Path, header: Header) -> Floats:
    """The samples `(N, channels)`, integers scaled to [-1, 1)."""
    count = header.samples * header.channels
    with path.open("rb") as file:
        file.seek(header.offset)
        content = file.read(count * header.width)
    if header.coding == FLOAT:
        values = np.frombuffer(content, f"<f{header.width}")
    elif header.width == 1:
        values = np.frombuffer(content, np.uint8) / np.float32(128) - np.float32(1)
    elif header.width == 3:
        wide = np.zeros((count, 4), np.uint8)  # as the upper bytes of 32-bit integers
        wide[:, 1:] = np.frombuffer(content, np.uint8).reshape(-1, 3)
        values = wide.view("<i4")[:, 0] / np.float32(2**31)
    else:
        values = np.frombuffer(content, f"<i{header.width}") / np.float32(2 ** (8 * header.width - 1))
    return np.asarray(values, np.float32).reshape(-1, header.channels)
