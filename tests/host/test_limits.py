"""What a worker does not run: too many, too long, too late, or for nobody."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from django_inference.exceptions import (
    InvalidInput,
    ModelCrashed,
    Overloaded,
    PredictionFailed,
    PredictionTimeout,
)
from django_inference.specs import EngineOptions, State, Statistics, Supervision
from tests.host.crowd import Crowd, Later
from tests.hosts import Client, Host, do, eventually

HIGH, NORMAL, LOW = range(3)


class Gate:
    """Keeps the only worker of a model at work until it is opened."""

    def __init__(self, host: Host, client: Client, alias: str) -> None:
        self._path = host.home / f"gate-{alias}"
        client.one(1)
        self.pid = client.one(do("pid"))
        self._busy = Later(client, do("hang unless", str(self._path)))
        eventually(lambda: is_running(host, alias))

    def open(self) -> None:
        self._path.touch()
        assert self._busy.result() == self.pid


def is_running(host: Host, alias: str) -> bool:
    # The hung call is the third; it has no answer yet.
    time.sleep(0.1)
    return counts_of(host, alias).requests >= 2


def counts_of(host: Host, alias: str) -> Statistics:
    status = host.status(alias)
    assert status
    return status.replicas[0].statistics


# The queue.


def test_callers_beyond_the_queue_are_told_when_to_come_again(shared: Host, alias: str) -> None:
    client = shared.client(shared.spec(alias, options=EngineOptions(max_queue=2)))
    client.one(do("sleep", 0.2))
    gate = Gate(shared, client, alias)
    # The first two of these fill the queue once the worker looks at them.
    waiting = [Later(client, index) for index in range(2)]
    time.sleep(0.2)
    refused = [Later(client, index) for index in range(4)]
    time.sleep(0.2)
    gate.open()
    assert [later.result() for later in waiting] == [0, 1]
    for later in refused:
        error = later.result()
        assert isinstance(error, Overloaded)
        assert error.alias == alias
        assert "max_queue" in error.message
        assert error.retry_after is not None
        assert error.retry_after > 0
    assert counts_of(shared, alias).refused == 4
    assert client.one("again") == "again"


def test_what_is_urgent_overtakes_a_queue(shared: Host, alias: str) -> None:
    client = shared.client(shared.spec(alias, options=EngineOptions(max_batch_size=1)))
    gate = Gate(shared, client, alias)
    low = [Later(client, do("note", f"low{index}"), priority=LOW) for index in range(8)]
    time.sleep(0.2)
    high = Later(client, do("note", "high"), priority=HIGH)
    normal = Later(client, do("note", "normal"))
    time.sleep(0.2)
    gate.open()
    for later in (high, normal, *low):
        assert not isinstance(later.result(), Exception)
    words = [line.split()[0] for line in shared.journal.read_text().splitlines()]
    order = [word for word in words if word.startswith(("low", "high", "normal"))]
    assert order[:2] == ["high", "normal"]
    assert len(order) == 10


@pytest.mark.parametrize("priority", [3, 255, 2**40, -1])
def test_a_priority_that_there_is_not_harms_nobody(shared: Host, alias: str, priority: int) -> None:
    client = shared.client(shared.spec(alias))
    pid = client.one(do("pid"))
    with pytest.raises(InvalidInput):
        client.one(1, priority=priority)
    assert client.one(do("pid")) == pid


# Who has given up.


def test_a_client_process_that_is_gone_costs_no_run(shared: Host, alias: str) -> None:
    client = shared.client(shared.spec(alias))
    gate = Gate(shared, client, alias)
    process = subprocess.Popen(
        [sys.executable, "-c", GONE, str(shared.folder.path), alias, str(shared.journal)],
    )
    eventually(lambda: len(psutil.Process(process.pid).net_connections("unix")) > 0)
    time.sleep(0.5)
    process.send_signal(signal.SIGKILL)
    process.wait()
    gate.open()
    assert client.one("next") == "next"
    assert shared.notes("gone") == []
    assert counts_of(shared, alias).abandoned == 1


GONE = """
import sys, time
from django_inference.specs import HostSettings
from tests.hosts import Client, Host, do
host = Host()
host.journal = sys.argv[3]
settings = HostSettings(runtime_dir=sys.argv[1], autostart=False)
Client(settings, host.spec(sys.argv[2]), 0.0).one(do("note", "gone"))
"""


def test_a_call_whose_deadline_has_passed_is_not_run(shared: Host, alias: str) -> None:
    client = shared.client(shared.spec(alias))
    gate = Gate(shared, client, alias)
    with pytest.raises(PredictionTimeout):
        client.one(do("note", "late"), timeout=0.2)
    gate.open()
    assert client.one("next") == "next"
    assert shared.notes("late") == []
    counts = counts_of(shared, alias)
    assert (counts.expired, counts.abandoned) == (1, 0)


async def test_a_call_that_was_cancelled_is_not_run(shared: Host, alias: str) -> None:
    client = shared.client(shared.spec(alias))
    gate = await asyncio.to_thread(Gate, shared, client, alias)
    tasks = [asyncio.create_task(client.aone(do("note", f"task{index}"))) for index in range(6)]
    await asyncio.sleep(0.3)
    for task in tasks[::2]:
        task.cancel()
    await asyncio.sleep(0.1)
    await asyncio.to_thread(gate.open)
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert outcomes[1::2] == ["task1", "task3", "task5"]
    assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes[::2])
    assert [len(shared.notes(f"task{index}")) for index in range(6)] == [0, 1] * 3
    assert (await asyncio.to_thread(counts_of, shared, alias)).abandoned == 3


# Size.


@pytest.mark.parametrize("size", [2_000, 60_000, 100_000, 3_000_000])
def test_a_longer_input_than_allowed_is_refused(shared: Host, alias: str, size: int) -> None:
    rules = Supervision(max_request_bytes=1_000)
    client = shared.client(shared.spec(alias, supervision=rules))
    pid = client.one(do("pid"))
    for item in (bytes(size), {"x": np.zeros(size, np.uint8)}, "x" * size, [1.5] * (size // 8)):
        with pytest.raises(InvalidInput, match="more than the 1000 bytes"):
            client.one(item)
    assert client.one("short") == "short"
    assert client.one(do("pid")) == pid


def test_a_longer_input_is_refused_by_the_worker_too(shared: Host, alias: str) -> None:
    # A client of other settings believes that more is allowed.
    allowed, believed = (Supervision(max_request_bytes=size) for size in (1_000, 1 << 30))
    client = shared.client(shared.spec(alias, supervision=allowed), declared_at=200.0)
    pid = client.one(do("pid"))
    other = shared.client(shared.spec(alias, supervision=believed), declared_at=100.0)
    for item in (bytes(2_000), bytes(100_000), np.zeros(100_000)):
        with pytest.raises(InvalidInput, match="the input cannot be read: .*1000 bytes"):
            other.one(item)
    assert other.one("short") == "short"
    assert client.one(do("pid")) == pid


@pytest.mark.parametrize("size", [2_000, 60_000, 100_000, 3_000_000])
def test_a_longer_result_than_allowed_is_an_error_of_the_model(
    shared: Host, alias: str, size: int
) -> None:
    rules = Supervision(max_response_bytes=1_000)
    client = shared.client(shared.spec(alias, supervision=rules))
    pid = client.one(do("pid"))
    with pytest.raises(PredictionFailed, match="the result cannot be sent.*1000 bytes"):
        client.one(do("bytes", size))
    # An error is told however little may be answered.
    with pytest.raises(PredictionFailed, match="xxxxx"):
        client.one(do("raise at length", 3_000))
    assert client.one(do("bytes", 500)) == bytes(500)
    assert client.one(do("pid")) == pid


# A run that does not end.


def test_a_hung_worker_is_replaced_while_another_serves(
    shared: Host, alias: str, tmp_path: Path
) -> None:
    never = str(tmp_path / "never")
    spec = shared.spec(alias, supervision=Supervision(replicas=2, run_timeout=1.0))
    client = shared.client(spec)
    eventually(lambda: len(shared.declare(spec).sockets) == 2)
    first = set(shared.notes("loaded"))
    impatient = Later(client, do("hang unless", never), timeout=0.5)
    time.sleep(0.2)
    with Crowd(client, do("pid"), threads=2) as crowd:
        began = time.monotonic()
        eventually(lambda: len(shared.notes("loaded")) == 3)
        assert time.monotonic() - began < 10
    # They were answered all the time, by the other worker at first.
    assert crowd.errors == []
    assert crowd.answers[0] in first
    assert isinstance(impatient.result(), PredictionTimeout)
    status = shared.wait_status(
        lambda status: all(r.state is State.READY for r in status.replicas), alias
    )
    assert sorted(replica.restarts for replica in status.replicas) == [0, 1]
    assert "run took longer than run_timeout=1 s" in shared.log()
    # Whoever has hung it twice is told so; nobody else is.
    with pytest.raises(ModelCrashed):
        client.one(do("hang unless", never))
    assert client.one(do("pid")) in {*shared.notes("loaded")}


def test_a_long_run_within_the_limit_is_left_alone(shared: Host, alias: str) -> None:
    client = shared.client(shared.spec(alias, supervision=Supervision(run_timeout=3.0)))
    pid = client.one(do("pid"))
    # Many runs in a row take longer together.
    for _ in range(5):
        assert client.one(do("sleep", 0.7)) == pid
    assert len(shared.notes("loaded")) == 1


# Thousands of awaits.


async def test_two_thousand_awaits_share_a_few_connections(shared: Host, alias: str) -> None:
    client = shared.client(shared.spec(alias))
    await client.aone(1)
    status = shared.status(alias)
    assert status
    ours, worker = psutil.Process(), psutil.Process(status.pid)
    before = ours.num_fds(), worker.num_fds()
    threads = ours.num_threads()
    most = [0, 0, 0]

    async def look() -> None:
        while True:
            now = ours.num_fds(), worker.num_fds(), ours.num_threads()
            most[:] = map(max, most, now)
            await asyncio.sleep(0.02)

    looking = asyncio.create_task(look())
    answers = await asyncio.gather(*(client.aone(index) for index in range(2_000)))
    looking.cancel()
    assert answers == list(range(2_000))
    # A connection is a socket and an arena, which its map holds a second time.
    assert most[0] - before[0] <= 3 * 64 + 10
    assert most[1] - before[1] <= 3 * 64 + 10
    assert most[0] > before[0]
    assert most[2] - threads <= 5


async def test_an_urgent_await_overtakes_hundreds_that_wait_for_a_turn(
    shared: Host, alias: str
) -> None:
    client = shared.client(shared.spec(alias, options=EngineOptions(max_batch_size=1)))
    await client.aone(1)
    done: list[Any] = []

    async def call(name: Any, priority: int) -> None:
        await client.aone(do("sleep", 0.002), priority=priority)
        done.append(name)

    low = [asyncio.create_task(call(index, LOW)) for index in range(400)]
    await asyncio.sleep(0.1)
    await call("high", HIGH)
    assert len(done) < 200
    await asyncio.gather(*low)
    assert len(done) == 401


async def test_turns_are_given_back_by_who_gives_up(shared: Host, alias: str) -> None:
    client = shared.client(shared.spec(alias))
    await client.aone(1)
    for _ in range(3):
        tasks = [asyncio.create_task(client.aone(do("sleep", 0.01))) for _ in range(300)]
        await asyncio.sleep(0.05)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with pytest.raises(PredictionTimeout):
            await asyncio.gather(*(client.aone(do("sleep", 0.05), 0.2) for _ in range(300)))
    assert await asyncio.gather(*(client.aone(index) for index in range(300))) == list(range(300))
    assert os.getpid()
