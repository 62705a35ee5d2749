"""Values as bytes, and what equal values have in common."""

from __future__ import annotations

import contextlib
import datetime
import pickle
from typing import Any

import msgspec
import numpy as np
import pytest
from django.utils.safestring import mark_safe
from hypothesis import given
from hypothesis import strategies as st

from django_inference.packing import digest_of, pack, unpack
from django_inference.values import OBJECTS, TENSOR
from tests.host.test_codec import payloads, same


def extension(code: int, data: bytes) -> bytes:
    return msgspec.msgpack.encode(msgspec.msgpack.Ext(code, data))


def tensor(dtype: str, shape: list[int], content: bytes) -> bytes:
    head = msgspec.msgpack.encode((dtype, shape))
    return extension(TENSOR, len(head).to_bytes(4, "big") + head + content)


@given(payload=payloads)
def test_any_payload_is_the_same_when_it_comes_back(payload: Any) -> None:
    assert same(payload, unpack(pack(payload)))


@given(payload=payloads)
def test_a_digest_is_of_what_comes_back(payload: Any) -> None:
    digest = digest_of(payload)
    assert digest == digest_of(unpack(pack(payload)))
    assert len(digest) == 32


def test_arrays_that_come_back_are_the_callers_own() -> None:
    packed = pack({"x": np.zeros(3), "scalar": np.array(7)})
    first, second = unpack(packed), unpack(packed)
    first["x"] += 1
    assert second["x"].tolist() == [0, 0, 0]
    assert int(second["scalar"]) == 7


def test_what_only_looks_like_a_plain_value_comes_back_as_one() -> None:
    back = unpack(
        pack([mark_safe("<b>"), np.float32(0.5), np.int8(3), np.array(["a", None], object)])
    )
    assert [type(value) for value in back[:3]] == [str, float, int]
    assert back[3].tolist() == ["a", None]


@pytest.mark.parametrize(
    "value", [object(), 1j, 2**64, "\ud800", np.zeros(1, "V4"), {"x": object()}]
)
def test_what_cannot_travel_is_refused_and_has_no_digest(value: Any) -> None:
    with pytest.raises((TypeError, OverflowError, UnicodeEncodeError)):
        pack(value)
    assert digest_of(value) == ""


@pytest.mark.parametrize(
    "packed",
    [
        b"",
        b"\xc1",
        pickle.dumps([1, 2]),
        pack([1, 2])[:-1],
        pack([1, 2]) + b"\0",
        b"\x91" * 100_000,
        extension(9, b""),
        extension(TENSOR, b""),
        extension(TENSOR, b"\0\0\0\1a"),
        extension(OBJECTS, b"a"),
        extension(OBJECTS, msgspec.msgpack.encode(((3,), [1]))),
        # Eight bytes as the address of an object.
        tensor("|O", [1], bytes(8)),
        tensor("<f4, <f4", [1], bytes(8)),
        tensor("<f4", [3], bytes(8)),
        tensor("<f4", [-1, -2], bytes(8)),
        tensor("<f4", [2**62, 2**62], bytes(8)),
        tensor("<f4", [2**40, 0], b""),
    ],
)
def test_what_was_not_packed_is_refused(packed: bytes) -> None:
    with pytest.raises(ValueError, match="."):
        unpack(packed)


@given(packed=st.binary(max_size=200))
def test_no_bytes_raise_anything_else(packed: bytes) -> None:
    with contextlib.suppress(ValueError):
        unpack(packed)


@pytest.mark.parametrize(
    ("one", "other", "are_equal"),
    [
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, True),
        ({"a": 1}, {"a": 2}, False),
        (np.arange(4), np.arange(4), True),
        (np.arange(4), np.arange(4).reshape(2, 2), False),
        (np.zeros(4, np.int32), np.zeros(4, np.float32), False),
        (np.arange(8)[::2], np.array([0, 2, 4, 6]), True),
        ([np.float32(1)], [np.float64(1)], False),
        (b"ab", "ab", False),
        (["ab", "c"], ["a", "bc"], False),
        (np.array(["a", None], object), np.array(["a", None], object), True),
        ({"a": np.zeros(2), "b": np.ones(2)}, {"a": np.ones(2), "b": np.zeros(2)}, False),
        ({"a": np.zeros(2), "b": np.ones(2)}, {"b": np.ones(2), "a": np.zeros(2)}, True),
        # What an array looks like, as a list.
        (np.zeros(1, np.float32), ["<f4", [1], bytes(4)], False),
        (True, 1, False),
        (1, 1.0, False),
        (mark_safe("a"), "a", True),
        ((1, 2), [1, 2], True),
        (datetime.date(2026, 1, 2), "2026-01-02", True),
    ],
)
def test_equal_inputs_have_equal_digests(one: Any, other: Any, are_equal: bool) -> None:
    assert len(digest_of(one)) == 32
    assert (digest_of(one) == digest_of(other)) is are_equal
