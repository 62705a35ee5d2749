"""Which values travel between a caller and a model, and as what they arrive.

The model host and `LocalBackend` go by the same rules: what is right in one process is right in
another, and what is refused by one is refused by the other.

msgspec knows plain values, dataclasses, enumerations, dates and the like; what else there is
becomes one of these, or an array, in `simplified`.
"""

from __future__ import annotations

import datetime
import sys
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
from msgspec.msgpack import Ext

from django_inference.pixels import pixels_of

#: Codes of the msgpack extensions.
TENSOR, OBJECTS = 1, 2
#: Kinds of dtype whose arrays are plain memory.
PLAIN_KINDS = "biufcSUmM"

Array = np.ndarray[Any, Any]

#: Numbers of dtypes from here on are those of other packages, such as bfloat16.
_FOREIGN = 256
#: What stands for a foreign dtype: the first of these that holds all its values.
_STAND_INS = tuple(
    np.dtype(name)
    for name in (
        *("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"),
        *("float32", "float64", "complex64", "complex128"),
    )
)
#: Floats that both torch and numpy have.
_FLOATS_OF_TORCH = ("torch.float16", "torch.float32", "torch.float64")


def travelled(value: Any) -> Any:
    """What a value is after it was sent to another process; its arrays are copies.

    Raises:
        TypeError: a value in it is of a type that cannot be sent.
        OverflowError: an integer in it needs more than 64 bits.
        ValueError: anything else in it cannot be sent.
        RecursionError: it contains itself.
    """
    if value.__class__ is dict and all(map(_is_plain_tensor, value, value.values())):
        return {name: array.copy() for name, array in value.items()}
    trip = _Trip()
    return trip.unpacked(trip.packed(value))


def check_sendable(value: Any) -> None:
    """Look for what cannot be sent, without a copy of any array.

    Raises:
        Exception: as `travelled`.
    """

    def look(other: Any) -> Any:
        simple = simplified(other)
        if not isinstance(simple, np.ndarray):
            return simple
        return None if is_plain(simple.dtype) else simple.ravel().tolist()

    msgspec.msgpack.Encoder(enc_hook=look, decimal_format="number").encode(value)


def reason(error: Exception) -> str:
    """Why a value cannot be sent, for the person who has sent it."""
    if isinstance(error, UnicodeEncodeError):
        return "a text holds half of a surrogate pair, which is no character"
    if isinstance(error, OverflowError):
        return "an integer takes more than 64 bits"
    if isinstance(error, RecursionError):
        return "it is nested too deeply, or contains itself"
    return str(error)


def simplified(value: Any) -> Any:
    """An array, or a plain value, for what msgspec does not know.

    Raises:
        TypeError: it is neither.
    """
    if isinstance(value, np.ndarray):
        return plain_array(value)
    if isinstance(value, np.generic):
        return _scalar(value)
    # Django's SafeString, for one: msgspec takes the types themselves only.
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, bytes):
        return bytes.__bytes__(value)
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    # Nobody can have made one without these modules.
    torch, pandas = sys.modules.get("torch"), sys.modules.get("pandas")
    if torch is not None and isinstance(value, torch.Tensor):
        return _tensor(value)
    pil = sys.modules.get("PIL.Image")
    if pil is not None and isinstance(value, pil.Image):
        return pixels_of(value)
    if pandas is not None and (value is pandas.NA or value is pandas.NaT):
        return None
    if isinstance(value, datetime.datetime | datetime.timedelta):
        return _time(value)
    if hasattr(value, "__array__"):
        return plain_array(_asarray(value))
    if isinstance(value, Mapping):
        return dict(value)
    hint = "; its toarray() can" if hasattr(value, "toarray") else ""
    raise TypeError(f"a value of type {type(value).__name__} cannot be sent to the model{hint}")


def plain_array(array: Array) -> Array:
    """An array of the same values, of a dtype that numpy itself has.

    Raises:
        TypeError: some of its values are masked, or no dtype of numpy holds them.
    """
    if array.__class__ is not np.ndarray:
        if isinstance(array, np.ma.MaskedArray) and np.ma.is_masked(array):
            raise TypeError(
                "an array with masked values cannot be sent to the model: its filled() says what "
                "stands for them"
            )
        array = np.asarray(array)
    dtype = array.dtype
    # Texts of any length have a high number as well.
    if dtype.num < _FOREIGN or dtype.kind == "T":
        is_plain(dtype)
        return array
    return array.astype(plain_dtype(dtype))


