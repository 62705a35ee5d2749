"""JSON as TensorFlow Serving has it: with NaN and Infinity as bare words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from django_inference.exceptions import InvalidInput

#: Lists and objects that are made of one document: an empty one takes thirty times its bytes.
MOST_LISTS = 1 << 22

#: Words that JSON has not, and this protocol has.
_NOT_JSON = (b"NaN", b"Infinity")


def load(body: bytes | memoryview, kind: Any) -> Any:
    """Read a document.

    Args:
        body: in UTF-8.
        kind: a structure, dict, or Any.

    Raises:
        InvalidInput: it is no JSON, nested too deeply, has too many lists, or does not fit the
            structure.
    """
    if len(body) > MOST_LISTS:
        raw = bytes(body)
        if raw.count(b"[") + raw.count(b"{") > MOST_LISTS:
            raise InvalidInput(
                f"the body has more than {MOST_LISTS} lists and objects, and is not all numbers in "
                "lists of one length."
            )
    try:
        try:
            return msgspec.json.decode(body, type=kind)
        except msgspec.ValidationError:
            raise
        except msgspec.DecodeError:
            # The quick reader is as strict as JSON is; the slow one knows the bare words.
            raw = bytes(body)
            if not any(word in raw for word in _NOT_JSON):
                raise
            return msgspec.convert(json.loads(raw.decode()), type=kind)
    except RecursionError:
        raise InvalidInput("the body is nested too deeply.") from None
    except (msgspec.MsgspecError, ValueError) as error:
        raise InvalidInput(f"the body cannot be read: {error}") from error


def dump(document: Mapping[str, Any], *, finite: bool = True) -> bytes:
    """Write a document.

    Args:
        document: of plain values.
        finite: there are neither NaN nor infinities in it, which the quick writer makes null.
    """
    if finite:
        return msgspec.json.encode(document)
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
