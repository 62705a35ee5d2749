"""Words for messages: what a misspelt one was meant to be, and what values are called."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from types import NoneType
from typing import Any


def nearest(word: object, known: Iterable[str]) -> str:
    """The known name that looks most like a word, whatever the case; empty if none does."""
    by_folded = {name.casefold(): name for name in known}
    matches = difflib.get_close_matches(str(word).casefold(), by_folded, n=1)
    return by_folded[matches[0]] if matches else ""


def suggestion(word: object, known: Iterable[str]) -> str:
    """` (did you mean 'x'?)`, to go on a sentence with, or nothing when no name is near."""
    meant = nearest(word, known)
    return f" (did you mean {meant!r}?)" if meant else ""


#: By the kind of a numpy dtype.
_KINDS = {
    **{"b": "booleans", "i": "whole numbers", "u": "whole numbers", "f": "decimal numbers"},
    **{"c": "complex numbers", "S": "bytes", "U": "texts", "T": "texts", "M": "dates"},
    **{"m": "durations", "V": "records", "O": "objects"},
}
_TYPES: dict[type, str] = {
    **{NoneType: "null", bool: "booleans", int: "whole numbers", float: "decimal numbers"},
    **{complex: "complex numbers", str: "texts", bytes: "bytes", dict: "objects"},
    **{list: "lists", tuple: "lists"},
}
_NONE = object()
#: Of whole numbers, numpy makes objects where 64 bits are not enough.
_TOO_LONG = "numbers of more than 64 bits"


def value_said(value: object) -> str:
    """What values like one are called in a message to a client, as in `whole numbers`."""
    return _TYPES.get(type(value), f"values of the type {type(value).__name__}")


def kind_said(kind: str) -> str:
    """What the values of an array are called likewise, by the kind of its dtype."""
    return _KINDS.get(kind, "other values")


def array_said(array: Any) -> str:
    """What the values of an array are called likewise.

    Args:
        array: of numpy. Of objects, the first one that is no number says it.
    """
    kind: str = array.dtype.kind
    if kind != "O" or not array.size:
        return kind_said(kind)
    others = (each for each in array.flat if not isinstance(each, int | float))
    return value_said(other) if (other := next(others, _NONE)) is not _NONE else _TOO_LONG


def dtype_said(dtype: str) -> str:
    """What an input takes that has a dtype, as in `numbers (float32)`.

    Args:
        dtype: as a signature calls it.
    """
    if dtype in ("str", "bytes", "bool"):
        return {"str": "texts", "bytes": "bytes", "bool": "booleans"}[dtype]
    if dtype.startswith(("int", "uint")):
        return f"whole numbers ({dtype})"
    return f"complex numbers ({dtype})" if dtype.startswith("complex") else f"numbers ({dtype})"


def place_said(index: int, shape: Sequence[int]) -> str:
    """Where a value lies in nested lists, as in `[0][2]`.

    Args:
        index: of the value, in row-major order.
        shape: of the lists that it lies in.
    """
    said = ""
    for length in reversed(shape):
        index, at = divmod(index, length)
        said = f"[{at}]{said}"
    return said
