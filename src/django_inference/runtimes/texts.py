"""Texts on their way into a framework."""

from __future__ import annotations

from typing import Any

from django_inference.exceptions import InvalidInput
from django_inference.words import array_said, value_said


def checked_texts(name: str, array: Any, *, decode: bool) -> Any:
    """Return an array that holds nothing but texts.

    Frameworks differ in what they make of anything else: ONNX Runtime takes a number, None
    and bytes for what Python prints of them.

    Args:
        name: of the input, for the message.
        array: of any type.
        decode: turn bytes, which have to be UTF-8, into texts. Otherwise they are kept.

    Raises:
        InvalidInput: something else is among them, or text that is not Unicode.
    """
    import numpy as np

    if array.dtype.kind not in "OSUT":
        raise InvalidInput(f"the input {name!r} takes texts, not {array_said(array)}.")
    texts = np.empty(array.size, dtype=object)
    texts[:] = [_checked(name, value, decode) for value in array.ravel().tolist()]
    return texts.reshape(array.shape)


def _checked(name: str, value: Any, decode: bool) -> str | bytes:
    try:
        if isinstance(value, bytes):
            return value.decode() if decode else bytes(value)
        if isinstance(value, str):
            value.encode()
            return str(value)
    except UnicodeDecodeError:
        raise InvalidInput(
            f"the input {name!r} takes texts, and was given bytes that are not UTF-8."
        ) from None
    except UnicodeEncodeError:
        raise InvalidInput(
            f"the input {name!r} was given a text that is not Unicode: half a surrogate pair."
        ) from None
    raise InvalidInput(f"the input {name!r} takes texts, not {value_said(value)}.")
