from __future__ import annotations

import contextlib
import datetime
import decimal
import enum
import math
import os
import uuid
from collections import OrderedDict
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from django_inference.host.arena import ALIGNMENT, HEADER, INITIAL_SIZE, Arena
from django_inference.host.codec import CALL_HEAD, SPILLED, Codec
from django_inference.host.protocol import (
    LENGTH,
    MAX_FRAME,
    NEXT,
    OPEN,
    PREDICT,
    Call,
    Failure,
    ProtocolError,
    Reply,
)


class Pair:
    """The two ends of a connection, without the socket."""

    def __init__(self) -> None:
        self.client = Codec(Arena(), Reply)
        self.worker = Codec(Arena(os.dup(self.client.arena.fd)), Call)

    def request(self, payload: Any) -> Any:
        """What the worker sees of it."""
        return read(self.worker, self.client.encode(Call(1.0, 2.0, False, 1, payload))).payload

    def reply(self, payload: Any) -> Any:
        """What the client sees of it."""
        return read(self.client, self.worker.encode(Reply(None, payload))).payload

    def there_and_back(self, payload: Any) -> Any:
        """Through a worker that answers with what it got."""
        return self.reply(self.request(payload))

    def close(self) -> None:
        self.client.close()
        self.worker.close()


def read(codec: Codec, frame: bytes) -> Any:
    (length,) = LENGTH.unpack_from(frame)
    body = frame[LENGTH.size :]
    assert length & ~SPILLED == len(body)
    return codec.decode(body, spilled=length >= SPILLED)


@pytest.fixture
def pair() -> Any:
    pair = Pair()
    yield pair
    pair.close()


def same(one: Any, other: Any) -> bool:
    """Equal to the last bit: types, dtypes, shapes, and NaN to NaN."""
    if isinstance(one, np.ndarray):
        if not isinstance(other, np.ndarray) or one.shape != other.shape:
            return False
        if one.dtype.kind in "OT":
            return all(map(same, one.ravel().tolist(), other.ravel().tolist()))
        return one.dtype == other.dtype and one.tobytes() == other.tobytes()
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        # In the same order, as a keyword of a dict.
        return len(one) == len(other) and all(
            same(key, other_key) and same(value, other_value)
            for (key, value), (other_key, other_value) in zip(
                one.items(), other.items(), strict=True
            )
        )
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) and math.isnan(one):
        return math.isnan(other)
    return bool(one == other)


