"""Arrays as numpy's own files: `.npy` for one, `.npz` for several by name.

Nothing is ever unpickled, and nothing is allocated because a header says so: the bytes of a
`.npy` file are the array's memory, and what a `.npz` file unpacks to is bounded.
"""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from django_inference.words import array_said

if TYPE_CHECKING:
    import numpy as np

    Array: TypeAlias = np.ndarray[Any, Any]

MAGIC = b"\x93NUMPY"
_ZIP_MAGIC = b"PK\x03\x04"
#: Numbers, booleans, bytes and texts; no objects, records or times.
_KINDS = "biufcSU"
_MOST_ARRAYS = 256
_LONGEST_HEADER = 10_000
#: The three parts of a header. They are looked for, not evaluated.
_HEADER = (
    re.compile(r"'descr'\s*:\s*'([<>|=]?[biufcSU][0-9]{1,9}|\?)'"),
    re.compile(r"'fortran_order'\s*:\s*(True|False)"),
    re.compile(r"'shape'\s*:\s*\(([0-9, ]*)\)"),
)
_NO_NPY = "It is no .npy file of plain numbers or texts"


def is_npy(data: bytes) -> bool:
    """Whether it begins as a `.npy` file does."""
    return data.startswith(MAGIC)


def is_npz(data: bytes) -> bool:
    """Whether it is a zip file whose first entry is named as in a `.npz` file."""
    if not data.startswith(_ZIP_MAGIC) or len(data) < 30:
        return False
    length = int.from_bytes(data[26:28], "little")
    return data[30 : 30 + length].endswith(b".npy")


def read_npy(data: bytes) -> Array:
    """Return the array of a `.npy` file; texts as objects.

    Raises:
        ValueError: it is none, or the header speaks of more or less than there is.
    """
    import numpy as np

    version, length = data[6:8], int.from_bytes(data[8:10], "little")
    # Versions 2 and 3 are for records with many fields, which are not taken.
    if not data.startswith(MAGIC) or version != b"\x01\x00" or len(data) < 10 + length:
        raise ValueError(f"{_NO_NPY}: it has no header of version 1.0.")
    begin = 10 + length
    header = data[10:begin].decode("latin-1")
    found = [pattern.findall(header) for pattern in _HEADER]
    if any(len(matches) != 1 for matches in found) or length > _LONGEST_HEADER:
        raise ValueError(f"{_NO_NPY}: its header is {header[:100].strip()!r}.")
    (kind,), (order,), (axes,) = found
    try:
        dtype = np.dtype("bool" if kind in ("|b1", "?") else kind)
        shape = tuple(map(int, axes.replace(",", " ").split()))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{_NO_NPY}: {str(error)[:200]}.") from None
    if not dtype.itemsize or len(shape) > 32:
        raise ValueError(f"{_NO_NPY}: it is {dtype.name} with {len(shape)} axes.")
    count = 1
    for axis in shape:
        count *= axis
    size = count * dtype.itemsize
    if size != len(data) - begin:
        raise ValueError(
            f"The header of the .npy file speaks of {size} bytes; there are {len(data) - begin}."
        )
    try:
        array = np.frombuffer(data, dtype, count, begin) if count else np.zeros(0, dtype)
        array = array.reshape(shape, order="F" if order == "True" else "C")
        if dtype.kind in "SU":
            array = array.astype(object)
    except (ValueError, OverflowError, TypeError) as error:
        raise ValueError(f"{_NO_NPY}: {str(error)[:200]}.") from None
    # A copy: models may write into what they are given, and bytes cannot be written.
    return array if array.dtype.kind == "O" else array.astype(dtype.newbyteorder("="))


def read_npz(data: bytes, limit: int | None) -> dict[str, Array]:
    """Return the arrays of a `.npz` file by name.

    Args:
        data: the file.
        limit: bytes that its entries may have together, unpacked; None is no limit.

    Raises:
        ValueError: it is none, or has more or longer entries than are taken.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            if len(entries) > _MOST_ARRAYS:
                raise ValueError(f"The .npz file has more than {_MOST_ARRAYS} arrays.")
            arrays: dict[str, Array] = {}
            left = limit
            for entry in entries:
                name = entry.filename.removesuffix(".npy")
                if name in arrays:
                    raise ValueError(f"The .npz file has the name {name[:100]!r} twice.")
                with archive.open(entry) as file:
                    content = file.read() if left is None else file.read(left + 1)
                if left is not None:
                    left -= len(content)
                    if left < 0:
                        raise ValueError(f"The .npz file unpacks to more than {limit} bytes.")
                arrays[name] = read_npy(content)
            return arrays
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        NotImplementedError,
        RuntimeError,
        OSError,
    ) as error:
        raise ValueError(f"It is no .npz file: {str(error)[:200]}.") from None


def write_npy(array: Array) -> bytes:
    """Return a `.npy` file.

    Raises:
        ValueError: the array holds objects.
    """
    import numpy as np

    file = io.BytesIO()
    np.lib.format.write_array(file, plain_array(array), version=(1, 0), allow_pickle=False)
    return file.getvalue()


def write_npz(arrays: Mapping[str, Array]) -> bytes:
    """Return a `.npz` file, not compressed.

    Raises:
        ValueError: an array holds objects.
    """
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            archive.writestr(f"{name}.npy", write_npy(array))
    return file.getvalue()


def plain_array(value: Any) -> Array:
    """Return an array that a `.npy` file can hold; objects that are all texts or bytes fit.

    Raises:
        ValueError: there are other objects in it, or it is no array.
    """
    import numpy as np

    array = np.asarray(value)
    if array.dtype.kind == "O":
        kinds = set(map(type, array.flat))
        if len(kinds) == 1 and kinds <= {str, bytes}:
            array = array.astype(np.str_ if kinds == {str} else np.bytes_)
    if array.dtype.kind not in _KINDS:
        raise ValueError(f"An array of {array_said(array)} cannot be written as .npy.")
    return array
