"""The datatypes of the Open Inference Protocol, and tensors as their little-endian bytes.

Source: the protocol's section on tensor data, and its binary tensor data extension. An
element of BYTES has four bytes of length before it, and is a `bytes` object in an array.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np

from django_inference.exceptions import InvalidInput
from django_inference.words import suggestion

Array: TypeAlias = np.ndarray[Any, Any]
Buffer: TypeAlias = bytes | bytearray | memoryview

#: numpy has no more axes than this in any of its versions.
MOST_AXES = 32
#: An empty tensor may claim any length of its other axes.
_LONGEST_AXIS_OF_NOTHING = 1 << 20
#: Elements of one BYTES tensor: each becomes an object, many times longer than itself.
MOST_TEXTS = 1 << 20

BYTES = "BYTES"
#: numpy has no such type; it is read as float32, which holds every value of it.
BF16 = "BF16"

DTYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype(np.uint8),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}
DATATYPES = (*DTYPES, BF16, BYTES)

_NAMES = {dtype.newbyteorder("="): name for name, dtype in DTYPES.items()}
_NAMES_BY_TEXT = {dtype.name: name for dtype, name in _NAMES.items()} | {
    "str": BYTES,
    "bytes": BYTES,
}
_LENGTH = struct.Struct("<I")
_IS_LITTLE = sys.byteorder == "little"


def datatype_of(dtype: np.dtype[Any]) -> str:
    """The datatype that arrays of a dtype are sent as.

    Raises:
        ValueError: the protocol has none for it.
    """
    name = _NAMES.get(dtype)
    if name is None:
        name = BYTES if dtype.kind in "OSUT" else _NAMES.get(dtype.newbyteorder("="))
    if name is None:
        raise ValueError(f"the Open Inference Protocol has no datatype for {dtype}")
    return name


def datatype_named(dtype: str) -> str:
    """As `datatype_of`, for the name that a signature gives a dtype; empty where there is none."""
    return _NAMES_BY_TEXT.get(dtype, "")


def check_datatype(datatype: str, name: str) -> None:
    """Refuse what is no datatype.

    Raises:
        InvalidInput: it is none; the message names the tensor.
    """
    if datatype not in DTYPES and datatype not in (BYTES, BF16):
        raise InvalidInput(
            f"the tensor {name!r} has the datatype {datatype[:40]!r}, which is none of "
            f"{', '.join(DATATYPES)}{suggestion(datatype[:40], DATATYPES)}."
        )


def element_count(shape: Sequence[int], name: str) -> int:
    """How many elements a tensor of the shape has. Nothing is made of that size.

    Raises:
        InvalidInput: there can be no such tensor; the message names it.
    """
    if len(shape) > MOST_AXES:
        raise InvalidInput(
            f"the shape of the tensor {name!r} has {len(shape)} axes, more than {MOST_AXES}."
        )
    count = 1
    for axis in shape:
        if axis < 0:
            raise InvalidInput(
                f"the shape of the tensor {name!r} is {list(shape)}: each axis of a request "
                "is 0 or longer."
            )
        count *= axis
    if count >> 62 or (not count and max(shape) > _LONGEST_AXIS_OF_NOTHING):
        raise InvalidInput(f"the shape {list(shape)} of the tensor {name!r} is too large.")
    return count


def from_bytes(datatype: str, shape: Sequence[int], data: Buffer, name: str) -> Array:
    """Read a tensor; where its elements are numbers, it looks into the given bytes.

    Args:
        datatype: of the protocol.
        shape: as claimed; what is there has to fit it.
        data: all of the tensor.
        name: of the tensor, for errors.

    Raises:
        InvalidInput: datatype, shape and bytes do not fit each other.
    """
    check_datatype(datatype, name)
    count = element_count(shape, name)
    if datatype == BYTES:
        # Each takes four bytes at the least: no more is made than the data has room for.
        if count * _LENGTH.size > len(data):
            raise _cut_short(name, len(data), count)
        return texts(_split(data, count, name), count, name).reshape(shape)
    dtype = DTYPES["UINT16" if datatype == BF16 else datatype]
    if len(data) != count * dtype.itemsize:
        raise InvalidInput(
            f"the tensor {name!r} has {len(data)} bytes of data, and {datatype} of the shape "
            f"{list(shape)} has {count * dtype.itemsize}."
        )
    values: Array = np.frombuffer(data, dtype=dtype)
    if datatype == "BOOL" and count and values.view(np.uint8).max() > 1:
        raise InvalidInput(f"the tensor {name!r} of BOOL has bytes that are neither 0 nor 1.")
    if datatype == BF16:
        values = (values.astype(np.uint32) << np.uint32(16)).view(np.float32)
    elif not _IS_LITTLE:
        values = values.astype(dtype.newbyteorder("="))
    return values.reshape(shape)


def to_bytes(array: Array) -> Buffer:
    """Write a tensor; a view of it where it lies in memory as it is sent.

    Raises:
        ValueError: the protocol has no datatype for it.
    """
    datatype = datatype_of(array.dtype)
    if datatype == BYTES:
        return _join(elements(array))
    flat = np.ascontiguousarray(array, dtype=DTYPES[datatype]).reshape(-1)
    return flat.view(np.uint8).data if flat.size else b""


def elements(array: Array) -> Iterator[bytes]:
    """The elements of an array of texts, as bytes."""
    for value in array.ravel().tolist():
        yield value if type(value) is bytes else _encoded(value)


def texts(values: Iterable[bytes | None], count: int, name: str) -> Array:
    """An array of one axis that holds `count` bytes objects.

    Raises:
        InvalidInput: there are more than `MOST_TEXTS`.
    """
    if count > MOST_TEXTS:
        raise InvalidInput(
            f"the tensor {name!r} of BYTES has {count} elements, more than {MOST_TEXTS}."
        )
    array = np.empty(count, dtype=object)
    for index, value in enumerate(values):
        array[index] = value
    return array


def _encoded(value: Any) -> bytes:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    return str(value).encode("utf-8", "replace")


def _join(values: Iterable[bytes]) -> bytes:
    parts: list[bytes] = []
    for value in values:
        parts += (_LENGTH.pack(len(value)), value)
    return b"".join(parts)


def _split(data: Buffer, count: int, name: str) -> Iterator[bytes]:
    view, start, found = memoryview(data), 0, 0
    while start < len(view):
        if found == count or len(view) - start < _LENGTH.size:
            raise _cut_short(name, len(data), count)
        (length,) = _LENGTH.unpack_from(view, start)
        start += _LENGTH.size
        if length > len(view) - start:
            raise InvalidInput(
                f"the element {found} of the tensor {name!r} claims {length} bytes, and "
                f"{len(view) - start} are left."
            )
        yield bytes(view[start : start + length])
        start += length
        found += 1
    if found != count:
        raise _cut_short(name, len(data), count)


def _cut_short(name: str, length: int, count: int) -> InvalidInput:
    return InvalidInput(
        f"the tensor {name!r} of BYTES has {length} bytes of data, which are not {count} "
        "elements, each with its length before it."
    )