numeric = st.one_of(
    npst.boolean_dtypes(),
    npst.integer_dtypes(),
    npst.unsigned_integer_dtypes(),
    npst.floating_dtypes(),
    npst.complex_number_dtypes(),
    npst.byte_string_dtypes(min_len=1, max_len=9),
    npst.unicode_string_dtypes(min_len=1, max_len=9),
    npst.datetime64_dtypes(),
    npst.timedelta64_dtypes(),
)
arrays = npst.arrays(numeric, npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5))
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(),
    st.text(max_size=20),
    st.binary(max_size=20),
)
payloads = st.recursive(
    scalars | arrays,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(payload=payloads)
def test_any_payload_goes_there_and_back(payload: Any) -> None:
    pair = Pair()
    assert same(payload, pair.there_and_back(payload))
    pair.close()


@given(array=arrays, axes=st.randoms(use_true_random=False))
def test_views_of_arrays_go_there_and_back(array: Any, axes: Any) -> None:
    pair = Pair()
    order = list(range(array.ndim))
    axes.shuffle(order)
    steps = [slice(None, None, axes.choice([1, 2, -1])) for _ in order]
    view = array.transpose(order)[(*steps, ...)]
    assert same(np.ascontiguousarray(view).reshape(view.shape), pair.there_and_back(view))
    pair.close()


@settings(max_examples=15)
@given(sizes=st.lists(st.integers(0, 3 * INITIAL_SIZE), min_size=1, max_size=5))
def test_both_sides_follow_as_the_arena_grows(sizes: list[int]) -> None:
    pair = Pair()
    for size in sizes:
        array = np.arange(size, dtype=np.uint8)
        # The answer is larger than the request, so that each side has to grow it.
        seen = pair.request(array)
        assert np.array_equal(seen, array)
        assert np.array_equal(pair.reply([seen, seen])[1], array)
    pair.close()


def test_text_without_letters(pair: Pair) -> None:
    for dtype in ("S0", "U0"):
        assert pair.there_and_back(np.ndarray((2, 1), dtype)).tolist() in ([[b""]] * 2, [[""]] * 2)


def test_several_tensors_do_not_touch_each_other(pair: Pair) -> None:
    tensors = {f"t{index}": np.full(index, index, np.uint8) for index in range(1, 200)}
    seen = pair.request(tensors)
    for index in range(1, 200):
        assert seen[f"t{index}"].tolist() == [index] * index
        address = seen[f"t{index}"].__array_interface__["data"][0]
        assert address % ALIGNMENT == 0


def test_the_worker_looks_into_the_arena_and_the_client_gets_a_copy(pair: Pair) -> None:
    seen = pair.request({"x": np.zeros(3)})["x"]
    assert not seen.flags.owndata
    first = pair.reply({"y": seen + 1})["y"]
    assert first.flags.owndata
    second = pair.there_and_back({"x": np.full(3, 7.0)})["x"]
    assert first.tolist() == [1, 1, 1]
    assert second.tolist() == [7, 7, 7]


def test_a_reply_leaves_the_request_alone(pair: Pair) -> None:
    # The model's outputs may still be views of its inputs while they are encoded.
    seen = pair.request(np.arange(1000))
    back = pair.reply([seen[::-1], seen])
    assert np.array_equal(back[0], np.arange(1000)[::-1])
    assert np.array_equal(back[1], np.arange(1000))


def test_a_connection_starts_over_with_each_request(pair: Pair) -> None:
    for _ in range(100):
        pair.there_and_back(np.zeros(INITIAL_SIZE // 4, np.uint8))
    assert pair.client.arena.size == pair.worker.arena.size == INITIAL_SIZE


@pytest.mark.parametrize("size", [MAX_FRAME - 100, MAX_FRAME, MAX_FRAME + 1, 5 * INITIAL_SIZE])
def test_what_is_too_long_for_a_frame_goes_through_the_arena(pair: Pair, size: int) -> None:
    payload = {"text": "ä" * (size // 2), "raw": os.urandom(size), "x": np.arange(10)}
    frame = pair.client.encode(Call(1.0, 2.0, False, 1, payload))
    assert len(frame) <= LENGTH.size + MAX_FRAME
    seen = read(pair.worker, frame).payload
    assert same(seen, payload)
    assert same(pair.reply(seen), payload)


def test_many_small_items_in_one_frame(pair: Pair) -> None:
    items = [{"id": index, "row": np.full(1, index, np.float32)} for index in range(5000)]
    seen = pair.there_and_back(items)
    assert [item["row"].tolist() for item in seen] == [[index] for index in range(5000)]


def test_arrays_of_objects(pair: Pair) -> None:
    objects = np.empty((2, 2), dtype=object)
    objects[0, 0] = "text"
    objects[0, 1] = None
    objects[1, 0] = [1, [2, 3]]
    objects[1, 1] = {"a": b"b"}
    seen = pair.there_and_back(objects)
    assert same(objects, seen)


def test_arrays_of_arrays(pair: Pair) -> None:
    ragged = np.empty(2, dtype=object)
    ragged[0] = np.arange(3)
    ragged[1] = np.arange(4, dtype=np.float32)
    assert same(ragged, pair.there_and_back(ragged))
    nested = np.empty(1, dtype=object)
    nested[0] = ragged
    assert same({"nested": nested}, pair.there_and_back({"nested": nested}))


@pytest.mark.skipif(not hasattr(np.dtypes, "StringDType"), reason="numpy 2 has text of any length")
def test_texts_of_any_length(pair: Pair) -> None:
    texts = np.array(["a", "long " * 50, ""], dtype=np.dtypes.StringDType())
    assert pair.there_and_back(texts).tolist() == ["a", "long " * 50, ""]


def test_scalars_of_numpy_become_pythons(pair: Pair) -> None:
    seen = pair.there_and_back([np.float32(0.5), np.int8(-3), np.bool_(True), np.str_("s")])
    assert seen == [0.5, -3, True, "s"]
    assert [type(value) for value in seen] == [float, int, bool, str]


def test_subclasses_of_plain_types_arrive_as_those(pair: Pair) -> None:
    class Safe(str):
        def __str__(self) -> str:
            return self

    class Number(int):
        pass

    class Metres(float):
        pass

    class Raw(bytes):
        pass

    payload = [Safe("text"), Number(7), Metres(1.5), Raw(b"raw"), {Safe("key"): OrderedDict(a=1)}]
    seen = pair.there_and_back(payload)
    assert seen == ["text", 7, 1.5, b"raw", {"key": {"a": 1}}]
    assert [type(value) for value in seen[:4]] == [str, int, float, bytes]


def test_arrays_of_other_libraries(pair: Pair) -> None:
    class Tensor:
        def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
            return np.arange(3)

    assert pair.there_and_back({"x": Tensor()})["x"].tolist() == [0, 1, 2]


def test_what_msgpack_turns_into_something_simpler(pair: Pair) -> None:
    class Colour(enum.Enum):
        RED = "red"

    identity = uuid.uuid4()
    moment = datetime.datetime(2024, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
    payload = [(1, 2), {3}, Colour.RED, identity, decimal.Decimal("1.5"), moment]
    assert pair.there_and_back(payload) == [[1, 2], [3], "red", str(identity), 1.5, moment]


@pytest.mark.parametrize(
    "value",
    [
        object(),
        2**64,
        -(2**63) - 1,
        1j,
        np.longdouble(1),
        np.zeros(2, dtype=[("a", "i4")]),
        lambda: None,
        "\ud800",
        np.array([object()]),
    ],
)
def test_what_cannot_be_sent_is_refused_and_the_connection_goes_on(pair: Pair, value: Any) -> None:
    with pytest.raises((TypeError, ValueError, OverflowError, RecursionError)):
        pair.client.encode(Call(1.0, 2.0, False, 1, {"x": np.zeros(5), "y": value}))
    pair.request(1)
    with pytest.raises((TypeError, ValueError, OverflowError, RecursionError)):
        pair.worker.encode(Reply(None, value))
    assert pair.there_and_back([1, 2]) == [1, 2]


def test_a_failure_goes_back(pair: Pair) -> None:
    failure = Failure("InvalidInput", "no image", 1.5, "Traceback")
    assert read(pair.client, pair.worker.encode(Reply(failure, None))).failure == failure


def test_a_stream_that_is_over_says_no_more(pair: Pair) -> None:
    assert read(pair.client, pair.worker.encode(Reply(None, None, is_over=True))).is_over
    assert not read(pair.client, pair.worker.encode(Reply(None, None))).is_over


@pytest.mark.parametrize("kind", [PREDICT, OPEN, NEXT])
def test_a_call_says_what_it_asks_for(pair: Pair, kind: int) -> None:
    call = Call(1.0, 2.0, True, 2, None, kind)
    assert read(pair.worker, pair.client.encode(call)) == call


@pytest.mark.parametrize("wrap", [lambda x: {"x": x}, lambda x: [x, {"deep": x}]])
def test_what_opens_a_stream_outlives_the_next_messages(pair: Pair, wrap: Any) -> None:
    # The second time, its layout is known.
    for number in (1, 2):
        call = Call(1.0, 2.0, False, 1, wrap(np.full(1000, number)), OPEN)
        item = read(pair.worker, pair.client.encode(call)).payload
        for chunk in range(3):
            assert pair.reply({"y": np.full(4000, chunk)})["y"][0] == chunk
            read(pair.worker, pair.client.encode(Call(1.0, 2.0, False, 1, None, NEXT)))
        assert same(item, wrap(np.full(1000, number)))


# Frames as no client of ours sends them.


HEAD = CALL_HEAD.pack(1.0, 2.0, False, 1, PREDICT, HEADER)


def tensor(dtype: str, shape: Any, start: int) -> bytes:
    """The frame of a call with one tensor, as it is told."""
    place = msgspec.msgpack.encode((dtype, shape, start))
    return HEAD + msgspec.msgpack.encode(msgspec.msgpack.Ext(1, place))


def refused(pair: Pair, body: bytes, *, spilled: bool = False) -> str:
    with pytest.raises(ProtocolError) as caught:
        pair.worker.decode(body, spilled=spilled)
    return str(caught.value)


def test_a_tensor_as_told_by_hand(pair: Pair) -> None:
    assert pair.worker.decode(tensor("<f4", (2, 2), 64), spilled=False).payload.shape == (2, 2)


@pytest.mark.parametrize(
    ("dtype", "shape", "start"),
    [
        ("<f4", (2,), 0),
        ("<f4", (2,), HEADER - 1),
        ("<f4", (2,), -64),
        ("<f4", (2,), INITIAL_SIZE - 4),
        ("<f4", (2,), INITIAL_SIZE),
        ("<f4", (2,), 2**63),
        ("<f4", (2,), 2**64 - 1),
        ("<f4", (-1,), 64),
        ("<f4", (-1, -1), 64),
        ("<f4", (2**62,), 64),
        ("<f4", (2**32, 2**32), 64),
        ("<f4", (0, 2**63), 64),
        ("<f4", (0, 2**64 - 1), 64),
        ("<f4", (0, 2**62, 2**62), 64),
        ("<f4", (1,) * 100, 64),
        ("<f4", "ab", 64),
        ("<f4", (1.5,), 64),
        ("O", (1,), 64),
        ("|O8", (1,), 64),
        ("V8", (1,), 64),
        ("i4,i4", (1,), 64),
        ("(2,2)f4", (1,), 64),
        ("", (1,), 64),
        ("nonsense", (1,), 64),
        ("|9)", (1,), 64),
        ("(2,", (1,), 64),
        ("f4\x00", (1,), 64),
        ("M8[99999999999999999999s]", (1,), 64),
        ("U99999999999999999999", (1,), 64),
        ("U999999999", (2,), 64),
        ("S0", (2**62,), 64),
        (7, (1,), 64),
    ],
)
def test_a_tensor_that_does_not_lie_in_the_arena_is_refused(
    pair: Pair, dtype: Any, shape: Any, start: int
) -> None:
    assert refused(pair, tensor(dtype, shape, start))
    assert pair.there_and_back(1) == 1


@pytest.mark.parametrize("start", [0, HEADER - 1, INITIAL_SIZE - 1, INITIAL_SIZE, 2**63, 2**64 - 1])
def test_a_body_that_does_not_lie_in_the_arena_is_refused(pair: Pair, start: int) -> None:
    assert refused(pair, start.to_bytes(8, "big") + (2).to_bytes(8, "big"), spilled=True)
    assert refused(pair, start.to_bytes(8, "big") + (2**64 - 1).to_bytes(8, "big"), spilled=True)
    assert pair.there_and_back(1) == 1


@pytest.mark.parametrize("body", [b"", b"\xc1", b"\x94", b"abc", bytes(16), b"\xff" * 16])
@pytest.mark.parametrize("spilled", [False, True])
def test_what_is_no_call_is_refused(pair: Pair, body: bytes, spilled: bool) -> None:
    assert refused(pair, body, spilled=spilled)


@pytest.mark.parametrize(
    "body",
    [
        HEAD + b"\x91" * 60_000 + b"\xc0",
        HEAD + b"\x81\xc0" * 30_000 + b"\xc0",
        HEAD + b"\xdd\xff\xff\xff\xff",
        HEAD + b"\xdf\xff\xff\xff\xff",
        HEAD + b"\xc6\xff\xff\xff\xff",
        HEAD + b"\x81\x80\x01",
        HEAD + b"\xa2\xff\xfe",
        HEAD + b"\xc7\x00\x07",
        HEAD,
        HEAD[:-1],
        HEAD[:-1] + b"\x03\xc0",
        HEAD + b"\xc0\xc0",
    ],
)
def test_malformed_calls_are_refused(pair: Pair, body: bytes) -> None:
    assert refused(pair, body)
    assert pair.there_and_back(1) == 1


@given(body=st.binary(max_size=200), spilled=st.booleans())
def test_any_bytes_are_a_call_or_refused(body: bytes, spilled: bool) -> None:
    pair = Pair()
    with contextlib.suppress(ProtocolError):
        pair.worker.decode(body, spilled=spilled)
    assert pair.there_and_back([1]) == [1]
    pair.close()


@given(data=st.data())
def test_any_change_to_a_call_is_a_call_or_refused(data: st.DataObject) -> None:
    pair = Pair()
    payload = {"x": np.arange(6, dtype=np.float32).reshape(2, 3), "t": ["a", None, 1.5]}
    body = bytearray(pair.client.encode(Call(1.0, 2.0, False, 1, payload))[LENGTH.size :])
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    try:
        seen = pair.worker.decode(bytes(body), spilled=False).payload
        # Whatever it says now, it must be readable to its end.
        pair.reply(seen)
    except (ProtocolError, TypeError, ValueError, OverflowError):
        pass
    assert same(pair.there_and_back(payload), payload)
    pair.close()


@given(
    name=st.text(st.sampled_from("<>|=biufcSUmMOVT0123456789,()[]{}:'s "), max_size=8),
    shape=st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 4), max_size=4),
    start=st.integers(0, 2**64 - 1) | st.integers(0, 256),
)
def test_any_place_of_a_tensor_is_in_the_arena_or_refused(
    name: str, shape: list[int], start: int
) -> None:
    pair = Pair()
    try:
        seen = pair.worker.decode(tensor(name, shape, start), spilled=False).payload
    except ProtocolError:
        pass
    else:
        seen.tobytes()
    pair.close()
