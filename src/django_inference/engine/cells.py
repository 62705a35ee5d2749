"""Values of a column, each of the one type that the column has.

What came over the wire and what came from Python are the same here: a date may be a text in
ISO 8601, a whole number a float without a fraction, and a text the bytes of UTF-8.
"""

from __future__ import annotations

import datetime
import decimal
import uuid
from collections.abc import Callable
from typing import Any

import numpy as np

from django_inference.runtimes.tables import Column

Array = np.ndarray[Any, Any]

#: What libraries of data frames call a missing value; numpy has its own for times.
_MISSING = frozenset({"NAType", "NaTType", "MaskedConstant"})
_LONGEST = 60


class WrongType(Exception):
    """A value is of another type than the column."""


def is_missing(value: Any) -> bool:
    """Whether it stands for no value: None, NaN, or what data frames have for it."""
    if value is None:
        return True
    if isinstance(value, float):
        return value != value
    if isinstance(value, str | int | bytes):
        return False
    if isinstance(value, np.generic):
        return value.dtype.kind in "fmM" and bool(value != value)
    if isinstance(value, decimal.Decimal):
        return value.is_nan()
    return type(value).__name__ in _MISSING


def said(value: Any) -> str:
    """A value in words, for a message."""
    if is_missing(value):
        return "null"
    if isinstance(value, bool | np.bool_):
        return "the boolean " + ("true" if value else "false")
    if isinstance(value, bytes | bytearray | memoryview):
        return "bytes that are not a text in UTF-8"
    for kinds, word in (
        (str, "the text"),
        ((int, float, np.number), "the number"),
        (datetime.datetime, "the time"),
    ):
        if isinstance(value, kinds):
            shown = repr(value) if isinstance(value, str) else str(value)
            return f"{word} {shown if len(shown) <= _LONGEST else shown[:_LONGEST] + '…'}"
    if isinstance(value, list | tuple | np.ndarray):
        return "a list"
    return "an object" if isinstance(value, dict) else f"a {type(value).__name__}"


def as_sent(value: Any) -> Any:
    """A value as it comes out of a socket, so that all ways to the model are alike."""
    if isinstance(value, np.datetime64):
        value = value.astype("datetime64[us]").item()
    elif isinstance(value, np.generic) and value.dtype.kind != "m":
        value = value.item()
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, decimal.Decimal):
        return float(value)
    if isinstance(value, datetime.datetime) and value.tzinfo is not None:
        return value.astimezone(datetime.UTC)
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return str(value) if isinstance(value, uuid.UUID) else value


# What a column of each kind makes of one value.


def _number(column: Column, value: Any) -> float | int:
    if isinstance(value, bool | float):
        return float(value)
    # More than 64 bits do not travel.
    if isinstance(value, int) and -(1 << 63) <= value < 1 << 64:
        return float(value)
    raise WrongType


def _integer(column: Column, value: Any) -> int:
    if not isinstance(value, int | float):
        raise WrongType
    if isinstance(value, float) and not value.is_integer():
        raise WrongType
    limits = np.iinfo(column.spec.dtype if column.kind == "integer" else "int64")
    if not limits.min <= value <= limits.max:
        raise WrongType
    return int(value)


def _boolean(column: Column, value: Any) -> bool:
    if isinstance(value, bool) or (isinstance(value, int | float) and value in (0, 1)):
        return bool(value)
    raise WrongType


def _text(column: Column, value: Any) -> str:
    try:
        if isinstance(value, str):
            if not value.isascii():
                value.encode()
            return value
        if isinstance(value, bytes | bytearray | memoryview):
            return bytes(value).decode()
    except UnicodeError:
        # Half of a surrogate pair is no text, either.
        pass
    raise WrongType


def _category(column: Column, value: Any) -> Any:
    if not column.known:
        return _label(column, value)
    kinds = {type(known) for known in column.known}
    if kinds <= {str}:
        return _text(column, value)
    if kinds <= {bool}:
        return _boolean(column, value)
    if kinds <= {bool, int, float}:
        number = _number(column, value)
        # The very value of the training, of whichever type: 1 and 1.0 are one category.
        place = column.places.get(number)
        return number if place is None else column.known[place]
    return _label(column, value)


def _label(column: Column, value: Any) -> Any:
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return _integer(column, value)
    return _text(column, value)


def _date(column: Column, value: Any) -> datetime.datetime:
    time = _time(value)
    if time.tzinfo is not None:
        raise WrongType
    return time


def _instant(column: Column, value: Any) -> datetime.datetime:
    time = _time(value)
    if time.tzinfo is None:
        raise WrongType
    return time.astimezone(datetime.UTC).replace(tzinfo=None)


def _time(value: Any) -> datetime.datetime:
    if isinstance(value, datetime.datetime):
        return value
    try:
        return datetime.datetime.fromisoformat(_text(_ANY, value))
    except ValueError:
        raise WrongType from None


_ANY = Column("", "text")
READERS: dict[str, Callable[[Column, Any], Any]] = {
    "number": _number,
    "integer": _integer,
    "boolean": _boolean,
    "text": _text,
    "category": _category,
    "label": _label,
    "date": _date,
    "instant": _instant,
}
