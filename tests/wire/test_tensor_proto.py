"""TensorProto and numpy arrays, without TensorFlow; with it in tests/grpc."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

pytest.importorskip("google.protobuf")

from django_inference.exceptions import InvalidInput, PredictionFailed
from django_inference.wire.protos import tensorflow_pb2 as tf
from django_inference.wire.tensor_proto import (
    MOST_REPEATED,
    dtype_of,
    from_proto,
    to_proto,
    type_named,
)
from django_inference.wire.tensorflow_types import DATA_TYPES

NUMBERS = [name for name in DATA_TYPES if name not in ("str", "bytes", "bfloat16")]


def proto(dtype: int, shape: tuple[int, ...], **fields: Any) -> tf.TensorProto:
    made = tf.TensorProto(dtype=dtype, **fields)  # type: ignore[arg-type]
    for length in shape:
        made.tensor_shape.dim.add(size=length)
    return made


@given(data=st.data(), dtype=st.sampled_from(NUMBERS), typed=st.booleans())
def test_both_forms_of_every_number(data: Any, dtype: str, typed: bool) -> None:
    shape = data.draw(arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
    value = data.draw(arrays.arrays(np.dtype(dtype), shape))
    sent = to_proto(value, "x", typed=typed).SerializeToString()
    received = tf.TensorProto.FromString(sent)
    assert received.dtype == type_named(dtype)
    assert bool(received.tensor_content) == (not typed and value.size > 0)
    np.testing.assert_array_equal(from_proto(received, "x"), value, strict=True)


def test_texts_in_both_forms() -> None:
    value = np.array([["é", b"\xff"], [b"", "b" * 200]], dtype=object)
    expected = [["é".encode(), b"\xff"], [b"", b"b" * 200]]
    sent = to_proto(value, "x")
    assert from_proto(sent, "x").tolist() == expected
    content = bytes([2, 1, 0, 200 & 0x7F | 0x80, 1]) + "é".encode() + b"\xff" + b"b" * 200
    sent = proto(tf.DT_STRING, (2, 2), tensor_content=content)
    assert from_proto(sent, "x").tolist() == expected


def test_the_last_element_stands_for_those_that_are_missing() -> None:
    assert from_proto(proto(tf.DT_FLOAT, (4,), float_val=[1, 2]), "x").tolist() == [1, 2, 2, 2]
    assert from_proto(proto(tf.DT_INT8, (3,), int_val=[-1]), "x").tolist() == [-1] * 3
    assert from_proto(proto(tf.DT_FLOAT, (2,)), "x").tolist() == [0, 0]
    assert from_proto(proto(tf.DT_STRING, (2,), string_val=[b"a"]), "x").tolist() == [b"a"] * 2
    assert (
        from_proto(proto(tf.DT_COMPLEX64, (2,), scomplex_val=[1, 2]), "x").tolist() == [1 + 2j] * 2
    )


def test_sixteen_bits_of_floats() -> None:
    bits = np.array([1.5, -2], dtype=np.float16).view(np.uint16).tolist()
    assert from_proto(proto(tf.DT_HALF, (2,), half_val=bits), "x").tolist() == [1.5, -2]
    value = from_proto(proto(tf.DT_BFLOAT16, (2,), half_val=[0x3FC0, 0xC000]), "x")
    assert value.dtype == np.float32
    assert value.tolist() == [1.5, -2]
    value = from_proto(proto(tf.DT_BFLOAT16, (1,), tensor_content=b"\xc0\x3f"), "x")
    assert value.tolist() == [1.5]


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (proto(tf.DT_FLOAT, (2,), float_val=[1, 2, 3]), "3 elements"),
        (proto(tf.DT_FLOAT, (2,), tensor_content=b"123"), "3 bytes of content"),
        (proto(tf.DT_FLOAT, (-1,), float_val=[1]), "0 or longer"),
        (proto(tf.DT_FLOAT, (1 << 40, 1 << 40), float_val=[1]), "too large"),
        (proto(tf.DT_FLOAT, (1,) * 40, float_val=[1]), "40 axes"),
        (proto(tf.DT_FLOAT, (0, 1 << 60)), "too large"),
        (proto(tf.DT_FLOAT, (MOST_REPEATED,), float_val=[1]), "is repeated"),
        (proto(tf.DT_STRING, (1 << 40,), string_val=[b""]), "is repeated"),
        (proto(tf.DT_STRING, (1 << 22,), string_val=[b""]), "more than"),
        (proto(tf.DT_STRING, (1 << 40,), tensor_content=b"\0"), "more than|other content"),
        (proto(tf.DT_STRING, (1,), tensor_content=b"\xff" * 12), "other content"),
        (proto(tf.DT_STRING, (2,), tensor_content=b"\x01\x01a"), "other content"),
        (proto(tf.DT_UINT8, (1,), int_val=[256]), "no room"),
        (proto(tf.DT_HALF, (1,), half_val=[-1]), "no room"),
        (proto(tf.DT_BOOL, (1,), tensor_content=b"\x02"), "other than 0 and 1"),
        (proto(tf.DT_COMPLEX64, (1,), scomplex_val=[1]), "half of a complex"),
        (proto(tf.DT_RESOURCE, (1,)), "DT_RESOURCE, not served"),
        (proto(tf.DT_QINT8, (1,), int_val=[1]), "DT_QINT8, not served"),
        (proto(0, (1,)), "DT_INVALID, not served"),
        (proto(99, (1,)), "99, not served"),
    ],
    ids=lambda value: "",
)
def test_what_does_not_fit_takes_no_memory(sent: tf.TensorProto, said: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(InvalidInput, match=said):
            from_proto(sent, "x")
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_a_shape_of_which_nothing_is_known() -> None:
    sent = tf.TensorProto(dtype=tf.DT_FLOAT, float_val=[1])
    sent.tensor_shape.unknown_rank = True
    with pytest.raises(InvalidInput, match="without its shape"):
        from_proto(sent, "x")


def test_what_tensorflow_has_no_type_for() -> None:
    with pytest.raises(PredictionFailed, match="datetime64"):
        to_proto(np.zeros(1, dtype="datetime64[s]"), "x")


def test_names_of_types_go_both_ways() -> None:
    for dtype in DATA_TYPES:
        assert dtype_of(type_named(dtype)) == ("str" if dtype == "bytes" else dtype)
    assert type_named("datetime64") == tf.DT_INVALID
    assert dtype_of(tf.DT_RESOURCE) == ""


@given(st.binary(max_size=80))
def test_no_message_is_more_than_invalid(raw: bytes) -> None:
    from google.protobuf.message import DecodeError

    try:
        received = tf.TensorProto.FromString(raw)
    except DecodeError:
        return
    try:
        array = from_proto(received, "x")
    except InvalidInput:
        return
    assert array.shape == tuple(axis.size for axis in received.tensor_shape.dim)
