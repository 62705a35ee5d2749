"""Texts and bytes in TensorFlow Serving's JSON, where bytes are `{"b64": "…"}`."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

from django_inference.exceptions import InvalidInput, PredictionFailed
from django_inference.wire.nesting import Array
from django_inference.words import value_said

_BINARY_SUFFIX = "_bytes"


def is_binary(value: Any) -> bool:
    """Whether it is `{"b64": …}` and not an object of names."""
    return isinstance(value, dict) and value.keys() == {"b64"}


def read_texts(flat: list[Any], name: str, dtype: str) -> Array:
    """Turn texts and `{"b64": …}` into an array of one axis, of Python's own objects.

    Objects, because numpy gives every text the room of the longest one.

    Args:
        flat: as decoded from JSON.
        name: of the tensor, for the error.
        dtype: `str` keeps texts as they are; `bytes` makes UTF-8 of them.

    Raises:
        InvalidInput: something else is among them, or what is no base64 or no Unicode.
    """
    texts = np.empty(len(flat), dtype=object)
    texts[:] = [read_text(value, name) for value in flat]
    if dtype == "bytes":
        texts[:] = [each.encode() if isinstance(each, str) else each for each in texts]
    return texts


def read_text(value: Any, name: str) -> str | bytes:
    """One text, or the bytes of `{"b64": …}`.

    Raises:
        InvalidInput: it is neither.
    """
    if isinstance(value, str):
        try:
            # Half of a surrogate pair is no text, and fails wherever it is sent to.
            value.encode()
        except UnicodeEncodeError:
            raise InvalidInput(f"the tensor {name!r} has a text that is not Unicode.") from None
        return value
    if is_binary(value) and isinstance(value["b64"], str):
        try:
            return _base64(value["b64"])
        except ValueError as error:
            raise InvalidInput(f"the tensor {name!r} has a b64 that is not base64: {error}") from (
                error
            )
    raise InvalidInput(
        f"the tensor {name!r} takes texts or {{'b64': '…'}}, not {value_said(value)}."
    )


def _base64(text: str) -> bytes:
    """As TensorFlow Serving reads it: without regard to white space, and to missing padding."""
    text = "".join(text.split())
    return base64.b64decode(text if "=" in text else text + "=" * (-len(text) % 4), validate=True)


def as_json(name: str, value: Array) -> Any:
    """An array as nested lists that JSON has words for, NaN and the infinities aside.

    Raises:
        PredictionFailed: there are none for its type.
    """
    kind = value.dtype.kind
    if kind in "biu" or (kind == "f" and value.dtype.itemsize <= 8):
        return value.tolist()
    if kind == "f" or (kind == "V" and np.can_cast(value.dtype, np.float32)):
        # long double, and bfloat16 as an extension of numpy has it
        with np.errstate(over="ignore"):
            return value.astype(np.float64).tolist()
    if kind in "OSUT":
        flat = np.empty(value.size, dtype=object)
        flat[:] = [_said(name, each) for each in value.ravel().tolist()]
        return flat.reshape(value.shape).tolist()
    raise PredictionFailed(f"the tensor {name!r} of {value.dtype} has no form in this protocol.")


def _said(name: str, value: Any) -> Any:
    if isinstance(value, str):
        value = value.encode("utf-8", "replace")
    elif not isinstance(value, bytes):
        raise PredictionFailed(
            f"the tensor {name!r} holds {type(value).__name__}, not texts or bytes."
        )
    if not name.endswith(_BINARY_SUFFIX):
        try:
            return value.decode()
        except UnicodeDecodeError:
            pass
    return {"b64": base64.b64encode(value).decode("ascii")}
