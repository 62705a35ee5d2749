from __future__ import annotations

import io
import struct
import zipfile
from typing import Any

import numpy as np
import pytest

from django_inference.wire import npy


def saved(array: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def headed(header: str, data: bytes = b"") -> bytes:
    text = header.encode("latin-1") + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


def zipped(entries: list[tuple[str, bytes]]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return file.getvalue()


ARRAYS = {
    "float32": np.arange(6, dtype=np.float32).reshape(2, 3),
    "fortran": np.asfortranarray(np.arange(6).reshape(2, 3)),
    "big-endian": np.arange(3, dtype=">i4"),
    "bool": np.array([True, False]),
    "none": np.zeros((0, 3), np.uint8),
    "scalar": np.array(2.5),
    "text": np.array(["é", "longer"]),
    "bytes": np.array([b"a", b"bc"]),
    "complex": np.array([1j]),
}


@pytest.mark.parametrize("array", ARRAYS.values(), ids=list(ARRAYS))
def test_what_numpy_writes_is_read_and_what_is_written_numpy_reads(array: Any) -> None:
    read = npy.read_npy(saved(array))
    np.testing.assert_array_equal(read, array)
    assert read.shape == array.shape
    assert read.dtype.isnative
    np.testing.assert_array_equal(np.load(io.BytesIO(npy.write_npy(read))), array)
    several = npy.write_npz({"a": array, "b:0": array})
    loaded = np.load(io.BytesIO(several))
    assert list(loaded) == ["a", "b:0"]
    np.testing.assert_array_equal(npy.read_npz(several, None)["b:0"], array)


HUGE = "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,), }"
BROKEN = {
    "empty": b"",
    "magic alone": b"\x93NUMPY",
    "a version that is none": b"\x93NUMPY\x09\x00",
    "a header longer than the file": b"\x93NUMPY\x01\x00\xff\xff{}",
    "no dict": headed("[1]"),
    "more than there is": headed(HUGE, b"1234"),
    "less than there is": headed(HUGE.replace("1000000000000", "1"), b"12345678"),
    "negative": headed(HUGE.replace("1000000000000", "-1"), b"1234"),
    "two negatives": headed(HUGE.replace("1000000000000,", "-1, -1"), b"1234"),
    "no rows of no bytes": headed(HUGE.replace("<f4", "<U0")),
    "none, as often as can be said": headed(HUGE.replace("1000000000000,", f"0, {2**70}")),
    "many axes": headed(HUGE.replace("1000000000000,", "1, " * 40), b"1234"),
    "objects": saved(np.array([{"a": 1}], dtype=object), allow_pickle=True),
    "records": saved(np.zeros(2, [("a", "f4")])),
    "times": saved(np.zeros(2, "M8[s]")),
    "code": headed("__import__('os').system('true')"),
    "deep": headed("(" * 200 + ")" * 200),
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=list(BROKEN))
def test_a_broken_file_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"\.npy file"):
        npy.read_npy(data)


def test_a_zip_file_is_unpacked_within_bounds() -> None:
    bomb = zipped([("x.npy", saved(np.zeros(10_000_000, np.uint8)))])
    assert npy.is_npz(bomb) and len(bomb) < 100_000
    with pytest.raises(ValueError, match="unpacks to more than 100000 bytes"):
        npy.read_npz(bomb, 100_000)
    with pytest.raises(ValueError, match="more than 256"):
        npy.read_npz(zipped([(f"{n}.npy", b"") for n in range(257)]), None)
    with pytest.raises(ValueError, match="'x' twice"):
        npy.read_npz(zipped([("x.npy", saved(1)), ("x", saved(1))]), None)
    with pytest.raises(ValueError, match=r"no \.npz file"):
        npy.read_npz(bomb[:-40], None)
    broken = bytearray(npy.write_npz({"x": np.arange(100)}))
    broken[120] ^= 1
    with pytest.raises(ValueError, match="file"):
        npy.read_npz(bytes(broken), None)


def test_an_ordinary_zip_file_is_none() -> None:
    assert not npy.is_npz(zipped([("a.txt", b"a")]))
    assert not npy.is_npz(b"PK\x03\x04")
    assert not npy.is_npy(b"\x93NUMP")


def test_objects_are_not_written() -> None:
    assert npy.read_npy(npy.write_npy(np.array(["a", "b"], dtype=object))).tolist() == ["a", "b"]
    for value in (np.array([{}]), np.zeros(2, "M8[s]"), np.array(["a", b"b"], dtype=object)):
        with pytest.raises(ValueError, match=r"cannot be written as \.npy"):
            npy.write_npy(value)
