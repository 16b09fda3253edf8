"""Arrays by name in the safetensors format, with numpy alone.

    8 bytes   the length of the header, unsigned, little-endian
    header    JSON: {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [begin, end]}, ...}
    the rest  the arrays, little-endian, last axis fastest, back to back

The format holds data only: to read it runs nothing. https://github.com/huggingface/safetensors#format
"""

import json
import math
import os
from collections.abc import Mapping
from operator import index
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]

_DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "|i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "|u1",
    "BOOL": "|b1",
}
_NAMES = {np.dtype(code): name for name, code in _DTYPES.items()}
_METADATA = "__metadata__"


def write_tensors(path: str | Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays by name; equal arrays give equal files. A file that stood there is replaced when all is written.

    Raises:
        ValueError: an array of another type than integers, floats and flags, or one that is called `__metadata__`.
    """
    header: dict[str, Any] = {}
    parts, end = [], 0
    for name in sorted(arrays):
        array = np.asarray(arrays[name])
        little = array.dtype.newbyteorder("<")
        if little not in _NAMES or name == _METADATA:
            raise ValueError(f"{path}: cannot write {name!r} of type {array.dtype}, expected {', '.join(_DTYPES)}")
        begin, end = end, end + array.nbytes
        header[name] = {"dtype": _NAMES[little], "shape": list(array.shape), "data_offsets": [begin, end]}
        parts.append(np.ascontiguousarray(array, little).tobytes())
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # so that the arrays begin at a multiple of eight
    partial = Path(f"{path}.partial")
    partial.write_bytes(b"".join([len(text).to_bytes(8, "little"), text, *parts]))
    os.replace(partial, path)


def read_tensors(path: str | Path) -> Arrays:
    """The arrays of a file by name; bfloat16 comes as float32, the rest as it is.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: what is there is no safetensors file, or is damaged.
    """
    data = Path(path).read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    if len(data) < 8 or start > len(data):
        raise ValueError(f"{path}: no safetensors file, or cut short: {len(data)} bytes, expected at least {start}")
    try:
        header = json.loads(data[8:start])
        header.pop(_METADATA, None)
        items = header.items()
    except (ValueError, AttributeError, TypeError, RecursionError):
        raise ValueError(f"{path}: no safetensors file: its header is not a JSON object") from None
    return {name: _array(path, name, told, memoryview(data)[start:]) for name, told in items}


def _array(path: str | Path, name: str, told: Any, data: memoryview) -> NDArray[Any]:
    try:
        kind, shape = told["dtype"], tuple(map(index, told["shape"]))
        begin, end = map(index, told["data_offsets"])
        code = "<u2" if kind == "BF16" else _DTYPES[kind]
        count = math.prod(shape)
        whole = end - begin == count * np.dtype(code).itemsize and 0 <= begin <= end <= len(data)
    except (KeyError, TypeError, ValueError):
        raise ValueError(
            f"{path}: the header of {name!r} is {told!r}, expected a dtype, a shape and data_offsets"
        ) from None
    if not whole or min(shape, default=0) < 0:
        raise ValueError(f"{path}: damaged: {name!r} is {told!r} in {len(data)} bytes of data")
    array = np.frombuffer(data[begin:end], code).reshape(shape)
    # bfloat16 is the upper half of a float32.
    return (array.astype("<u4") << 16).view("<f4") if kind == "BF16" else array.copy()
