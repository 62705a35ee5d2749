"""Models that take items, spoken to in tensors.

The protocol knows named tensors only. A model that takes items, such as a function of texts
or a detector of pictures, is sent them as the elements of one tensor, whose name says what
they are, and answers with the tensor `results`: a JSON document for each item.

| input | datatype | an item is |
|---|---|---|
| `items` | BYTES | the JSON document that each element holds; `{"b64": …}` in it is bytes |
| `items` | any other | what lies at each place of axis 0 |
| `text` | BYTES | each element, as a text |
| `bytes` | BYTES | each element, as bytes: a picture file, for one |
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

import msgspec
import numpy as np

from django_inference.exceptions import InvalidInput
from django_inference.plain import to_plain
from django_inference.serving.payloads import has_null
from django_inference.tensors import Signature
from django_inference.wire.datatypes import Array, elements

ITEMS, TEXT, RAW, RESULTS = "items", "text", "bytes", "results"
_NAMES = frozenset({ITEMS, TEXT, RAW})

#: Bytes of the JSON documents of one request: as objects they are many times longer.
MOST_OF_DOCUMENTS = 1 << 23
#: Items of one request that are rows of numbers: each becomes an object.
MOST_ROWS = 1 << 20


def may_be_items(inputs: dict[str, Array]) -> bool:
    """Whether the inputs are items, unless the model has a tensor of that name."""
    return len(inputs) == 1 and not _NAMES.isdisjoint(inputs)


def items_of(inputs: dict[str, Array], signature: Signature | None) -> list[Any] | None:
    """The items that were sent; None where the inputs are tensors.

    Raises:
        InvalidInput: an element does not hold an item.
    """
    if not may_be_items(inputs):
        return None
    ((name, array),) = inputs.items()
    if signature is not None and any(spec.name == name for spec in signature.inputs):
        return None
    if array.dtype.kind != "O":
        if name != ITEMS:
            raise InvalidInput(f"the input {name!r} takes BYTES.")
        if array.ndim and len(array) > MOST_ROWS:
            raise InvalidInput(f"the input {name!r} has {len(array)} rows, more than {MOST_ROWS}.")
        return list(array) if array.ndim else [array[()]]
    if has_null(array):
        raise InvalidInput(f"the input {name!r} takes an item in each element, and was given null.")
    found = list(elements(array))
    if name == ITEMS and (length := sum(map(len, found))) > MOST_OF_DOCUMENTS:
        raise InvalidInput(
            f"the documents of the input {name!r} have {length} bytes, more than "
            f"{MOST_OF_DOCUMENTS}. Long texts are sent as {TEXT!r}, and bytes as {RAW!r}."
        )
    if name == RAW:
        return found
    read = _document if name == ITEMS else decoded
    return [read(value, name, index) for index, value in enumerate(found)]


def results_as_tensor(results: list[Any]) -> Array:
    """One JSON document for each result."""
    array = np.empty(len(results), dtype=object)
    for index, result in enumerate(results):
        array[index] = msgspec.json.encode(to_plain(result))
    return array


def decoded(value: bytes, name: str, index: int) -> str:
    """The text that an element of BYTES holds.

    Raises:
        InvalidInput: it is not UTF-8.
    """
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise InvalidInput(f"the element {index} of the input {name!r} is not UTF-8.") from None


def _document(value: bytes, name: str, index: int) -> Any:
    try:
        document = msgspec.json.decode(value)
        return _with_bytes(document) if b'"b64"' in value else document
    except RecursionError:
        why = "it is nested too deeply"
    except (msgspec.MsgspecError, UnicodeDecodeError, binascii.Error, ValueError) as error:
        why = str(error)
    raise InvalidInput(
        f"the element {index} of the input {name!r} is not a JSON document: {why}. "
        f"Texts are sent as {TEXT!r}, and bytes as {RAW!r}."
    )


def _with_bytes(value: Any) -> Any:
    if isinstance(value, list):
        return [_with_bytes(one) for one in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1 and isinstance(value.get("b64"), str):
        return base64.b64decode(value["b64"], validate=True)
    return {key: _with_bytes(one) for key, one in value.items()}
