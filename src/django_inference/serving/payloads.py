"""From the tensors of a request to what a predictor takes."""

from __future__ import annotations

from typing import Any

import numpy as np

from django_inference.exceptions import InvalidInput
from django_inference.tensors import Signature, TensorSpec
from django_inference.wire.datatypes import (
    BYTES,
    DTYPES,
    Array,
    Buffer,
    datatype_named,
    from_bytes,
    texts,
)


def payload_of(
    inputs: dict[str, Array], signature: Signature | None, *, aligned: bool = True
) -> dict[str, Array]:
    """The named tensors, as a model takes them.

    Args:
        inputs: as they were sent; the elements of BYTES are `bytes` objects.
        signature: of the model, where some are BYTES: its `str` inputs are given texts, see
            `as_texts`.
        aligned: copy what does not begin where its type would have it. A backend that copies
            everything by itself has no need of it.
    """
    wants_text = (
        {spec.name for spec in signature.inputs if spec.dtype == "str"} if signature else ()
    )
    payload = {}
    for name, array in inputs.items():
        if name in wants_text and array.dtype.kind == "O":
            array = as_texts(array)
        elif signature is None and has_null(array):
            raise InvalidInput(f"the input {name!r} takes bytes, and was given null.")
        elif aligned and not array.flags.aligned:
            # Where a blob begins is the client's choice; not every framework takes any.
            array = array.copy()
        payload[name] = array
    return payload


def raw_payload(data: Buffer, signature: Signature | None) -> Any:
    """The payload of a body that is nothing but the bytes of one input.

    Raises:
        InvalidInput: the model has several inputs, or the bytes do not fit it.
    """
    if signature is None:
        return [bytes(data)]
    if len(signature.inputs) != 1:
        raise InvalidInput(
            "a raw body is for models with one input, and this one has "
            f"{', '.join(map(str, signature.inputs))}."
        )
    (spec,) = signature.inputs
    datatype = datatype_named(spec.dtype)
    if datatype == BYTES:
        shape = [1 if axis == -1 else axis for axis in spec.shape]
        array = texts([bytes(data)], 1, spec.name)
        if np.prod(shape) != 1:
            raise InvalidInput(f"the input {spec} takes more than the one text of a raw body.")
        return payload_of({spec.name: array.reshape(shape)}, signature)
    array = from_bytes(datatype, _filled_in(spec, datatype, len(data)), data, spec.name)
    return payload_of({spec.name: array}, signature)


def _filled_in(spec: TensorSpec, datatype: str, length: int) -> list[int]:
    unknown = spec.shape.count(-1)
    if unknown > 1 or datatype not in DTYPES:
        raise InvalidInput(f"the shape of a raw body for the input {spec} cannot be told.")
    known = 1
    for axis in spec.shape:
        known *= axis if axis != -1 else 1
    rows, rest = divmod(length, known * DTYPES[datatype].itemsize or 1)
    if rest:
        raise InvalidInput(f"a raw body of {length} bytes does not fit the input {spec}.")
    return [rows if axis == -1 else axis for axis in spec.shape]


def as_texts(array: Array) -> Array:
    """The texts that an array of `bytes` objects holds; the array itself where some are none.

    TensorFlow has one type for texts and bytes, and so its models' `str` inputs may be given
    pictures.
    """
    found = np.empty(array.size, dtype=object)
    try:
        for index, value in enumerate(array.ravel()):
            # Whether a text may be missing is for the model to say.
            found[index] = value.decode() if isinstance(value, bytes) else value
    except UnicodeDecodeError:
        return array
    return found.reshape(array.shape)


def has_null(array: Array) -> bool:
    """Whether an element of BYTES is missing."""
    return array.dtype.kind == "O" and any(value is None for value in array.ravel())
