from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from django_inference.exceptions import InvalidInput, ModelNotReady, PredictionTimeout
from django_inference.host.channel import Channel
from django_inference.host.protocol import Update
from django_inference.host.route import MAX_IDLE, Route
from django_inference.host.rundir import RuntimeDir
from django_inference.specs import State
from tests.hosts import Client, Host, do, eventually
from tests.sample_runtimes import FLOATS

ARRAYS = "tests.sample_runtimes.Arrays"


@pytest.fixture(scope="module")
def client(module_host: Host) -> Client:
    client = module_host.client()
    client.one(1)
    return client


@pytest.fixture(scope="module")
def tensors(module_host: Host) -> Client:
    """A client of a model y = 2 x."""
    client = module_host.client(module_host.spec("tensors", ARRAYS))
    client.signature(time.monotonic() + 30)
    return client


def test_items_and_tensors_of_every_kind(client: Client, tensors: Client) -> None:
    item = {"text": "ä", "raw": b"\x00", "list": [1, None, True, 2.5], "x": np.arange(3)}
    answer = client.one(item)
    assert answer.pop("x").tolist() == [0, 1, 2]
    assert answer == {"text": "ä", "raw": b"\x00", "list": [1, None, True, 2.5]}
    assert client.ask([]) == []
    x = np.arange(8, dtype=np.float32).reshape(2, 4)
    for payload in ({"x": x}, x, {"x": x.tolist()}, {"x": x.astype(np.float64)}, {"x": x[::-1]}):
        expected = 2 * np.asarray(payload["x"] if isinstance(payload, dict) else payload)
        assert np.array_equal(tensors.ask(payload)["y"], expected)
    assert tensors.one({"x": [1, 2, 3, 4]})["y"].tolist() == [2, 4, 6, 8]


def test_the_model_refuses_what_does_not_fit(client: Client, tensors: Client) -> None:
    with pytest.raises(InvalidInput, match=r"x float32 \[-1, 4\]") as caught:
        tensors.ask({"x": np.zeros((2, 5))})
    assert caught.value.alias == "tensors"
    with pytest.raises(InvalidInput, match="item 1: not today"):
        client.ask([1, do("refuse", "not today")])


def test_a_model_says_what_it_takes(client: Client, tensors: Client) -> None:
    assert tensors.signature(time.monotonic() + 30) == FLOATS
    assert client.signature(time.monotonic() + 30) is None


def test_callers_take_their_results_with_them(tensors: Client) -> None:
    x = np.ones((1, 4), np.float32)
    first = tensors.ask({"x": x})["y"]
    second = tensors.ask({"x": x * 5})["y"]
    assert first.tolist() == [[2] * 4]
    first[...] = 0
    assert second.tolist() == [[10] * 4]


