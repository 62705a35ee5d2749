"""Results as plain Python, which any renderer can write."""

from __future__ import annotations

import base64
import dataclasses
import datetime
import decimal
import ipaddress
import math
import sys
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from enum import Enum
from pathlib import PurePath
from types import NoneType
from typing import TYPE_CHECKING, Any

import msgspec
from django.utils.functional import Promise

from django_inference.plain.arrays import NonFinite, to_lists

if TYPE_CHECKING:
    from django_inference.plain.arrays import Array

_EXACT = frozenset({int, bool, NoneType})

#: Kinds of dtype whose nested lists are plain already.
_NUMERIC = "biufcmM"


def to_plain(value: Any, *, non_finite: NonFinite = "null") -> Any:
    """Turn a result into dicts with string keys, lists, texts, numbers, booleans and None.

    Arrays become nested lists, bytes `{"b64": "…"}`, dates and times ISO 8601, a timedelta
    its seconds, sets sorted lists, dataclasses and structures dicts. A complex number is
    `{"real": …, "imag": …}`; so is an array of them.

    Args:
        value: what a model answered.
        non_finite: what NaN and the infinities become.

    Raises:
        TypeError: there is something in it that none of this fits.
        ValueError: it refers to itself, or two keys of a dict become the same text.
    """
    try:
        return _plain(value, non_finite)
    except RecursionError:
        raise ValueError("The result is nested too deeply, or contains itself.") from None


def _plain(value: Any, non_finite: NonFinite) -> Any:
    kind = type(value)
    if kind in _EXACT:
        return value
    if isinstance(value, Enum):
        return _plain(value.value, non_finite)
    if isinstance(value, str | Promise):
        return _text(str(value))
    if isinstance(value, float):
        return _number(float(value), non_finite)
    if isinstance(value, Mapping):
        return _dict(value.items(), non_finite)
    if isinstance(value, list | tuple):
        return _list(value, non_finite)
    if isinstance(value, bytes | bytearray | memoryview):
        return {"b64": base64.b64encode(bytes(value)).decode("ascii")}
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, numpy.ndarray | numpy.generic):
        return _array(numpy.asanyarray(value), non_finite)
    if isinstance(value, Set):
        return _list(_sorted(value), non_finite)
    if isinstance(value, Sequence | Iterator):
        return _list(list(value), non_finite)
    return _rare(value, non_finite)


def _rare(value: Any, non_finite: NonFinite) -> Any:
    if isinstance(value, int):
        return int(value)
    if isinstance(value, complex):
        return {
            "real": _number(value.real, non_finite),
            "imag": _number(value.imag, non_finite),
        }
    if isinstance(value, decimal.Decimal):
        return _number(float(value), non_finite)
    for kinds, convert in _SCALARS:
        if isinstance(value, kinds):
            return convert(value)
    if isinstance(value, msgspec.Struct):
        return _dict(_fields(value), non_finite)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = (field.name for field in dataclasses.fields(value))
        return _dict(((name, getattr(value, name)) for name in names), non_finite)
    if hasattr(type(value), "__array__"):  # tensors of the frameworks, columns of tables
        import numpy

        return _array(numpy.asanyarray(value), non_finite)
    raise TypeError(
        f"A result of the type {type(value).__qualname__} cannot be written as JSON; "
        "return plain values or arrays from the runtime, or override present()."
    )


def _number(value: float, non_finite: NonFinite) -> float | str | None:
    if math.isfinite(value):
        return value
    if non_finite == "null":
        return None
    return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"


def _text(value: str) -> str:
    # Half of a surrogate pair cannot be sent as UTF-8; the response would fail as a whole.
    return value if value.isascii() else value.encode("utf-8", "replace").decode("utf-8")


def _moment(value: datetime.date | datetime.time) -> str:
    said = value.isoformat()
    return f"{said[:-6]}Z" if said.endswith("+00:00") else said


def _dict(pairs: Iterable[tuple[Any, Any]], non_finite: NonFinite) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for key, value in pairs:
        name = _key(key)
        if name in plain:
            raise ValueError(f"Two keys of a result are both {name!r} when written as text.")
        plain[name] = _plain(value, non_finite)
    return plain


def _key(key: Any) -> str:
    if isinstance(key, Enum):
        return _key(key.value)
    if isinstance(key, bytes):
        return key.decode("utf-8", "replace")
    if key is None or isinstance(key, bool):
        return {None: "null", True: "true", False: "false"}[key]
    return _text(str(key))


def _list(values: Sequence[Any], non_finite: NonFinite) -> list[Any]:
    kinds = set(map(type, values))
    # Two common cases in one pass of C each, instead of a call for every element.
    if kinds <= _EXACT or (kinds == {float} and all(map(math.isfinite, values))):
        return list(values)
    return [_plain(value, non_finite) for value in values]


def _sorted(values: Set[Any]) -> list[Any]:
    try:
        return sorted(values)
    except TypeError:
        return list(values)


def _array(array: Array, non_finite: NonFinite) -> Any:
    if array.dtype.names:
        return {name: _array(array[name], non_finite) for name in array.dtype.names}
    lists = to_lists(array, non_finite)
    return lists if array.dtype.kind in _NUMERIC else _plain(lists, non_finite)


_SCALARS: tuple[tuple[type | tuple[type, ...], Callable[[Any], Any]], ...] = (
    ((datetime.date, datetime.time), _moment),
    (datetime.timedelta, datetime.timedelta.total_seconds),
    (
        (
            uuid.UUID,
            PurePath,
            ipaddress.IPv4Address,
            ipaddress.IPv6Address,
            ipaddress.IPv4Network,
            ipaddress.IPv6Network,
        ),
        str,
    ),
)


def _fields(value: msgspec.Struct) -> Iterator[tuple[str, Any]]:
    """The fields that msgspec would write."""
    omits = value.__struct_config__.omit_defaults
    for field in msgspec.structs.fields(value):
        content = getattr(value, field.name)
        if not (omits and content == field.default):
            yield field.name, content
