"""Features that need not be computed again: in memory or on disk, as they are before SpecAugment and normalisation.

A store is `store(utterance, variant, compute) -> features`. What it gives is what `compute` gives, bit for bit.
"""

import hashlib
import io
import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

import asr_features
from asr_train.errors import UserError
from asr_train.files import write_whole
from asr_train.manifest import Utterance

Floats = NDArray[np.float32]


class Variant(NamedTuple):
    """How the samples were changed before the front end."""

    speed: float = 1.0
    pitch: float = 1.0


class Store(Protocol):
    """Where features are kept."""

    def __call__(self, utterance: Utterance, variant: Variant, compute: Callable[[], Floats]) -> Floats:
        """The features `(T, F)` of an utterance; computed, and kept, if they are not there."""
        ...


@dataclass(frozen=True)
class MemoryStore:
    """Keeps everything; it ends with the process."""

    kept: dict[tuple[str, Variant], Floats] = field(default_factory=dict, repr=False, compare=False)

    def __call__(self, utterance: Utterance, variant: Variant, compute: Callable[[], Floats]) -> Floats:
        """As `Store`. Two threads may compute the same, and the one is as good as the other."""
        key = (str(utterance.audio), variant)
        found = self.kept.get(key)
        if found is None:
            found = compute()
            found.setflags(write=False)
            self.kept[key] = found
        return found


@dataclass(frozen=True)
class DiskStore:
    """Keeps a file for each utterance and variant; runs with the same front end may share the folder.

    The name of a file is a hash of all that its content depends on: front end, version of asr-features, path, size and
    time of the audio, speed and pitch. Audio that was changed is computed anew. A file is whole or not there, and one
    that was damaged is replaced.
    """

    folder: Path
    frontend: asr_features.Frontend
    cut: float | None = None
    """Seconds after which audio is cut off."""

    def __call__(self, utterance: Utterance, variant: Variant, compute: Callable[[], Floats]) -> Floats:
        """As `Store`. Raises OSError when the audio is gone or the disk is full."""
        path = self.path(utterance, variant)
        found = _load(path)
        if found is None:
            found = compute()
            _save(path, found)
        return found

    def path(self, utterance: Utterance, variant: Variant) -> Path:
        """Where the features of an utterance are, or would be."""
        status = utterance.audio.stat()
        audio = os.path.abspath(utterance.audio)
        parts = (asr_features.__version__, repr(self.frontend), audio, status.st_size, status.st_mtime_ns)
        name = hashlib.sha256(repr((*parts, self.cut, *variant)).encode(errors="surrogatepass")).hexdigest()
        return self.folder / name[:2] / f"{name[2:32]}.npy"


def _load(path: Path) -> Floats | None:
    """What `_save` wrote; None where there is nothing, or something else."""
    try:
        content = path.read_bytes()
        if zlib.crc32(content[4:]) != int.from_bytes(content[:4], "little"):
            return None
        features: Floats = np.load(io.BytesIO(content[4:]), allow_pickle=False)
    except (FileNotFoundError, ValueError, EOFError):
        return None
    return features


def _save(path: Path, features: Floats) -> None:
    buffer = io.BytesIO()
    np.save(buffer, features, allow_pickle=False)
    content = buffer.getvalue()
    write_whole(path, zlib.crc32(content).to_bytes(4, "little") + content)


def check_memory(seconds: float, variants: int, frontend: asr_features.Frontend) -> None:
    """Raises UserError if that much audio does not fit into memory as features."""
    frames = frontend.num_frames(int(min(seconds, 3600.0) * frontend.sample_rate)) * max(1.0, seconds / 3600.0)
    needed = frames * frontend.dim * 4 * variants
    try:
        there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError):  # not every system tells
        return
    if needed > 0.8 * there:
        raise UserError(
            f"data.cache is memory: the features of {seconds / 3600:.0f} hours in {variants} variants need "
            f"{needed / 2**30:.0f} GiB, this machine has {there / 2**30:.0f}; set it to disk or none"
        )
