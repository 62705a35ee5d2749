"""Results that come from a worker piece by piece."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from django_inference.exceptions import InvalidInput, PredictionFailed, PredictionTimeout
from django_inference.host.lending import LENT_FROM
from django_inference.runtimes.base import Runtime
from django_inference.specs import EngineOptions, Statistics, Supervision
from tests.host.crowd import Crowd
from tests.hosts import Client, Host, do, eventually

LONG = LENT_FROM // 4


class Echoes(Runtime):
    """Streams what it is given: `times` copies of x, each with one added to the last."""

    def predict(self, items: list[Any]) -> list[Any]:
        return items

    def stream(self, item: Any) -> Iterator[Any]:
        for number in range(item["times"]):
            yield {"y": item["x"] + number, "x": item["x"]}


@pytest.fixture
def client(shared: Host, alias: str) -> Client:
    return shared.client(shared.spec(alias))


@pytest.fixture(scope="module")
def steady(module_host: Host) -> Client:
    """A model that all the tests share which need not know what became of it."""
    return module_host.client()


@pytest.fixture(scope="module")
def echoes(module_host: Host) -> Client:
    return module_host.client(module_host.spec("echoes", f"{__name__}.Echoes"))


def counts_of(host: Host, alias: str) -> Statistics:
    status = host.status(alias)
    assert status
    return status.replicas[0].statistics


# What arrives.


@pytest.mark.parametrize(
    "things",
    [
        [],
        [1],
        ["ä", b"\x00", None, 2.5, True, [1, [2]], {"a": {"b": 1}}],
        ["x" * 100_000, "short", "y" * 3_000_000, ""],
    ],
)
async def test_chunks_of_every_kind(steady: Client, things: list[Any]) -> None:
    assert list(steady.chunks(things)) == things
    assert [chunk async for chunk in steady.achunks(things)] == things


async def test_nothing_is_sent_before_the_first_chunk_is_asked_for(
    shared: Host, client: Client, alias: str
) -> None:
    client.one(1)
    chunks, others = client.chunks([1]), client.achunks([2])
    time.sleep(0.1)
    assert shared.notes("opened") == []
    assert next(chunks) == 1
    assert await anext(others) == 2
    assert len(shared.notes("opened")) == 2


def test_no_chunk_is_made_before_it_is_asked_for(shared: Host, client: Client) -> None:
    chunks = client.chunks([do("note", f"word{index}") for index in range(5)])
    for index in range(3):
        assert shared.notes(f"word{index}") == []
        assert next(chunks) == f"word{index}"
    time.sleep(0.1)
    assert shared.notes("word3") == []
    chunks.close()


@pytest.mark.parametrize("length", [3, LONG])
@pytest.mark.parametrize("hold", [True, False])
async def test_tensors_of_the_item_and_of_the_chunks_are_left_alone(
    echoes: Client, length: int, hold: bool
) -> None:
    x = np.arange(length, dtype=np.float32)
    # The second time, the connection knows the layout of the messages already.
    for _ in range(2):
        item = {"x": x, "times": 12}
        for chunks in (echoes.chunks(item), [c async for c in echoes.achunks(item)]):
            held = []
            for number, chunk in enumerate(chunks):
                assert np.array_equal(chunk["x"], x)
                assert np.array_equal(chunk["y"], x + number)
                held.append(chunk if hold else None)
            assert len(held) == 12
            for number, kept in enumerate(held if hold else []):
                assert np.array_equal(kept["y"], x + number)  # type: ignore[index]


def test_a_stream_and_calls_share_connections(steady: Client) -> None:
    for number in range(20):
        assert list(steady.chunks([1, 2])) == [1, 2]
        assert steady.one(number) == number
    (idle,) = steady._routing._route._idle.values()  # type: ignore[union-attr]
    assert len(idle) == 1


def test_a_runtime_that_does_not_stream_is_named(shared: Host, alias: str) -> None:
    client = shared.client(shared.spec(alias, "tests.sample_runtimes.Arrays"))
    with pytest.raises(InvalidInput) as caught:
        next(client.chunks({"x": [1, 2, 3, 4]}))
    assert str(caught.value) == (
        f"Predictor {alias!r}: Arrays does not stream: it gives each answer whole."
    )
    assert client.one({"x": [1, 2, 3, 4]})["y"].tolist() == [2, 4, 6, 8]


def test_an_error_ends_the_stream_and_not_the_connection(shared: Host, client: Client) -> None:
    chunks = client.chunks([1, do("raise", "no more words"), 2])
    assert next(chunks) == 1
    with pytest.raises(PredictionFailed, match="ValueError: no more words") as caught:
        next(chunks)
    assert "in stream" in caught.value.details
    assert list(chunks) == []
    (idle,) = client._routing._route._idle.values()  # type: ignore[union-attr]
    assert len(idle) == 1
    assert client.one(1) == 1
    assert len(shared.notes("closed")) == 1


@pytest.mark.parametrize("thing", [do("object"), do("deep"), do("array that raises")])
def test_a_chunk_that_cannot_be_sent_ends_the_stream(
    shared: Host, client: Client, thing: Any
) -> None:
    chunks = client.chunks([1, thing, 2])
    assert next(chunks) == 1
    with pytest.raises(PredictionFailed, match="the result cannot be sent"):
        next(chunks)
    eventually(lambda: len(shared.notes("closed")) == 1)
    assert list(client.chunks([3])) == [3]


@pytest.mark.parametrize("item", [object(), 2**64, [lambda: None]])
def test_an_item_that_cannot_be_sent_is_refused(steady: Client, item: Any) -> None:
    with pytest.raises(InvalidInput, match="the input cannot be sent"):
        next(steady.chunks(item))
    assert list(steady.chunks([1])) == [1]


def test_chunks_are_bounded_as_results_are(shared: Host, alias: str) -> None:
    rules = Supervision(max_response_bytes=1_000)
    client = shared.client(shared.spec(alias, supervision=rules))
    chunks = client.chunks([do("bytes", 800)] * 5 + [do("bytes", 2_000)])
    assert [len(next(chunks)) for _ in range(5)] == [800] * 5
    with pytest.raises(PredictionFailed, match="1000 bytes"):
        next(chunks)


# Time.


def test_the_timeout_is_for_each_chunk(steady: Client) -> None:
    steady.one(1)
    chunks = steady.chunks([do("sleep", 0.3)] * 4 + [do("sleep", 30)], timeout=0.9)
    began = time.monotonic()
    for _ in range(4):
        next(chunks)
    assert time.monotonic() - began > 1.2


def test_a_caller_that_waits_too_long_for_a_chunk_gives_the_stream_up(
    shared: Host, client: Client, alias: str
) -> None:
    chunks = client.chunks([1, do("sleep", 0.6), 2])
    next(chunks)
    chunks.close()
    impatient = client.chunks([1, do("sleep", 0.6), 2], timeout=0.2)
    assert next(impatient) == 1
    with pytest.raises(PredictionTimeout, match="no further chunk before the deadline"):
        next(impatient)
    assert list(impatient) == []
    eventually(lambda: len(shared.notes("closed")) == 2)
    assert client.one(1) == 1


def test_a_chunk_whose_deadline_has_passed_is_not_made(
    shared: Host, client: Client, alias: str
) -> None:
    client.one(1)
    chunks = client.chunks([1, do("note", "late")], timeout=0.3)
    assert next(chunks) == 1
    busy = threading.Thread(target=lambda: client.one(do("sleep", 1.0)))
    busy.start()
    time.sleep(0.1)
    with pytest.raises(PredictionTimeout):
        next(chunks)
    busy.join()
    eventually(lambda: len(shared.notes("closed")) == 1)
    assert shared.notes("late") == []


async def test_waiting_for_a_chunk_does_not_hold_the_event_loop(steady: Client) -> None:
    ticks = itertools.count()

    async def tick() -> None:
        while True:
            await asyncio.sleep(0.01)
            next(ticks)

    ticking = asyncio.create_task(tick())
    async for _ in steady.achunks([do("sleep", 0.3)]):
        pass
    ticking.cancel()
    assert next(ticks) > 5


def test_a_delay_for_batches_delays_no_chunk(shared: Host, alias: str) -> None:
    options = EngineOptions(max_batch_delay=2.0)
    client = shared.client(shared.spec(alias, options=options))
    chunks = client.chunks(None)
    next(chunks)
    # Somebody who has called lately, so that a batch would wait for them.
    caller = threading.Thread(target=lambda: client.one(1))
    caller.start()
    caller.join()
    began = time.monotonic()
    for _ in range(5):
        next(chunks)
    assert time.monotonic() - began < 1.0
    chunks.close()


# Many at once.


def test_fifty_streams_and_calls_between_their_chunks(
    shared: Host, client: Client, alias: str
) -> None:
    client.one(1)
    outcomes: dict[int, Any] = {}

    def read(number: int) -> None:
        try:
            outcomes[number] = list(client.chunks([[number, index] for index in range(40)]))
        except Exception as error:
            outcomes[number] = error

    readers = [threading.Thread(target=read, args=(number,)) for number in range(50)]
    with Crowd(client, do("batch")) as crowd:
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
    assert crowd.errors == []
    assert outcomes == {n: [[n, index] for index in range(40)] for n in range(50)}
    assert counts_of(shared, alias).streams == 0
    assert len(shared.notes("closed")) == 50


async def test_a_hundred_streams_of_one_event_loop_take_turns_beside_calls(
    shared: Host, client: Client, alias: str
) -> None:
    await client.aone(1)

    async def read(number: int) -> list[Any]:
        return [chunk async for chunk in client.achunks([[number, index] for index in range(20)])]

    reading = asyncio.gather(*(read(number) for number in range(100)))
    answers = await asyncio.gather(*(client.aone(number) for number in range(100)))
    assert answers == list(range(100))
    assert await reading == [[[n, index] for index in range(20)] for n in range(100)]
    assert (await asyncio.to_thread(counts_of, shared, alias)).streams == 0


async def test_streams_that_are_open_leave_the_turns_of_calls_alone(steady: Client) -> None:
    await steady.aone(1)
    streams = [steady.achunks(None, timeout=0.5) for _ in range(65)]
    assert [await anext(stream) for stream in streams[:64]] == [0] * 64
    with pytest.raises(PredictionTimeout, match="too many streams are open"):
        await anext(streams[64])
    assert await asyncio.gather(*(steady.aone(n) for n in range(100))) == list(range(100))
    await streams[0].aclose()
    another = steady.achunks(None)
    assert await anext(another) == 0
    for stream in (*streams, another):
        await stream.aclose()


def test_a_slow_reader_holds_up_nobody(shared: Host, client: Client, alias: str) -> None:
    slow = client.chunks(None)
    assert next(slow) == 0
    began = time.monotonic()
    for number in range(300):
        assert client.one(number) == number
    assert list(client.chunks(list(range(300)))) == list(range(300))
    assert time.monotonic() - began < 5
    assert next(slow) == 1
    assert counts_of(shared, alias).streams == 1
    slow.close()


def test_an_urgent_call_overtakes_the_chunks_that_wait(steady: Client) -> None:
    steady.one(1)
    low = 2
    streams = [steady.chunks([0, *[do("sleep", 0.02)] * 10], priority=low) for _ in range(10)]
    for stream in streams:
        next(stream)
    readers = [threading.Thread(target=list, args=(stream,)) for stream in streams]
    for reader in readers:
        reader.start()
    time.sleep(0.1)
    waits = []
    for _ in range(5):
        began = time.monotonic()
        steady.one(1, priority=0)
        waits.append(time.monotonic() - began)
    for reader in readers:
        reader.join()
    # One chunk that has begun, and not the ten that wait.
    assert sorted(waits)[2] < 0.1
