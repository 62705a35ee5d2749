"""Between the nested lists of a JSON document and arrays, without a step for each number."""

from __future__ import annotations

from array import array
from itertools import chain
from typing import Any, TypeAlias

import numpy as np

from django_inference.exceptions import InvalidInput
from django_inference.words import dtype_said, place_said, value_said

Array: TypeAlias = np.ndarray[Any, Any]

#: numpy has no more axes than this in any of its versions.
DEEPEST = 32

_NUMBERS = frozenset({int, float})
#: Reading a list with `array` refuses texts, null and fractions among integers; numpy would
#: take them.
_CODES = {"f": "d", "i": "q", "u": "Q"}


def flatten(value: Any, name: str) -> tuple[list[Any], tuple[int, ...]]:
    """Take lists within lists apart, level by level.

    Args:
        value: lists of equal lengths within a level, or a value that is no list.
        name: of the tensor, for the error.

    Returns:
        The values in row-major order, and the shape.

    Raises:
        InvalidInput: the lists of one level differ in length, or there are too many levels.
    """
    if not isinstance(value, list):
        return [value], ()
    shape = [len(value)]
    level = value
    while level and isinstance(level[0], list):
        kinds = set(map(type, level))
        if len(kinds) > 1:
            other = next(at for at, each in enumerate(level) if type(each) is not list)
            raise InvalidInput(
                f"the tensor {name!r} has lists and other values side by side: "
                f"{value_said(level[other])} at {place_said(other, shape)}, a list at "
                f"{place_said(0, shape)}."
            )
        lengths = set(map(len, level))
        if len(lengths) > 1:
            other = next(at for at, each in enumerate(level) if len(each) != len(level[0]))
            raise InvalidInput(
                f"the tensor {name!r} is ragged: the list at {place_said(other, shape)} has "
                f"{len(level[other])} values, and that at {place_said(0, shape)} {len(level[0])}."
            )
        if len(shape) == DEEPEST:
            raise InvalidInput(f"the tensor {name!r} is nested deeper than {DEEPEST} levels.")
        shape.append(lengths.pop())
        level = list(chain.from_iterable(level))
    return level, tuple(shape)


def numbers(flat: list[Any], dtype: np.dtype[Any], name: str) -> Array:
    """Turn a list of numbers into an array of one axis.

    Args:
        flat: Python's numbers or booleans.
        dtype: wanted; of the kinds `b`, `i`, `u` and `f`.
        name: of the tensor, for the error.

    Raises:
        InvalidInput: a value is of another kind, or out of the range of an integer.
    """
    if dtype.kind == "b":
        if set(map(type, flat)) - {bool}:
            raise _wrong(flat, frozenset({bool}), dtype, name)
        return np.array(flat, dtype=np.bool_)
    code = _CODES.get(dtype.kind)
    if code is None:
        raise InvalidInput(
            f"the tensor {name!r} takes {dtype_said(dtype.name)}, which JSON has no form for."
        )
    try:
        wide = np.frombuffer(array(code, flat), dtype=np.dtype(code))
    except TypeError:
        raise _wrong(flat, _NUMBERS if code == "d" else frozenset({int}), dtype, name) from None
    except OverflowError:
        raise _out_of_range(dtype, name) from None
    if code != "d" and wide.dtype != dtype:
        limits = np.iinfo(dtype)
        if wide.size and not (limits.min <= wide.min() and wide.max() <= limits.max):
            raise _out_of_range(dtype, name)
    # A float that is too large becomes infinite, as in the frameworks; no need to warn.
    with np.errstate(over="ignore"):
        return wide.astype(dtype)


def dtype_named(name: str) -> np.dtype[Any] | None:
    """The dtype that a signature names; None for text, and for what numpy does not know."""
    try:
        return None if name in ("str", "bytes") else np.dtype(name)
    except TypeError:  # bfloat16 and the like, which numpy knows from an extension only
        return None


def guessed(flat: list[Any], name: str) -> Array:
    """As `numbers`, of bool, int64, uint64 or float64, whichever the values are.

    Raises:
        InvalidInput: they are no numbers, or too large for any of these.
    """
    kinds = set(map(type, flat))
    if kinds == {bool}:
        return np.array(flat, dtype=np.bool_)
    if float in kinds or not kinds:
        return numbers(flat, np.dtype(np.float64), name)
    if flat and kinds <= {int} and max(flat) > np.iinfo(np.int64).max:
        return numbers(flat, np.dtype(np.uint64), name)
    return numbers(flat, np.dtype(np.int64), name)


def _wrong(
    flat: list[Any], expected: frozenset[type], dtype: np.dtype[Any], name: str
) -> InvalidInput:
    wrong = next((value for value in flat if type(value) not in expected), None)
    return InvalidInput(
        f"the tensor {name!r} takes {dtype_said(dtype.name)}, not {value_said(wrong)}."
    )


def _out_of_range(dtype: np.dtype[Any], name: str) -> InvalidInput:
    return InvalidInput(f"the tensor {name!r} was given a number out of the range of {dtype}.")