def plain_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype of numpy's own that holds all values of another: float32 for bfloat16.

    Raises:
        TypeError: there is none.
    """
    if dtype.num < _FOREIGN:
        return dtype
    for stand_in in _STAND_INS:
        if np.can_cast(dtype, stand_in, "safe"):
            return stand_in
    raise _cannot(dtype)


def is_plain(dtype: np.dtype[Any]) -> bool:
    """Whether arrays of it are plain memory; else their objects are what travels.

    Raises:
        TypeError: neither can travel.
    """
    if dtype.kind in PLAIN_KINDS and dtype.itemsize:
        return True
    if dtype.kind not in "OTSU":
        raise _cannot(dtype)
    return False


def array_of_objects(values: list[Any]) -> Array:
    """An array with one axis. `np.array()` would look into nested lists for further axes."""
    array = np.empty(len(values), dtype=object)
    for index, value in enumerate(values):
        array[index] = value
    return array


class _Trip:
    """One way of one value; its arrays wait here. No hook is kept: that would be a circle."""

    def __init__(self) -> None:
        self._arrays: list[Array] = []

    def packed(self, value: Any) -> bytes:
        encoder = msgspec.msgpack.Encoder(enc_hook=self._keep, decimal_format="number")
        return encoder.encode(value)

    def unpacked(self, packed: bytes | memoryview, kind: Any = Any) -> Any:
        return msgspec.msgpack.decode(packed, type=kind, ext_hook=self._take)

    def _keep(self, value: Any) -> Any:
        simple = simplified(value)
        if not isinstance(simple, np.ndarray):
            return simple
        if not is_plain(simple.dtype):
            return Ext(OBJECTS, self.packed((simple.shape, simple.ravel().tolist())))
        self._arrays.append(simple.copy())
        return Ext(TENSOR, len(self._arrays).to_bytes(4, "big"))

    def _take(self, code: int, data: memoryview) -> Any:
        if code == TENSOR:
            return self._arrays[int.from_bytes(data, "big") - 1]
        shape, flat = self.unpacked(data, tuple[tuple[int, ...], list[Any]])
        return array_of_objects(flat).reshape(shape)


def _is_plain_tensor(name: Any, value: Any) -> bool:
    return (
        name.__class__ is str
        and name.isascii()
        and value.__class__ is np.ndarray
        and value.dtype.num < _FOREIGN
        and value.dtype.kind in PLAIN_KINDS
        and value.dtype.itemsize > 0
    )


def _scalar(value: np.generic) -> Any:
    dtype = plain_dtype(value.dtype)
    if dtype.kind in "mM":
        # As a number it would have no unit, and as a date no nanoseconds.
        return np.asarray(value)
    if dtype.kind in "biuSU" or (dtype.kind == "f" and dtype.itemsize <= 8):
        return value.item()
    raise TypeError(f"a number of dtype {dtype} cannot be sent to the model; an array of it can")


def _tensor(value: Any) -> Array:
    try:
        if value.is_floating_point() and str(value.dtype) not in _FLOATS_OF_TORCH:
            # numpy has no bfloat16, nor any float of 8 bits.
            value = value.float()
        return plain_array(value.numpy(force=True))
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"a tensor of torch cannot be sent to the model: {error}") from error


def _time(value: datetime.datetime | datetime.timedelta) -> Any:
    """The same as a plain object, of a subclass: those of pandas have nanoseconds."""
    if getattr(value, "nanosecond", 0) or getattr(value, "nanoseconds", 0):
        raise TypeError(f"{value} has nanoseconds: give it as an array, as its to_numpy() does")
    if isinstance(value, datetime.timedelta):
        return datetime.timedelta(value.days, value.seconds, value.microseconds)
    date = (value.year, value.month, value.day)
    time = (value.hour, value.minute, value.second, value.microsecond)
    return datetime.datetime(*date, *time, tzinfo=value.tzinfo, fold=value.fold)


def _asarray(value: Any) -> Array:
    try:
        return np.asarray(value)
    except Exception as error:
        # Other libraries raise what they like.
        said = f"a value of type {type(value).__name__} cannot be made an array: {error}"
        raise TypeError(said) from error


def _cannot(dtype: np.dtype[Any]) -> TypeError:
    return TypeError(f"an array of dtype {dtype} cannot be sent to the model")
