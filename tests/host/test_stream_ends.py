"""How a stream ends before its last chunk: by its caller, by its worker, by a reload."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import psutil
import pytest

from django_inference.exceptions import ModelCrashed
from django_inference.host.protocol import Reload, Unload
from django_inference.specs import State, Statistics, Supervision
from tests.host.crowd import Crowd
from tests.host.test_fork import run
from tests.hosts import Client, Host, do, eventually


@pytest.fixture
def client(shared: Host, alias: str) -> Client:
    return shared.client(shared.spec(alias))


def counts_of(host: Host, alias: str) -> Statistics:
    status = host.status(alias)
    assert status
    return status.replicas[0].statistics


def closed(host: Host, count: int = 1) -> Any:
    return eventually(lambda: len(host.notes("closed")) == count)


def costs_nothing_more(host: Host, alias: str) -> None:
    """Nothing is open, and nothing is run."""
    before = eventually(lambda: (counts := counts_of(host, alias)).streams == 0 and counts)
    time.sleep(0.2)
    assert counts_of(host, alias) == before


# By its caller.


def test_a_loop_that_is_left_ends_the_generation(shared: Host, client: Client, alias: str) -> None:
    for number in client.chunks(None):
        if number == 5:
            break
    closed(shared)
    costs_nothing_more(shared, alias)
    assert counts_of(shared, alias).requests == 6
    assert client.one("hello") == "hello"


def test_a_generator_that_is_closed_ends_the_generation(shared: Host, client: Client) -> None:
    chunks = client.chunks(None)
    next(chunks)
    chunks.close()
    assert list(chunks) == []
    closed(shared)


def test_a_generator_that_nobody_holds_ends_the_generation(shared: Host, client: Client) -> None:
    circle: dict[str, Any] = {"chunks": client.chunks(None)}
    circle["itself"] = circle
    next(circle["chunks"])
    del circle
    gc.collect()
    closed(shared)


async def test_an_asynchronous_generator_that_is_closed(shared: Host, client: Client) -> None:
    chunks = client.achunks(None)
    await anext(chunks)
    await chunks.aclose()
    await asyncio.to_thread(closed, shared)


async def test_a_task_that_is_cancelled_while_it_waits_for_a_chunk(
    shared: Host, client: Client, alias: str
) -> None:
    async def read() -> None:
        async for _ in client.achunks([1, do("sleep", 0.5), 2, 3]):
            pass

    await client.aone(1)
    task = asyncio.create_task(read())
    await asyncio.sleep(0.2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.to_thread(closed, shared)
    await asyncio.to_thread(costs_nothing_more, shared, alias)
    assert await client.aone(1) == 1


async def test_tasks_that_are_cancelled_give_their_turns_back(
    shared: Host, client: Client, alias: str
) -> None:
    await client.aone(1)
    for _ in range(3):
        reading = [asyncio.create_task(forever(client)) for _ in range(80)]
        await asyncio.sleep(0.3)
        for task in reading:
            task.cancel()
        await asyncio.gather(*reading, return_exceptions=True)
    assert await client.aone(1) == 1
    chunks = client.achunks([1, 2], timeout=5)
    assert [chunk async for chunk in chunks] == [1, 2]
    await asyncio.to_thread(costs_nothing_more, shared, alias)


async def forever(client: Client) -> None:
    async for _ in client.achunks(None):
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("is_waiting", [True, False])
def test_a_reader_process_that_is_killed(
    shared: Host, client: Client, alias: str, is_waiting: bool
) -> None:
    client.one(1)
    things = [1, do("sleep", 1.0), 2] if is_waiting else [1, 2]
    program = f"""
