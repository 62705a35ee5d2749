"""Values of a column, each of the one type that the column has.

What came over the wire and what came from Python are the same here: a date may be a text in
ISO 8601, a whole number a float without a fraction, and a text the bytes of UTF-8.
"""

from __future__ import annotations

import datetime
import decimal
import math
import uuid
from collections.abc import Callable
from typing import Any

import numpy as np

from django_inference.exceptions import InvalidInput
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


def values_of(column: Column, given: Any, *, one: bool = False) -> Array:
    """The values of a column as an array of one axis, of the column's type.

    Args:
        column: that they are for.
        given: a list or an array; a single value with `one`.
        one: it is the value of a single row.

    Raises:
        InvalidInput: there is a value that the column does not take; the message says which.
    """
    if not one:
        given = _listed(column, given)
    elif isinstance(given, np.ndarray) and given.size == 1:
        given = [given.reshape(-1)[0]]
    else:
        given = [given]
    if isinstance(given, np.ndarray):
        quick = _quick(column, given)
        if quick is not None:
            return _known(column, quick)
        given = given.tolist() if given.dtype.kind not in "mM" else list(given)
    read = _READERS[column.kind]
    found: list[Any] = []
    for value in given:
        if is_missing(value):
            found.append(None)
            continue
        value = _as_sent(value)
        try:
            found.append(read(column, value))
        except WrongType:
            raise InvalidInput(
                f"the column {column.name!r} takes {column.wants}, and was given {said(value)}."
            ) from None
    return _known(column, _array(column, found))


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


def _listed(column: Column, given: Any) -> Any:
    if isinstance(given, np.ma.MaskedArray):
        given = given.tolist()
    if isinstance(given, list | tuple):
        return given
    if hasattr(given, "__array__") and not isinstance(given, np.generic):
        given = np.asarray(given)
        if given.ndim == 2 and given.shape[1] == 1:
            given = given[:, 0]
        if given.ndim == 1:
            return given
        if given.ndim > 1:
            raise InvalidInput(
                f"the column {column.name!r} takes one value for each row, and was given lists."
            )
        given = given.item()
    raise InvalidInput(
        f"the column {column.name!r} takes a list with a value for each row, and was given "
        f"{said(given)}."
    )


def _quick(column: Column, given: Array) -> Array | None:
    """The values of an array that has the right type already; None where each is looked at."""
    kind = given.dtype.kind
    if column.kind == "number" and kind in "iufb":
        with np.errstate(over="ignore"):
            return given.astype(column.spec.dtype, copy=False)
    if column.kind == "integer" and kind in "iu":
        limits = np.iinfo(column.spec.dtype)
        if not given.size or (limits.min <= given.min() and given.max() <= limits.max):
            return given.astype(column.spec.dtype, copy=False)
    if column.kind == "boolean" and kind == "b":
        return given
    if column.kind == "date" and kind == "M":
        return given.astype(column.dtype)
    return None


def _array(column: Column, found: list[Any]) -> Array:
    if column.kind == "number":
        with np.errstate(over="ignore"):
            return np.array(
                [math.nan if value is None else value for value in found], dtype=column.spec.dtype
            )
    whole = None not in found
    if column.kind == "integer":
        if whole:
            return np.array(found, dtype=column.spec.dtype)
        return np.array([math.nan if value is None else value for value in found])
    if column.kind == "boolean" and whole:
        return np.array(found, dtype=np.bool_)
    if column.kind in ("date", "instant"):
        unit = column.dtype or "datetime64[ns]"
        nothing = np.datetime64("NaT")
        times = [nothing if value is None else np.datetime64(value, "us") for value in found]
        return _in_unit(column, np.array(times, dtype="datetime64[us]"), unit)
    array = np.empty(len(found), dtype=object)
    array[:] = found
    return array


def _in_unit(column: Column, times: Array, unit: str) -> Array:
    converted = times.astype(unit)
    # numpy lets what is too far away for nanoseconds become another time.
    if "ns" in unit and not np.array_equal(converted.astype(times.dtype), times, equal_nan=True):
        raise InvalidInput(
            f"the column {column.name!r} was given a date that is out of the range of {unit}."
        )
    return converted


def _known(column: Column, values: Array) -> Array:
    """Hold the values against those that the model has seen.

    Raises:
        InvalidInput: one is not among them, or is missing where none may be.
    """
    kind = values.dtype.kind
    if not column.takes_missing and kind in "OfM" and any(map(is_missing, values)):
        raise InvalidInput(f"the column {column.name!r} takes {column.wants}, and not null.")
    if column.known is None or column.unknown == "pass":
        return values
    places = column.places
    for place, value in enumerate(values.tolist()):
        if value in places or is_missing(value):
            continue
        if column.unknown == "refuse":
            raise InvalidInput(
                f"the column {column.name!r} takes one of {_some(column)}, and was given "
                f"{said(value)}."
            )
        values[place] = None
    return values


def _some(column: Column) -> str:
    known = column.known or ()
    shown = ", ".join(repr(value) for value in known[:10])
    return f"{shown} and {len(known) - 10} others" if len(known) > 10 else shown


def _as_sent(value: Any) -> Any:
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
_READERS: dict[str, Callable[[Column, Any], Any]] = {
    "number": _number,
    "integer": _integer,
    "boolean": _boolean,
    "text": _text,
    "category": _category,
    "label": _label,
    "date": _date,
    "instant": _instant,
}
