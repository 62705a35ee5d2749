from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest

from django_inference.host.arena import HEADER
from django_inference.host.lending import LENT_FROM
from tests.host.test_codec import Pair

LONG = LENT_FROM // 4


def numbers(first: int, count: int = LONG) -> Any:
    return np.arange(first, first + count, dtype=np.float32)


def lies_in_arena(array: Any, pair: Pair) -> bool:
    memory = np.frombuffer(pair.client.arena.memory, np.uint8)
    return bool(np.shares_memory(array, memory))


@pytest.fixture
def pair() -> Any:
    pair = Pair()
    yield pair
    pair.close()


@pytest.mark.parametrize("wrap", [lambda y: {"y": y}, lambda y: [{"mask": y, "name": "a"}]])
@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_long_result_is_read_where_it_lies(pair: Pair, wrap: Any, times: int) -> None:
    for _ in range(times):
        result: Any = None
        pair.request({"x": numbers(0, 4)})
        result = pair.reply(wrap(numbers(7)))
    array = result["y"] if isinstance(result, dict) else result[0]["mask"]
    assert lies_in_arena(array, pair)
    assert array.flags.writeable
    assert np.array_equal(array, numbers(7))


def test_a_short_result_is_a_copy(pair: Pair) -> None:
    for _ in range(2):
        pair.request({"x": numbers(0, 4)})
        assert not lies_in_arena(pair.reply({"y": numbers(7, LONG - 1)})["y"], pair)


@pytest.mark.parametrize(
    "derive",
    [
        lambda result: result["y"],
        lambda result: result["y"][100:200],
        lambda result: result["y"][100:][:100].reshape(2, -1),
        lambda result: memoryview(result["y"]),
        lambda result: np.frombuffer(memoryview(result["y"])[8:], np.float32),
    ],
)
def test_what_the_caller_holds_is_left_alone(pair: Pair, derive: Any) -> None:
    pair.request({"x": numbers(0, 4)})
    held = derive(pair.reply({"y": numbers(7)}))
    before = np.array(held)
    for number in range(5):
        pair.request({"x": numbers(number, 2 * LONG)})
        pair.reply({"y": np.full(2 * LONG, number, np.float32)})
    assert np.array_equal(np.array(held), before)


def test_a_list_of_items_is_kept_away_from_what_is_held(pair: Pair) -> None:
    # Such a call has no tensors that would keep the reply behind the lent memory.
    held = pair.reply({"y": numbers(7)}) if pair.request([1]) else None
    assert pair.request(["text", 2]) == ["text", 2]
    pair.reply({"y": np.zeros(2 * LONG, np.float32)})
    pair.request(["t" * 100_000])
    pair.reply(["t" * 100_000])
    assert held is not None and np.array_equal(held["y"], numbers(7))


def test_the_memory_is_used_again_once_nobody_looks(pair: Pair) -> None:
    for number in range(20):
        pair.request({"x": numbers(number)})
        held = pair.reply({"y": numbers(number)})
        assert np.array_equal(held["y"], numbers(number))
        size = pair.client.arena.size
    # Two messages side by side at the most, not twenty.
    assert size <= 8 * 4 * LONG


def test_holding_every_result_costs_the_arena_one_of_them(pair: Pair) -> None:
    held = []
    for number in range(20):
        pair.request({"x": numbers(number)})
        held.append(pair.reply({"y": numbers(number)}))
    assert pair.client.arena.size <= 8 * 4 * LONG
    for number, result in enumerate(held):
        assert np.array_equal(result["y"], numbers(number))


def test_what_a_child_process_looks_at_is_never_used_again(pair: Pair) -> None:
    pair.request({"x": numbers(0, 4)})
    held = pair.reply({"y": numbers(7)})
    reader, writer = os.pipe()
    begin, go = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.read(begin, 1)
        os.write(writer, b"y" if np.array_equal(held["y"], numbers(7)) else b"n")
        os._exit(0)
    del held
    for number in range(3):
        pair.request({"x": np.zeros(4 * LONG, np.float32)})
        result = pair.reply({"y": np.full(4 * LONG, number, np.float32)})
        # This arena lends nothing any more: what a second child held would be lost as well.
        assert not lies_in_arena(result["y"], pair)
    os.write(go, b"!")
    assert os.read(reader, 1) == b"y"
    assert os.waitpid(pid, 0)[1] == 0
    for fd in (reader, writer, begin, go):
        os.close(fd)


def test_a_call_may_not_begin_where_the_worker_keeps_its_mark_or_beyond_the_arena(
    pair: Pair,
) -> None:
    from django_inference.host.codec import CALL_HEAD
    from django_inference.host.protocol import PREDICT, ProtocolError

    for start in (0, HEADER - 1, pair.client.arena.size + 1, 1 << 40, (1 << 64) - 1):
        head = CALL_HEAD.pack(1.0, 2.0, False, 1, PREDICT, start)
        with pytest.raises(ProtocolError):
            pair.worker.decode(head + b"\x90", spilled=False)
    assert pair.worker.arena.size == pair.client.arena.size