import sys, time
from django_inference.specs import HostSettings
from tests.hosts import Client, Host
host = Host()
host.journal = sys.argv[3]
settings = HostSettings(runtime_dir=sys.argv[1], autostart=False)
chunks = Client(settings, host.spec(sys.argv[2]), 0.0).chunks({things})
next(chunks)
print("read", flush=True)
{"next(chunks)" if is_waiting else "time.sleep(60)"}
"""
    reader = subprocess.Popen(
        [sys.executable, "-c", program, str(shared.folder.path), alias, str(shared.journal)],
        stdout=subprocess.PIPE,
    )
    with reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == b"read\n"
        time.sleep(0.2)
        assert counts_of(shared, alias).streams == 1
        reader.kill()
    closed(shared)
    costs_nothing_more(shared, alias)


# By its worker.


def test_a_worker_that_is_killed_between_two_chunks_cuts_the_stream(
    shared: Host, client: Client, alias: str
) -> None:
    pid = client.one(do("pid"))
    chunks = client.chunks(None)
    assert [next(chunks), next(chunks)] == [0, 1]
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(ModelCrashed) as caught:
        next(chunks)
    assert str(caught.value) == (
        f"Predictor {alias!r}: the stream was cut: the process that made it has ended."
    )
    assert list(chunks) == []
    # Calls, and new streams, never notice.
    assert list(client.chunks([1, 2])) == [1, 2]
    assert client.one(do("pid")) != pid


async def test_a_worker_that_is_killed_in_a_chunk_cuts_all_its_streams(
    shared: Host, client: Client, alias: str
) -> None:
    pid = await client.aone(do("pid"))

    async def read() -> list[Any]:
        return [chunk async for chunk in client.achunks([1, *[do("sleep", 0.05)] * 200])]

    reading = [asyncio.create_task(read()) for _ in range(5)]
    await asyncio.sleep(0.4)
    os.kill(pid, signal.SIGKILL)
    outcomes = await asyncio.gather(*reading, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [ModelCrashed] * 5
    assert await client.aone(1) == 1
    assert [chunk async for chunk in client.achunks([1])] == [1]


def test_a_chunk_that_kills_its_worker_cuts_the_stream_and_no_call(
    shared: Host, client: Client
) -> None:
    client.one(1)
    with Crowd(client, do("pid")) as crowd:
        chunks = client.chunks([1, do("exit"), 2])
        assert next(chunks) == 1
        with pytest.raises(ModelCrashed, match="the stream was cut"):
            next(chunks)
        eventually(lambda: len(set(crowd.answers)) == 2)
    assert crowd.errors == []
    # Once is not twice: the item is not refused.
    assert next(client.chunks([1, do("exit")])) == 1


def test_a_stream_is_opened_again_where_no_chunk_was_there_yet(
    shared: Host, client: Client, alias: str
) -> None:
    gate = str(shared.home / f"gate-{alias}")
    first = client.one(do("pid"))
    outcome: list[Any] = []
    reader = threading.Thread(
        target=lambda: outcome.extend(client.chunks([do("wait", gate), do("pid")]))
    )
    reader.start()
    eventually(lambda: shared.notes("opened"))
    os.kill(first, signal.SIGKILL)
    eventually(lambda: len(shared.notes("opened")) == 2)
    (shared.home / f"gate-{alias}").touch()
    reader.join()
    (pid,) = set(outcome)
    assert pid != first


def test_an_item_whose_first_chunk_kills_twice_is_given_up_and_refused(
    shared: Host, client: Client
) -> None:
    with pytest.raises(ModelCrashed, match="died twice while it ran this input"):
        list(client.chunks([do("exit")]))
    eventually(lambda: is_refused(client))
    assert len(shared.notes("opened")) == 2
    assert list(client.chunks([1])) == [1]


def is_refused(client: Client) -> bool:
    try:
        list(client.chunks([do("exit")]))
    except ModelCrashed as error:
        return "is not run for a while" in error.message
    return False


def test_a_chunk_that_hangs_is_ended_with_its_worker(shared: Host, alias: str) -> None:
    client = shared.client(shared.spec(alias, supervision=Supervision(run_timeout=1.0)))
    chunks = client.chunks([1, do("hang unless", "/no/such/file"), 2])
    assert next(chunks) == 1
    with pytest.raises(ModelCrashed, match="the stream was cut"):
        next(chunks)
    assert client.one(1) == 1
    assert "run took longer than run_timeout=1 s" in shared.log()


def test_streams_that_last_are_no_hang(shared: Host, alias: str) -> None:
    client = shared.client(shared.spec(alias, supervision=Supervision(run_timeout=1.0)))
    chunks = client.chunks([do("sleep", 0.4)] * 4)
    pids = [next(chunks) for _ in range(3)]
    time.sleep(1.2)
    pids += chunks
    assert len(pids) == 4
    assert len(set(pids)) == 1
    assert len(shared.notes("loaded")) == 1


# By a new version, an unload, the end of the host.


def test_a_stream_goes_on_through_a_reload(shared: Host, client: Client, alias: str) -> None:
    chunks = client.chunks([do("pid") for _ in range(6)])
    old = next(chunks)
    shared.ask(Reload(alias))
    eventually(lambda: client.one(do("pid")) != old)
    new = client.one(do("pid"))
    assert list(client.chunks([do("pid")])) == [new]
    # Ready, and no longer in charge: it stays for the stream alone.
    time.sleep(0.3)
    assert [next(chunks) for _ in range(4)] == [old] * 4
    assert psutil.pid_exists(old)
    assert list(chunks) == [old]
    eventually(lambda: not psutil.pid_exists(old))
    assert shared.notes("close") == [old]


def test_a_stream_that_is_left_lets_the_old_version_go(
    shared: Host, client: Client, alias: str
) -> None:
    chunks = client.chunks(None)
    next(chunks)
    pid = client.one(do("pid"))
    shared.ask(Reload(alias))
    eventually(lambda: client.one(do("pid")) != pid)
    assert psutil.pid_exists(pid)
    chunks.close()
    eventually(lambda: not psutil.pid_exists(pid))
    assert shared.notes("closed") == shared.notes("close") == [pid]


def test_crowds_of_streams_through_reloads(shared: Host, client: Client, alias: str) -> None:
    client.one(1)
    errors: list[Exception] = []
    is_over = threading.Event()

    def read() -> None:
        while not is_over.is_set():
            try:
                assert list(client.chunks(list(range(50)))) == list(range(50))
            except Exception as error:
                errors.append(error)

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    for _ in range(2):
        pid = client.one(do("pid"))
        shared.ask(Reload(alias))
        eventually(lambda: client.one(do("pid")) != pid)  # noqa: B023
        time.sleep(0.2)
    is_over.set()
    for reader in readers:
        reader.join()
    assert errors == []


def test_a_stream_that_outlasts_its_grace_is_cut(new_host: Callable[..., Host]) -> None:
    host = new_host(graceful_timeout=0.5)
    client = host.client()
    chunks = client.chunks(None)
    next(chunks)
    began = time.monotonic()
    host.ask(Unload("model"))
    with contextlib.suppress(ModelCrashed):
        while True:
            next(chunks)
            time.sleep(0.05)
            assert time.monotonic() - began < 10
    assert time.monotonic() - began > 0.4


def test_a_host_that_stops_lets_streams_end(host: Host) -> None:
    client = host.client()
    chunks = client.chunks([do("sleep", 0.1)] * 10)
    next(chunks)
    stopping = threading.Thread(target=host.stop)
    stopping.start()
    assert len(list(chunks)) == 9
    stopping.join()


def test_a_model_with_an_open_stream_is_not_idle(shared: Host, alias: str) -> None:
    client = shared.client(shared.spec(alias, supervision=Supervision(idle_unload=0.5)))
    chunks = client.chunks(None)
    next(chunks)
    time.sleep(1.5)
    status = shared.status(alias)
    assert status is not None
    assert status.state is State.READY
    assert next(chunks) == 1
    chunks.close()
    shared.wait_status(lambda status: status.state is State.UNLOADED, alias)


# By a fork.


def test_a_stream_belongs_to_the_process_that_opened_it(module_host: Host) -> None:
    run(
        module_host,
        """
        import asyncio
        from django_inference.exceptions import ModelCrashed

        chunks = client.chunks(None)
        assert next(chunks) == 0
        reader, writer = os.pipe()

        def child():
            global chunks
            try:
                next(chunks)
            except ModelCrashed as error:
                assert "belongs to the process" in error.message, error
            else:
                raise AssertionError
            assert list(client.chunks([1, 2])) == [1, 2]
            predict(client, "child")

        ended_well(fork(child))
        assert [next(chunks) for _ in range(3)] == [1, 2, 3]

        # A child that never looks at it keeps it from nothing.
        silent = fork(lambda: os.read(reader, 1))
        chunks.close()
        journal = spec.runtime_options["journal"]
        until = time.monotonic() + 30
        while open(journal).read().count("closed") < 2:
            assert time.monotonic() < until, "it stays open"
            time.sleep(0.01)
        os.write(writer, b"!")
        ended_well(silent)
        predict(client, "parent")
        """,
    )


def test_a_stream_is_of_no_use_to_others_when_it_is_dropped_in_a_child(module_host: Host) -> None:
    run(
        module_host,
        """
        chunks = client.chunks(None)
        next(chunks)

        def child():
            global chunks
            chunks.close()
            del chunks
            gc.collect()
            predict(client, "child")

        ended_well(fork(child))
        assert [next(chunks) for _ in range(3)] == [1, 2, 3]
        chunks.close()
        """,
    )
