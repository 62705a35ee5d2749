"""Values as bytes: msgpack, with arrays as extensions of their dtype, shape and content.

The model host's `codec` writes the same values with their arrays beside them, in the arena;
what the two have in common is here. Nothing is ever unpickled.
"""

from __future__ import annotations

import hashlib
import re
import struct
from functools import lru_cache
from typing import Any

import msgspec
import numpy as np
from msgspec.msgpack import Ext

from django_inference.values import OBJECTS, TENSOR, Array, array_of_objects, is_plain, simplified

#: As numpy writes them. It reads much else, some of it as Python.
_DTYPE = re.compile(r"[<>|][biufcSUmM][1-9][0-9]{0,8}(\[[0-9A-Za-z]{1,20}\])?")
_HEAD = struct.Struct(">I")
#: An empty array may claim any length of its other axes, which lists of it would have.
_LONGEST_AXIS_OF_NOTHING = 1 << 20


def pack(value: Any) -> bytes:
    """Encode what a model takes or gives.

    Raises:
        TypeError: a value is of a type that cannot travel.
        OverflowError: an integer needs more than 64 bits.
    """
    return _encoder.encode(value)


def unpack(packed: bytes) -> Any:
    """Decode what `pack` has written; the arrays are the caller's own.

    Raises:
        ValueError: it is something else.
    """
    try:
        return _decoder.decode(packed)
    except (msgspec.DecodeError, TypeError, struct.error, RecursionError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error


def digest_of(payload: Any) -> str:
    """What two equal inputs have in common: 32 hexadecimal digits; empty where none is found.

    Equal are inputs that a model cannot tell apart once they have travelled. Empty for what
    cannot travel.
    """
    try:
        encoded = _digester.encode(payload)
    except Exception:
        # An array of another library may raise anything.
        return ""
    return hashlib.blake2b(encoded, digest_size=16).hexdigest()


@lru_cache(maxsize=256)
def dtype_named(name: str) -> np.dtype[Any]:
    """The dtype that `dtype.str` says.

    Raises:
        ValueError: it is none that may be read.
    """
    # An array of objects is an array of addresses: never read one from elsewhere.
    if not _DTYPE.fullmatch(name):
        raise ValueError(f"a tensor of dtype {name}")
    return np.dtype(name)


def length_of(shape: tuple[int, ...]) -> int:
    """How many elements an array of the shape has.

    Raises:
        ValueError: there can be no such array.
    """
    length = 1
    for axis in shape:
        if axis < 0:
            raise ValueError(f"a tensor of the shape {list(shape)}")
        length *= axis
    return length


def _pack_other(value: Any) -> Any:
    value = simplified(value)
    if not isinstance(value, np.ndarray):
        return value
    if not is_plain(value.dtype):
        return Ext(OBJECTS, _encoder.encode((value.shape, value.ravel().tolist())))
    head = _heads.encode((value.dtype.str, value.shape))
    return Ext(TENSOR, b"".join((_HEAD.pack(len(head)), head, value.tobytes())))


def _unpack_extension(code: int, data: memoryview) -> Any:
    if code == OBJECTS:
        shape, flat = _objects_decoder.decode(data)
        return array_of_objects(flat).reshape(shape)
    if code != TENSOR:
        raise ValueError(f"an unknown extension {code}")
    (length,) = _HEAD.unpack_from(data)
    start = _HEAD.size + length
    name, shape = _heads_decoder.decode(data[_HEAD.size : start])
    dtype = dtype_named(name)
    if length_of(shape) * dtype.itemsize != len(data) - start:
        raise ValueError(f"{len(data) - start} bytes for a tensor {name} of {list(shape)}")
    if 0 in shape and max(shape) > _LONGEST_AXIS_OF_NOTHING:
        raise ValueError(f"an empty tensor of the shape {list(shape)}")
    tensor: Array = np.ndarray(shape, dtype, data, start)
    return tensor.copy()


def _digest_other(value: Any) -> Any:
    # Scalars of numpy keep their dtypes here.
    array = simplified(np.asarray(value) if isinstance(value, np.generic) else value)
    if not isinstance(array, np.ndarray):
        return array
    if not is_plain(array.dtype):
        return Ext(OBJECTS, _digester.encode((array.shape, array.ravel().tolist())))
    content = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    # Each array by a digest of its own, so that a long one is not copied.
    digest = hashlib.blake2b(content.data, digest_size=16).digest()
    return Ext(TENSOR, _heads.encode((array.dtype.str, array.shape)) + digest)


_heads = msgspec.msgpack.Encoder()
_heads_decoder = msgspec.msgpack.Decoder(tuple[str, tuple[int, ...]])
_encoder = msgspec.msgpack.Encoder(enc_hook=_pack_other, decimal_format="number")
_decoder = msgspec.msgpack.Decoder(ext_hook=_unpack_extension)
_objects_decoder = msgspec.msgpack.Decoder(
    tuple[tuple[int, ...], list[Any]], ext_hook=_unpack_extension
)
_digester = msgspec.msgpack.Encoder(
    enc_hook=_digest_other, order="deterministic", decimal_format="number"
)
