"""The values of one column of a request, as one array of the column's type."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from django_inference.engine.cells import READERS, Array, WrongType, as_sent, is_missing, said
from django_inference.exceptions import InvalidInput
from django_inference.runtimes.tables import Column


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
    read = READERS[column.kind]
    found: list[Any] = []
    for value in given:
        if is_missing(value):
            found.append(None)
            continue
        value = as_sent(value)
        try:
            found.append(read(column, value))
        except WrongType:
            raise InvalidInput(
                f"the column {column.name!r} takes {column.wants}, and was given {said(value)}."
            ) from None
    return _known(column, _array(column, found))


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
