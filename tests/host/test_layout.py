from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from django_inference.host.arena import HEADER, INITIAL_SIZE, Arena
from django_inference.host.codec import CALL_HEAD, Codec
from django_inference.host.layout import Layout, Place
from django_inference.host.protocol import LENGTH, Call, Failure, ProtocolError, Reply
from tests.host.test_codec import Pair, read


@pytest.fixture
def pair() -> Iterator[Pair]:
    pair = Pair()
    yield pair
    pair.close()


def equal(found: Any, sent: dict[str, Any]) -> bool:
    return list(found) == list(sent) and all(
        found[name].dtype == sent[name].dtype and np.array_equal(found[name], sent[name])
        for name in sent
    )


PAYLOADS: list[dict[str, Any]] = [
    {"x": np.arange(4, dtype="f4")},
    {"x": np.arange(4, 8, dtype="f4")},
    {"x": np.arange(4, dtype="f8")},
    {"x": np.arange(5, dtype="f4")},
    {"x": np.arange(4, dtype=">f4")},
    {"y": np.arange(4, dtype="f4")},
    {"x": np.arange(8, dtype="f4")[::2]},
    {"x": np.zeros((0, 4), "f4")},
    {"x": np.array(3, "i8")},
    {"x": np.arange(4, dtype="f4"), "y": np.array(["a", "bc"])},
    {"y": np.array(["d", "ef"]), "x": np.arange(9, 13, dtype="f4")},
    {"x": np.array(["a", None], dtype=object)},
]


@pytest.mark.parametrize("first", range(len(PAYLOADS)))
def test_a_message_is_read_rightly_whatever_came_before(pair: Pair, first: int) -> None:
    for payload in (*PAYLOADS[first:], *PAYLOADS[:first]):
        for _ in range(3):
            assert equal(pair.there_and_back(payload), payload)


def test_the_second_of_two_equal_messages_is_not_encoded_again(pair: Pair) -> None:
    first = pair.client.encode(Call(1.0, 2.0, False, 1, {"x": np.zeros(4)}))
    read(pair.worker, first)
    second = pair.client.encode(Call(3.0, 4.0, True, 2, {"x": np.ones(4)}))
    head = LENGTH.size + CALL_HEAD.size
    assert second[head:] == first[head:]
    call = read(pair.worker, second)
    assert (call.deadline, call.sent_at, call.alone, call.priority) == (3.0, 4.0, True, 2)
    assert equal(call.payload, {"x": np.ones(4)})


def test_results_outlive_the_next_call(pair: Pair) -> None:
    results = [pair.there_and_back({"x": np.full(3, n)}) for n in range(5)]
    assert [result["x"].tolist() for result in results] == [[n] * 3 for n in range(5)]


def test_a_model_may_reshape_what_it_gets(pair: Pair) -> None:
    for n in range(3):
        inputs = pair.request({"x": np.full((2, 2), n)})
        assert inputs["x"].shape == (2, 2)
        inputs["x"].shape = (4,)


def test_a_model_may_answer_with_its_input(pair: Pair) -> None:
    for n in range(3):
        inputs = pair.request({"x": np.arange(n, n + 4)})
        assert pair.reply({"y": inputs["x"][::-1]})["y"].tolist() == [n + 3, n + 2, n + 1, n]


def test_messages_are_read_after_the_arena_has_grown(pair: Pair) -> None:
    little, big = {"x": np.arange(4)}, {"x": np.arange(INITIAL_SIZE)}
    for _ in range(2):
        assert equal(pair.there_and_back(little), little)
        assert equal(pair.reply(big), big)
        assert equal(pair.there_and_back(big), big)


def test_a_failure_between_two_answers_is_a_failure(pair: Pair) -> None:
    failure = Failure("InvalidInput", "no", None, "")
    for _ in range(2):
        assert equal(pair.there_and_back(PAYLOADS[0]), PAYLOADS[0])
        pair.request(PAYLOADS[0])
        assert read(pair.client, pair.worker.encode(Reply(failure, None))).failure == failure


def test_tensors_within_an_array_of_objects_are_not_taken_for_the_array() -> None:
    nested = np.empty(1, dtype=object)
    nested[0] = np.arange(3)
    view = np.arange(3)
    assert Layout.of({"x": nested}, b"", [Place(view.dtype, view.shape, 64, view)], 64, 88) is None


def test_what_is_too_long_is_refused_each_time() -> None:
    client = Codec(Arena(), Reply, max_sent=1_000)
    call = Call(1.0, 2.0, False, 1, {"x": np.zeros(990, np.uint8)})
    for _ in range(3):
        # The tensor alone is within the limit; the frame is what takes it beyond.
        with pytest.raises(ValueError, match="more than the 1000 bytes"):
            client.encode(call)
        client.encode(Call(1.0, 2.0, False, 1, {"x": np.zeros(800, np.uint8)}))
    client.close()


def test_what_is_too_long_is_read_no_time(pair: Pair) -> None:
    limited = Codec(Arena(), Call, max_received=100)
    frame = pair.client.encode(Call(1.0, 2.0, False, 1, {"x": np.zeros(101, np.uint8)}))
    for _ in range(3):
        with pytest.raises(ProtocolError, match="more than the 100 bytes"):
            read(limited, frame)
    limited.close()


def test_a_reply_goes_behind_the_request_that_it_answers(pair: Pair) -> None:
    answer = {"y": np.arange(16)}
    for size in (8, 8, 400, 400, 8):
        inputs = pair.request({"x": np.arange(size)})
        assert equal(pair.reply(answer), answer)
        assert inputs["x"].tolist() == list(range(size))


def test_encodings_that_fail_leave_nothing_behind(pair: Pair) -> None:
    for _ in range(10):
        with pytest.raises(TypeError):
            pair.client.encode(Call(1.0, 2.0, False, 1, [np.zeros(4), object()]))
    assert len(pair.client._places) <= 1
    assert pair.client.arena.size == INITIAL_SIZE > HEADER


def test_a_closed_codec_holds_no_map_of_the_arena(pair: Pair) -> None:
    pair.there_and_back(PAYLOADS[0])
    gc.collect()
    memory = weakref.ref(pair.client.arena.memory)
    pair.client.close()
    gc.collect()
    assert memory() is None
