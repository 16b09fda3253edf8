"""Folders that are there whole or not at all, and that know when they were altered."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from asr_train.errors import UserError

SUMS = "SHA256SUMS"


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """Fill a temporary folder; when the block ends it is summed, synced and takes the place of `target`.

    A process that dies inside leaves `target` as it was, or set aside where `recover` finds it.
    """
    partial, old = (target.with_name(f".{target.name}.{word}") for word in ("partial", "old"))
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        yield partial
        names = sorted(path.name for path in partial.iterdir())
        (partial / SUMS).write_text("".join(f"{digest(partial / name)}  {name}\n" for name in names), encoding="utf-8")
        for path in (*partial.iterdir(), partial):
            _sync(path)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)  # a full disk wants its space back
        raise
    if target.exists():
        shutil.rmtree(old, ignore_errors=True)
        target.rename(old)
    partial.rename(target)
    _sync(target.parent)
    shutil.rmtree(old, ignore_errors=True)


def recover(target: Path) -> None:
    """Put back what `whole_folder` had set aside, if the process died between its two renames."""
    old = target.with_name(f".{target.name}.old")
    if old.exists() and not target.exists():
        old.rename(target)


def remove(target: Path) -> None:
    """Delete a folder in such a way that a process that dies in it leaves no half of it under that name."""
    doomed = target.with_name(f".{target.name}.partial")
    shutil.rmtree(doomed, ignore_errors=True)
    target.rename(doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def digest(path: Path) -> str:
    """SHA-256 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_folder(folder: Path, needed: tuple[str, ...]) -> None:
    """Compare a folder with its SHA256SUMS.

    Raises:
        UserError: not a folder, a file missing from it or from its sums, or altered.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    if not (folder / SUMS).is_file():
        raise UserError(f"{folder}: {SUMS} is missing; a folder written by asr-train has it")
    sums = {}
    for number, line in enumerate((folder / SUMS).read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        expected, _, name = line.partition("  ")
        if not name or Path(name).name != name:
            raise UserError(f"{folder / SUMS}:{number}: expected `<sha256>  <file>`, got {line!r}")
        sums[name] = expected
    for name in (*needed, *sums):
        if not (folder / name).is_file():
            raise UserError(f"{folder}: {name} is missing; copy the whole folder again")
        if name not in sums:
            raise UserError(f"{folder}: {name} is not listed in {SUMS}")
        if digest(folder / name) != sums[name]:
            raise UserError(f"{folder}: {name} was altered: it differs from {SUMS}; copy the whole folder again")


def _sync(path: Path) -> None:
    """Wait until a file, or a folder's list of names, is on the disk."""
    if os.name == "nt" and path.is_dir():  # Windows cannot open folders
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
