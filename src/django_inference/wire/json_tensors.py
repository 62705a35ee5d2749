"""Tensor data in JSON: from its text into numpy in pieces, and back.

The data of a tensor of numbers is never a Python list as a whole: it is read piece by piece
into an array whose length the text has room for, so a body costs little more memory than it
has bytes.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

import msgspec
import numpy as np

from django_inference.exceptions import InvalidInput
from django_inference.wire.datatypes import (
    BF16,
    BYTES,
    DTYPES,
    Array,
    check_datatype,
    element_count,
    elements,
    texts,
)
from django_inference.wire.nesting import numbers
from django_inference.words import dtype_said

#: Datatypes of which every value is a float of Python's.
FLOATS = frozenset({"FP16", BF16, "FP32", "FP64"})

#: Bytes of JSON that are read at a time.
_PIECE = 1 << 16
_DECODERS: dict[str, msgspec.json.Decoder[Any]] = {
    "b": msgspec.json.Decoder(list[bool]),
    "i": msgspec.json.Decoder(list[int]),
    "u": msgspec.json.Decoder(list[int]),
    "f": msgspec.json.Decoder(list[float]),
}
#: NaN and the infinities, for which JSON has no word, are sent as null.
_WITH_NULL = msgspec.json.Decoder(list[float | None])
_ZERO_OR_ONE = msgspec.json.Decoder(list[int])
_LIST = {list}
_SPACE = b" \t\r\n"
_COMMA = ord(",")
_NESTED = re.compile(rb"\[\s*\[")
_NOTHING = re.compile(rb"\[\s*\]")

#: How MLServer says that the elements of a BYTES tensor are base64.
CONTENT_TYPE, BASE64 = "content_type", "base64"


def from_json(
    datatype: str, shape: Sequence[int], text: bytes, name: str, *, is_base64: bool = False
) -> Array:
    """Read the data of a tensor.

    Args:
        datatype: of the protocol.
        shape: as claimed; what is there has to fit it.
        text: valid JSON: a flat list in row-major order, or lists nested as the shape says.
        name: of the tensor, for errors.
        is_base64: the elements of BYTES are written so.

    Raises:
        InvalidInput: datatype, shape and data do not fit each other.
    """
    check_datatype(datatype, name)
    count = element_count(shape, name)
    text = text.strip(_SPACE)
    if not text.startswith(b"["):
        raise InvalidInput(f"the data of the tensor {name!r} is not a list.")
    if datatype == BYTES:
        return _texts(text, shape, count, name, is_base64).reshape(shape)
    dtype = _native(datatype)
    commas = int(np.count_nonzero(np.frombuffer(text, np.uint8) == _COMMA))
    if _NESTED.match(text):
        _check_nesting(text, shape, count, commas, name)
        text = b"[%b]" % text.translate(None, b"[]")
    elif count != (found := commas + (_NOTHING.match(text) is None)):
        raise _other_count(name, shape, found, count)
    return _numbers(text, dtype, count, name).reshape(shape)


def from_floats(datatype: str, shape: Sequence[int], data: list[Any], name: str) -> Array:
    """As `from_json`, for numbers that are decoded already, flat or nested to one depth.

    Args:
        datatype: one of `FLOATS`.
        shape: as claimed.
        data: of floats.
        name: of the tensor, for errors.

    Raises:
        InvalidInput: shape and data do not fit each other.
    """
    count = element_count(shape, name)
    flat = _flattened(data, shape, name) if data and isinstance(data[0], list) else data
    if len(flat) != count:
        raise _other_count(name, shape, len(flat), count)
    return numbers(flat, _native(datatype), name).reshape(shape)


def to_json(array: Array) -> tuple[list[Any], dict[str, Any]]:
    """Write the data of a tensor as a flat list, in row-major order.

    Returns:
        The list, and the parameters of the tensor that say how it is written: where an
        element of BYTES is no text, all are base64. NaN and the infinities are for the
        encoder, which makes them null.
    """
    if array.dtype.kind not in "OSUT":
        return array.ravel().tolist(), {}
    found = list(elements(array))
    try:
        return [value.decode() for value in found], {}
    except UnicodeDecodeError:
        encoded = [base64.b64encode(value).decode("ascii") for value in found]
        return encoded, {CONTENT_TYPE: BASE64}


def _native(datatype: str) -> np.dtype[Any]:
    return np.dtype(np.float32) if datatype == BF16 else DTYPES[datatype].newbyteorder("=")


def _numbers(text: bytes, dtype: np.dtype[Any], count: int, name: str) -> Array:
    array = np.empty(count, dtype=dtype)
    start, end, filled = 1, len(text) - 1, 0
    while filled < count:
        comma = text.find(b",", start + _PIECE, end)
        stop = end if comma < 0 else comma
        piece = numbers(_piece(b"[%b]" % text[start:stop], dtype, name), dtype, name)
        if len(piece) > count - filled:
            break
        array[filled : filled + len(piece)] = piece
        filled += len(piece)
        start = stop + 1
        if comma < 0:
            break
    if filled != count:
        raise InvalidInput(f"the tensor {name!r} has other data than its shape says.")
    return array


def _piece(text: bytes, dtype: np.dtype[Any], name: str) -> list[Any]:
    try:
        values: list[Any] = _DECODERS[dtype.kind].decode(text)
        return values
    except msgspec.MsgspecError as error:
        try:
            if dtype.kind == "f":
                nan = float("nan")
                return [nan if value is None else value for value in _WITH_NULL.decode(text)]
            if dtype.kind == "b" and set(said := _ZERO_OR_ONE.decode(text)) <= {0, 1}:
                return [value == 1 for value in said]
        except msgspec.MsgspecError:
            pass
        raise InvalidInput(
            f"the data of the tensor {name!r} is not all {dtype_said(dtype.name)}: {_why(error)}."
        ) from error


def _why(error: Exception) -> str:
    # The rest of the message is the place within the piece, which would mislead.
    return str(error).split(" - at ")[0].split(" (byte")[0]


def _check_nesting(text: bytes, shape: Sequence[int], count: int, commas: int, name: str) -> None:
    """Compare the brackets and commas with those that the shape has."""
    if count and commas + 1 != count:
        raise _other_nesting(name, shape)
    wanted = b""
    brackets = 0
    for length in reversed(shape):
        brackets = brackets * length + 1
        # As long as the text or shorter, or they differ without being compared.
        if brackets > len(text):
            break
        wanted = b"[%b]" % b",".join([wanted] * length)
    else:
        if b'"' not in text and text.translate(None, b"0123456789+-.eEtrufalsn" + _SPACE) == wanted:
            return
    raise _other_nesting(name, shape)


def _flattened(level: list[Any], shape: Sequence[int], name: str) -> list[Any]:
    for length in shape[1:]:
        # One pass of C each, instead of a step for every row.
        if set(map(type, level)) - _LIST or set(map(len, level)) - {length}:
            raise _other_nesting(name, shape)
        level = list(chain.from_iterable(level))
    if level and isinstance(level[0], list):
        raise _other_nesting(name, shape)
    return level


def _other_nesting(name: str, shape: Sequence[int]) -> InvalidInput:
    return InvalidInput(
        f"the data of the tensor {name!r} is neither flat nor nested as its shape {list(shape)} "
        "says."
    )


def _other_count(name: str, shape: Sequence[int], found: int, count: int) -> InvalidInput:
    return InvalidInput(
        f"the tensor {name!r} has {found} elements, and its shape {list(shape)} has {count}."
    )


def _texts(text: bytes, shape: Sequence[int], count: int, name: str, is_base64: bool) -> Array:
    # Less than there may be, where backslashes stand before closing quotes; never half.
    at_least = (text.count(b'"') - text.count(b'\\"')) // 2
    if at_least > count:
        raise _other_count(name, shape, at_least, count)
    is_nested = _NESTED.match(text) is not None
    try:
        level = _nested_texts(len(shape) if is_nested else 1).decode(text)
    except msgspec.MsgspecError as error:
        raise InvalidInput(
            f"the data of the tensor {name!r} is not all texts, as BYTES needs: {error}."
        ) from error
    if is_nested:
        level = _flattened(level, shape, name)
    if len(level) != count:
        raise _other_count(name, shape, len(level), count)
    return texts((_bytes(value, name, is_base64) for value in level), count, name)


def _bytes(value: str | None, name: str, is_base64: bool) -> bytes | None:
    if value is None:
        # A missing text: whether the model takes that is for its columns to say.
        return None
    if not is_base64:
        return value.encode()
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidInput(f"the tensor {name!r} has an element that is not base64.") from error


@lru_cache(maxsize=64)
def _nested_texts(depth: int) -> msgspec.json.Decoder[Any]:
    kind: Any = str if depth > 2 else str | None
    for _ in range(max(depth, 1)):
        kind = list[kind]
    return msgspec.json.Decoder(kind)
