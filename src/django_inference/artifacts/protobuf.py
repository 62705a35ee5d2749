"""Protocol buffers, field by field, for files whose own library need not be installed."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

_LENGTH_DELIMITED = 2
#: Bytes of what has a fixed length, by the number of its wire type.
_FIXED = {1: 8, 5: 4}

Buffer: TypeAlias = bytes | mmap.mmap


class Field(NamedTuple):
    """One field of a protocol buffer.

    Attributes:
        number: of the field.
        starts: where its tag does.
        value: a number, or where its bytes are; None for numbers of a fixed length.
        ends: where the next field starts.
    """

    number: int
    starts: int
    value: int | slice | None
    ends: int


def fields(data: Buffer, start: int = 0, stop: int | None = None) -> Iterator[Field]:
    """Return the fields of a protocol buffer, without those of the messages in it.

    Raises:
        ValueError: it is something else.
    """
    at, stop = start, len(data) if stop is None else stop
    while at < stop:
        starts = at
        tag, at = varint(data, at)
        kind = tag & 7
        value: int | slice | None = None
        if kind == 0:
            value, at = varint(data, at)
        elif kind == _LENGTH_DELIMITED:
            size, at = varint(data, at)
            value, at = slice(at, at + size), at + size
        elif kind in _FIXED:
            at += _FIXED[kind]
        else:
            raise ValueError("this is no protocol buffer.")
        if at > stop:
            raise ValueError("this protocol buffer is cut off.")
        yield Field(tag >> 3, starts, value, at)


def varint(data: Buffer, at: int) -> tuple[int, int]:
    """Return a number, and where the next one starts.

    Raises:
        ValueError: there is none.
    """
    value = shift = 0
    while shift < 64:
        try:
            byte = data[at]
        except IndexError as error:
            raise ValueError("this protocol buffer is cut off.") from error
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
    raise ValueError("this is no protocol buffer.")


def delimited(number: int, value: bytes) -> bytes:
    """Return a field that holds bytes, a text or a message."""
    return _encoded(number << 3 | _LENGTH_DELIMITED) + _encoded(len(value)) + value


def _encoded(value: int) -> bytes:
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])
