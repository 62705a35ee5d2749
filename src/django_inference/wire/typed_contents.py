"""The elements of a tensor in the typed fields of a message.

Source: `InferTensorContents` of the Open Inference Protocol. Small integers share the fields of
larger ones; FP16 and BF16 have no field at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from django_inference.exceptions import InvalidInput
from django_inference.wire.datatypes import (
    BYTES,
    DTYPES,
    Array,
    check_datatype,
    datatype_of,
    element_count,
    elements,
    texts,
)
from django_inference.wire.protos.open_inference_pb2 import InferTensorContents

FIELDS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    BYTES: "bytes_contents",
}
_NUMBERS = {field.name: field.number for field in InferTensorContents.DESCRIPTOR.fields}
_WIDE: dict[str, np.dtype[Any]] = {
    "int_contents": np.dtype(np.int32),
    "uint_contents": np.dtype(np.uint32),
    "int64_contents": np.dtype(np.int64),
    "uint64_contents": np.dtype(np.uint64),
}
#: What is packed as it lies in memory is not taken apart into Python's numbers.
_AS_IN_MEMORY = ("bool_contents", "fp32_contents", "fp64_contents")


def from_contents(
    contents: InferTensorContents, datatype: str, shape: Sequence[int], name: str
) -> Array:
    """Read a tensor.

    Args:
        contents: as received.
        datatype: of the protocol.
        shape: as claimed; what is there has to fit it.
        name: of the tensor, for errors.

    Raises:
        InvalidInput: datatype, shape and elements do not fit each other.
    """
    check_datatype(datatype, name)
    wanted = FIELDS.get(datatype)
    if wanted is None:
        raise InvalidInput(f"the tensor {name!r} of {datatype} is sent in raw contents only.")
    for field, _ in contents.ListFields():
        if field.name != wanted:
            raise InvalidInput(
                f"the tensor {name!r} of {datatype} has elements in {field.name}, and not in "
                f"{wanted}."
            )
    values = getattr(contents, wanted)
    count = element_count(shape, name)
    if len(values) != count:
        raise InvalidInput(
            f"the tensor {name!r} has {len(values)} elements, and the shape {list(shape)} "
            f"has {count}."
        )
    if datatype == BYTES:
        return texts(values, count, name).reshape(shape)
    return _numbers(values, wanted, datatype, name).reshape(shape)


def to_contents(array: Array) -> InferTensorContents:
    """Write a tensor.

    Raises:
        ValueError: the protocol has no datatype for it, or no field.
    """
    datatype = datatype_of(array.dtype)
    field = FIELDS.get(datatype)
    if field is None:
        raise ValueError(f"{datatype} has no typed contents")
    contents = InferTensorContents()
    if datatype == BYTES:
        contents.bytes_contents.extend(elements(array))
    elif field in _AS_IN_MEMORY:
        packed = np.ascontiguousarray(array, dtype=DTYPES[datatype]).tobytes()
        if packed:
            # On the wire, packed numbers and one text are alike but for the number of the field.
            as_text = InferTensorContents(bytes_contents=[packed]).SerializeToString()
            contents.MergeFromString(bytes([_NUMBERS[field] << 3 | 2]) + as_text[1:])
    else:
        getattr(contents, field).extend(array.ravel().tolist())
    return contents


def _numbers(values: Any, field: str, datatype: str, name: str) -> Array:
    dtype = DTYPES[datatype]
    if field in _AS_IN_MEMORY:
        alone = InferTensorContents()
        getattr(alone, field).MergeFrom(values)
        raw = alone.SerializeToString()
        size = len(values) * dtype.itemsize
        packed: Array = np.frombuffer(raw, dtype=dtype, offset=len(raw) - size, count=len(values))
        return packed.astype(dtype.newbyteorder("="), copy=False)
    wide: Array = np.fromiter(values, dtype=_WIDE[field], count=len(values))
    limits = np.iinfo(dtype)
    if wide.size and not (limits.min <= wide.min() and wide.max() <= limits.max):
        raise InvalidInput(
            f"the tensor {name!r} of {datatype} has a number beyond {limits.min} to {limits.max}."
        )
    return wide.astype(dtype.newbyteorder("="), copy=False)
