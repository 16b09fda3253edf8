"""Files that are either whole or not there, and the files of arrays."""

import os
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asr_train.errors import UserError

Arrays = Mapping[str, NDArray[Any]]


def write_whole(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file by way of a temporary one beside it: a reader, or a crash, never meets half of it.

    Missing folders are made. Raises OSError.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_arrays(path: Path, arrays: Arrays) -> None:
    """Write a safetensors file. Raises OSError."""
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    try:
        # safetensors writes an array's memory as it lies.
        save_file({name: np.asarray(value, order="C") for name, value in arrays.items()}, path)
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from None


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Read a safetensors file."""
    from safetensors.numpy import load_file

    arrays: dict[str, NDArray[Any]] = load_file(path)
    return arrays


@contextmanager
def writing(path: Path, advice: str) -> Iterator[None]:
    """Tells in one line that a disk is full, read-only or gone.

    Raises:
        UserError: in place of any OSError of the block.
    """
    try:
        yield
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}; {advice}") from None
