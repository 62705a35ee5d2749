"""TensorFlow's TensorProto and numpy arrays.

Facts: tensorflow/core/framework/tensor.proto. The elements lie in `tensor_content` as in memory,
little-endian, or in the field of their type, where the last one stands for all that are missing.
No memory is taken because of what a message claims, but for that last element's sake, and then
no more than `MOST_REPEATED` bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from django_inference.exceptions import InvalidInput, PredictionFailed
from django_inference.wire.datatypes import MOST_TEXTS, Array, element_count, elements, texts
from django_inference.wire.protos import tensorflow_pb2 as tf
from django_inference.wire.tensorflow_types import DATA_TYPES

#: Bytes that a tensor may have of which only a part was sent.
MOST_REPEATED = 64 << 20

#: Types whose elements lie in a packed field as they lie in memory.
_AS_IN_MEMORY = frozenset({"float_val", "double_val", "scomplex_val", "dcomplex_val", "bool_val"})


class _Kind(NamedTuple):
    field: str
    dtype: np.dtype[Any]
    #: What numpy knows it as, where that differs.
    stored: np.dtype[Any]


def _kind(field: str, dtype: str, stored: str = "") -> _Kind:
    return _Kind(field, np.dtype(dtype), np.dtype(stored or dtype))


_STRING = tf.DT_STRING
_KINDS: dict[tf.DataType, _Kind] = {
    tf.DT_FLOAT: _kind("float_val", "<f4"),
    tf.DT_DOUBLE: _kind("double_val", "<f8"),
    tf.DT_INT8: _kind("int_val", "i1"),
    tf.DT_INT16: _kind("int_val", "<i2"),
    tf.DT_INT32: _kind("int_val", "<i4"),
    tf.DT_INT64: _kind("int64_val", "<i8"),
    tf.DT_UINT8: _kind("int_val", "u1"),
    tf.DT_UINT16: _kind("int_val", "<u2"),
    tf.DT_UINT32: _kind("uint32_val", "<u4"),
    tf.DT_UINT64: _kind("uint64_val", "<u8"),
    tf.DT_BOOL: _kind("bool_val", "?"),
    tf.DT_COMPLEX64: _kind("scomplex_val", "<c8"),
    tf.DT_COMPLEX128: _kind("dcomplex_val", "<c16"),
    tf.DT_HALF: _kind("half_val", "<f2", "<u2"),
    # numpy has no such type; it is read as float32, which holds every value of it.
    tf.DT_BFLOAT16: _kind("half_val", "<f4", "<u2"),
}
_TYPES = {kind.dtype: number for number, kind in _KINDS.items() if number != tf.DT_BFLOAT16}


def type_named(dtype: str) -> tf.DataType:
    """The DataType of what a signature calls `float32`, `str` and so on; DT_INVALID for others."""
    number: tf.DataType = getattr(tf, DATA_TYPES.get(dtype, "DT_INVALID"))
    return number


def dtype_of(number: tf.DataType) -> str:
    """The name that a signature gives a DataType; empty for one that is not served."""
    name = _said(number)
    return next((dtype for dtype, known in DATA_TYPES.items() if known == name), "")


def from_proto(proto: tf.TensorProto, name: str) -> Array:
    """Read a tensor. Numbers in `tensor_content` are not copied.

    Args:
        proto: as received.
        name: of the tensor, for errors.

    Returns:
        An array; of bytes objects for DT_STRING.

    Raises:
        InvalidInput: type, shape and elements do not fit each other.
    """
    if proto.tensor_shape.unknown_rank:
        raise InvalidInput(f"the tensor {name!r} was sent without its shape.")
    shape = tuple(axis.size for axis in proto.tensor_shape.dim)
    count = element_count(shape, name)
    if proto.dtype == _STRING:
        return _read_strings(proto, count, name).reshape(shape)
    kind = _KINDS.get(proto.dtype)
    if kind is None:
        raise InvalidInput(f"the tensor {name!r} is of the type {_said(proto.dtype)}, not served.")
    content = proto.tensor_content  # each look at it is a copy
    if content:
        size = count * kind.stored.itemsize
        if len(content) != size:
            raise InvalidInput(
                f"the tensor {name!r} has {len(content)} bytes of content, and "
                f"{_said(proto.dtype)} of the shape {list(shape)} has {size}."
            )
        values = np.frombuffer(content, dtype=kind.stored)
        if kind.dtype.kind == "b" and size and values.view(np.uint8).max() > 1:
            raise InvalidInput(f"the tensor {name!r} of DT_BOOL has bytes other than 0 and 1.")
    else:
        values = _repeated(_read_field(proto, kind, name), count, name)
    return _unpacked(values, proto.dtype, kind).reshape(shape)


def to_proto(array: Array, name: str, *, typed: bool = False) -> tf.TensorProto:
    """Write a tensor.

    Args:
        array: of numbers, texts or bytes.
        name: of the tensor, for errors.
        typed: put the elements into the field of their type, as TensorFlow Serving answers,
            for clients that read `float_val`; else they go as `tensor_content`.

    Raises:
        PredictionFailed: TensorFlow has no such type.
    """
    if array.dtype.kind in "OSUT":
        proto = tf.TensorProto(dtype=_STRING, string_val=elements(array))
    elif (number := _TYPES.get(array.dtype.newbyteorder("<"))) is not None:
        content = np.ascontiguousarray(array, dtype=_KINDS[number].dtype)
        if typed:
            proto = _typed(content, _KINDS[number])
        else:
            proto = tf.TensorProto(tensor_content=content.tobytes())
        proto.dtype = number
    else:
        raise PredictionFailed(f"the tensor {name!r} of {array.dtype} is of no type of TensorFlow.")
    for length in array.shape:
        proto.tensor_shape.dim.add(size=length)
    # No axes at all is a shape, too: that of one number alone.
    proto.tensor_shape.SetInParent()
    return proto


def _read_field(proto: tf.TensorProto, kind: _Kind, name: str) -> Array:
    field = getattr(proto, kind.field)
    if kind.field in _AS_IN_MEMORY:
        # Written by itself, it is a tag, a length and the elements as they lie in memory.
        alone = tf.TensorProto()
        getattr(alone, kind.field).MergeFrom(field)
        raw = alone.SerializeToString()
        parts = 2 if kind.dtype.kind == "c" else 1
        size = len(field) * (kind.dtype.itemsize // parts)
        if len(field) % parts:
            raise InvalidInput(f"the tensor {name!r} has half of a complex number.")
        return np.frombuffer(raw, dtype=kind.dtype, offset=len(raw) - size) if size else _none(kind)
    wide = np.dtype(np.int32) if kind.field in ("int_val", "half_val") else kind.stored
    values = np.fromiter(field, dtype=wide, count=len(field))
    if wide != kind.stored:
        limits = np.iinfo(kind.stored)
        if values.size and not (limits.min <= values.min() and values.max() <= limits.max):
            raise InvalidInput(
                f"the tensor {name!r} has a number in {kind.field} that {_said(proto.dtype)} "
                "has no room for."
            )
    return values.astype(kind.stored, copy=False)


def _none(kind: _Kind) -> Array:
    return np.empty(0, dtype=kind.stored)


def _repeated(values: Array, count: int, name: str) -> Array:
    if len(values) == count:
        return values
    _check_missing(len(values), count, values.dtype.itemsize, name)
    last = values[-1:] if len(values) else np.zeros(1, dtype=values.dtype)
    return np.concatenate([values, np.repeat(last, count - len(values))])


def _check_missing(found: int, count: int, size: int, name: str) -> None:
    if found > count:
        raise InvalidInput(f"the tensor {name!r} has {found} elements, and its shape has {count}.")
    if count * size > MOST_REPEATED:
        raise InvalidInput(
            f"the tensor {name!r} has {found} of {count} elements, and the last one is repeated "
            f"in tensors of no more than {MOST_REPEATED} bytes."
        )


def _unpacked(values: Array, number: tf.DataType, kind: _Kind) -> Array:
    if number == tf.DT_BFLOAT16:
        return (values.astype(np.uint32) << np.uint32(16)).view(np.float32)
    if values.dtype != kind.dtype:
        values = values.view(kind.dtype)
    return values.astype(kind.dtype.newbyteorder("="), copy=False)


def _typed(content: Array, kind: _Kind) -> tf.TensorProto:
    if kind.field in _AS_IN_MEMORY:
        raw = content.tobytes()
        number = tf.TensorProto.DESCRIPTOR.fields_by_name[kind.field].number
        head = bytes([number << 3 | 2]) + _varint(len(raw))
        return tf.TensorProto.FromString(head + raw) if raw else tf.TensorProto()
    proto = tf.TensorProto()
    getattr(proto, kind.field).extend(content.reshape(-1).view(kind.stored).tolist())
    return proto


def _read_strings(proto: tf.TensorProto, count: int, name: str) -> Array:
    content = proto.tensor_content
    if content:
        return texts(_split(content, count, name), count, name)
    found = len(proto.string_val)
    if found == count:
        return texts(proto.string_val, count, name)
    _check_missing(found, count, 1, name)
    array = texts((), min(count, MOST_TEXTS + 1), name)
    array[:] = proto.string_val[-1] if found else b""
    array[:found] = list(proto.string_val)
    return array


def _split(content: bytes, count: int, name: str) -> Iterator[bytes]:
    """The texts of `tensor_content`: first the lengths of all of them, as varints."""
    wrong = InvalidInput(f"the tensor {name!r} of DT_STRING has other content than its shape says.")
    lengths, at = [], 0
    for _ in range(min(count, len(content) + 1)):
        length = shift = 0
        while True:
            if at == len(content) or shift > 63:
                raise wrong
            byte = content[at]
            length |= (byte & 0x7F) << shift
            at, shift = at + 1, shift + 7
            if byte < 0x80:
                break
        lengths.append(length)
    if len(lengths) != count or at + sum(lengths) != len(content):
        raise wrong
    for length in lengths:
        yield content[at : at + length]
        at += length


def _varint(value: int) -> bytes:
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def _said(number: tf.DataType) -> str:
    try:
        return tf.DataType.Name(number)
    except ValueError:
        return str(number)