def test_threads_get_their_own_answers(client: Client, tensors: Client) -> None:
    wrong: list[Any] = []

    def call(thread: int) -> None:
        for index in range(30):
            x = np.full((1 + index % 4, 4), thread * 1000 + index, np.float32)
            if not np.array_equal(tensors.ask({"x": x})["y"], x * 2):
                wrong.append((thread, index))
            if client.ask([thread, index]) != [thread, index]:
                wrong.append((thread, index))

    threads = [threading.Thread(target=call, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


async def test_tasks_get_their_own_answers(client: Client) -> None:
    answers = await asyncio.gather(*(client.aone(index) for index in range(50)))
    assert answers == list(range(50))


async def test_waiting_does_not_hold_the_event_loop(client: Client) -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    ticking = asyncio.create_task(tick())
    await client.aone(do("sleep", 0.3))
    ticking.cancel()
    assert ticks > 5


def test_threads_and_event_loops_may_share_a_client(client: Client) -> None:
    async def some() -> list[Any]:
        return await asyncio.gather(*(client.aone(index) for index in range(10)))

    for _ in range(3):
        assert asyncio.run(some()) == list(range(10))
        assert client.one(1) == 1


# Deadlines.


def test_a_call_ends_at_its_deadline(client: Client) -> None:
    began = time.monotonic()
    with pytest.raises(PredictionTimeout) as caught:
        client.one(do("sleep", 0.3), timeout=0.1)
    assert 0.09 < time.monotonic() - began < 0.29
    assert caught.value.alias == "model"
    assert caught.value.status_code == 504
    assert client.one(1) == 1


async def test_an_awaited_call_ends_at_its_deadline(client: Client) -> None:
    with pytest.raises(PredictionTimeout):
        await client.acall([do("sleep", 0.3)], time.monotonic() + 0.1)
    assert await client.aone(1) == 1


def test_a_deadline_that_has_passed_is_no_reason_to_run(client: Client, module_host: Host) -> None:
    with pytest.raises((PredictionTimeout, ModelNotReady)):
        client.call([do("note", "late")], time.monotonic() - 1)
    client.one(1)
    assert module_host.notes("late") == []


def test_an_expired_call_is_dropped_unrun(client: Client, module_host: Host) -> None:
    def expired() -> int:
        status = module_host.status()
        assert status
        return status.replicas[0].statistics.expired

    gate = module_host.home / "gate expired"
    before = expired()
    busy = threading.Thread(target=client.one, args=(do("wait", str(gate)),))
    busy.start()
    time.sleep(0.05)
    with pytest.raises(PredictionTimeout):
        client.one(do("note", "expired"), timeout=0.1)
    gate.touch()
    busy.join()
    client.one(1)
    assert module_host.notes("expired") == []
    assert expired() == before + 1


def test_a_model_that_is_being_loaded_is_waited_for_until_the_deadline(module_host: Host) -> None:
    client = module_host.client(module_host.spec("slow", load_seconds=1.0))
    with pytest.raises(ModelNotReady) as caught:
        client.one(1, timeout=0.1)
    assert caught.value.alias == "slow"
    assert caught.value.retry_after == 1.0
    assert client.one(1) == 1


async def test_an_awaited_call_waits_for_the_load_too(module_host: Host) -> None:
    client = module_host.client(module_host.spec("slow too", load_seconds=0.3))
    with pytest.raises(ModelNotReady):
        await client.acall([1], time.monotonic() + 0.05)
    assert await client.aone(1) == 1


# Giving up.


async def test_a_cancelled_call_leaves_the_others_alone(client: Client, module_host: Host) -> None:
    tasks = [asyncio.create_task(client.aone(do("sleep", 0.05))) for _ in range(4)]
    await asyncio.sleep(0.02)
    tasks[1].cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(outcomes[1], asyncio.CancelledError)
    assert {outcomes[0], outcomes[2], outcomes[3]} <= set(module_host.notes("loaded"))
    # Its channel must not be used again: the answer to nobody would come out of it.
    assert [await client.aone(index) for index in range(5)] == list(range(5))


async def test_a_call_cancelled_while_it_waits_for_the_load(module_host: Host) -> None:
    client = module_host.client(module_host.spec("slower", load_seconds=0.5))
    task = asyncio.create_task(client.aone(1))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await client.aone(2) == 2


def test_who_was_too_late_does_not_leave_an_answer_to_the_next(client: Client) -> None:
    for index in range(5):
        with pytest.raises(PredictionTimeout):
            client.one(do("sleep", 0.03), timeout=0.01)
        assert client.one(index) == index


# Connections.


def test_connections_are_kept_and_closed(module_host: Host) -> None:
    client = module_host.client(module_host.spec("connections"))
    client.one(1)
    status = module_host.status("connections")
    assert status
    worker = psutil.Process(status.pid)
    before = worker.num_fds()
    for index in range(50):
        client.one(index)
    assert worker.num_fds() == before
    threads = [threading.Thread(target=client.one, args=(do("sleep", 0.05),)) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    many = worker.num_fds()
    assert many > before
    client.close()
    eventually(lambda: worker.num_fds() < before)
    # A client that was closed opens again when it is used.
    assert client.one(1) == 1


def test_a_process_that_closes_its_clients_keeps_no_descriptor(module_host: Host) -> None:
    client = module_host.client(module_host.spec("descriptors"))
    client.one(1)
    client.close()
    before = psutil.Process().num_fds()
    for _ in range(3):
        client.one(np.zeros(10))
        client.close()
    eventually(lambda: psutil.Process().num_fds() <= before)


class Sockets:
    """Workers' sockets at which nobody answers, which is enough to connect."""

    def __init__(self, folder: Path, *names: str) -> None:
        self.epoch = RuntimeDir(folder).epoch(writable=True)
        self.paths = tuple(str(folder / name) for name in names)
        self.sockets = []
        for path in self.paths:
            sock = socket.socket(socket.AF_UNIX)
            sock.bind(path)
            sock.listen(1024)
            self.sockets.append(sock)

    def route(self, former: Route | None = None, *paths: str) -> Route:
        update = Update(State.READY, "v", paths or self.paths)
        return Route(self.epoch, self.epoch.value, update, former)


@pytest.fixture
def sockets(tmp_path: Path) -> Iterator[Sockets]:
    sockets = Sockets(tmp_path, "a", "b")
    yield sockets
    for sock in sockets.sockets:
        sock.close()


def taken_from(route: Route) -> Channel:
    path, channel = route.take(route.sockets)
    return channel or Channel(path, 10)


def test_the_least_busy_worker_is_called(sockets: Sockets) -> None:
    route = sockets.route()
    channels = [taken_from(route) for _ in range(6)]
    assert [channel.path for channel in channels] == list(sockets.paths) * 3
    for channel in channels[::2]:
        route.give_back(channel, usable=True)
    again = [taken_from(route) for _ in range(3)]
    assert {channel.path for channel in again} == {sockets.paths[0]}
    assert set(map(id, again)) == set(map(id, channels[::2]))
    for channel in (*again, *channels[1::2]):
        route.give_back(channel, usable=True)
    route.close()


def test_calls_under_way_still_count_when_the_route_changes(sockets: Sockets) -> None:
    former = sockets.route(None, sockets.paths[0])
    busy = [taken_from(former) for _ in range(4)]
    route = sockets.route(former)
    taken = [taken_from(route) for _ in range(4)]
    assert {channel.path for channel in taken} == {sockets.paths[1]}
    for channel in (*busy, *taken):
        route.give_back(channel, usable=True)
    even = [taken_from(route) for _ in range(4)]
    assert sorted(channel.path for channel in even) == sorted(sockets.paths * 2)
    for channel in even:
        route.give_back(channel, usable=False)
    route.close()


def test_channels_to_workers_that_stay_are_kept(sockets: Sockets) -> None:
    former = sockets.route()
    kept, dropped = taken_from(former), taken_from(former)
    former.give_back(kept, usable=True)
    former.give_back(dropped, usable=True)
    route = sockets.route(former, kept.path)
    assert taken_from(route) is kept
    assert dropped._socket.fileno() == -1
    route.give_back(kept, usable=True)
    route.close()
    assert kept._socket.fileno() == -1


def test_a_channel_to_a_worker_that_has_gone_is_closed(sockets: Sockets) -> None:
    former = sockets.route()
    channel = taken_from(former)
    route = sockets.route(former, sockets.paths[1])
    route.give_back(channel, usable=True)
    assert channel._socket.fileno() == -1
    route.close()


def test_a_channel_that_failed_is_not_used_again(sockets: Sockets) -> None:
    route = sockets.route(None, sockets.paths[0])
    channel = taken_from(route)
    route.give_back(channel, usable=False)
    assert channel._socket.fileno() == -1
    other = taken_from(route)
    assert other is not channel
    route.give_back(other, usable=True)
    route.close()


def test_a_worker_that_cannot_be_reached_does_not_count_as_busy(
    sockets: Sockets, tmp_path: Path
) -> None:
    gone = str(tmp_path / "gone")
    route = sockets.route(None, gone, sockets.paths[0])
    for _ in range(2):
        with pytest.raises(FileNotFoundError):
            taken_from(route)
        route.take_back(gone)
    assert route.take(route.sockets) == (gone, None)
    assert route.take(route.sockets) == (sockets.paths[0], None)


def test_idle_channels_are_not_hoarded(sockets: Sockets) -> None:
    route = sockets.route(None, sockets.paths[0])
    channels = [taken_from(route) for _ in range(MAX_IDLE + 5)]
    for channel in channels:
        route.give_back(channel, usable=True)
    assert sum(channel._socket.fileno() >= 0 for channel in channels) == MAX_IDLE
    route.close()


def test_a_route_is_current_until_the_epoch_changes(sockets: Sockets) -> None:
    route = sockets.route()
    assert route.is_current
    sockets.epoch.advance()
    assert not route.is_current
    assert sockets.route(route).is_current
