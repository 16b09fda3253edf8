"""The safetensors format against the library, byte by byte where that is promised."""

import json
from pathlib import Path

import numpy as np
import pytest

from asr_models.tensor_file import read_tensors, write_tensors

ARRAYS = {
    "b/float": np.arange(6, dtype=np.float32).reshape(2, 3) / 7,
    "a": np.array([[1, -2]], np.int64).T,
    "scalar": np.array(3.5),
    "half": np.array([0.1], np.float16),
    "none": np.zeros((2, 0, 3), np.float32),
    "flags": np.array([True, False]),
    "bytes": np.arange(3, dtype=np.uint8),
    "turned": np.arange(6, dtype=np.float32).reshape(2, 3).T,
    "ü": np.array([1, 2], ">i4"),
}


def same(got, expected) -> None:
    assert got.keys() == expected.keys()
    for name, array in expected.items():
        assert got[name].shape == array.shape and got[name].dtype == array.dtype.newbyteorder("<")
        np.testing.assert_array_equal(got[name], array)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    write_tensors(tmp_path / "w", ARRAYS)
    same(read_tensors(tmp_path / "w"), ARRAYS)
    write_tensors(tmp_path / "again", dict(reversed(ARRAYS.items())))
    assert (tmp_path / "again").read_bytes() == (tmp_path / "w").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again", "w"]


def test_the_library_reads_what_we_write_and_we_what_it_writes(tmp_path: Path) -> None:
    library = pytest.importorskip("safetensors.numpy")
    write_tensors(tmp_path / "ours", ARRAYS)
    same(library.load_file(tmp_path / "ours"), ARRAYS)
    plain = {name: np.ascontiguousarray(array, array.dtype.newbyteorder("=")) for name, array in ARRAYS.items()}
    library.save_file(plain, tmp_path / "theirs", metadata={"format": "np"})
    same(read_tensors(tmp_path / "theirs"), plain)


def test_bfloat16_comes_as_float32(tmp_path: Path) -> None:
    values = np.array([1.0, -2.5, 3e38], np.float32)
    upper = (values.view("<u4") >> 16).astype("<u2")
    header = json.dumps({"x": {"dtype": "BF16", "shape": [3], "data_offsets": [0, 6]}}).encode()
    (tmp_path / "w").write_bytes(len(header).to_bytes(8, "little") + header + upper.tobytes())
    np.testing.assert_allclose(read_tensors(tmp_path / "w")["x"], values, rtol=2**-7)


def file_of(header: object, data: bytes = b"", *, length: int | None = None) -> bytes:
    text = json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


GOOD = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no safetensors file, or cut short: 0 bytes"),
        (b"PK\x03\x04" * 8, "no safetensors file, or cut short: 32 bytes"),
        (file_of({"x": GOOD}, bytes(4)), "damaged: 'x'"),
        (file_of({"x": GOOD | {"shape": [3]}}, bytes(8)), "damaged: 'x'"),
        (file_of({"x": GOOD | {"shape": [-2]}}, bytes(8)), "damaged: 'x'"),
        (file_of({"x": GOOD | {"data_offsets": [-8, 0]}}, bytes(8)), "damaged: 'x'"),
        (file_of({"x": GOOD | {"dtype": "F8"}}, bytes(8)), "the header of 'x'"),
        (file_of({"x": GOOD | {"shape": [2.0]}}, bytes(8)), "the header of 'x'"),
        (file_of({"x": 3}), "the header of 'x' is 3"),
        (b"\xff\xff\x01\0\0\0\0\0" + b"[" * 0x1FFFF, "its header is not a JSON object"),
        (file_of([1]), "its header is not a JSON object"),
        (file_of({"x": GOOD}, length=5), "its header is not a JSON object"),
    ],
)
def test_a_damaged_file_is_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "w").write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        read_tensors(tmp_path / "w")
    assert str(tmp_path / "w") in str(error.value) and "\n" not in str(error.value)


def test_what_the_format_has_no_name_for_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot write 'x' of type complex128, expected F64, F32"):
        write_tensors(tmp_path / "w", {"x": np.array(1j)})
    with pytest.raises(ValueError, match="cannot write '__metadata__'"):
        write_tensors(tmp_path / "w", {"__metadata__": np.zeros(1)})
    assert not list(tmp_path.iterdir())
