"""Servers that are killed while they are called: two of one model, of different makers."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from django_inference import InferenceError, InvalidInput, PredictionTimeout, RemoteError
from django_inference.handle import Predictor
from django_inference.specs import State
from tests.backends.remote.conftest import Remote
from tests.hosts import PATIENCE, eventually
from tests.peers.running import MLServer, Triton

pytestmark = pytest.mark.servers

#: Seconds between two calls.
PAUSE = 0.02
X = np.arange(64, dtype=np.float32).reshape(1, 64)


class Load:
    """Threads and tasks that call again and again, with a pause that lets a server start.

    Attributes:
        answered: calls that were answered rightly.
        failures: the others.
        slowest: seconds that the slowest call took.
    """

    def __init__(self, predictor: Predictor, threads: int = 2, tasks: int = 2) -> None:
        self.answered = 0
        self.failures: list[Exception] = []
        self.slowest = 0.0
        self._predictor = predictor
        self._tasks = tasks
        self._ended = threading.Event()
        targets = [self._call] * threads + [lambda: asyncio.run(self._gather())]
        self._threads = [threading.Thread(target=target) for target in targets]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(PATIENCE)

    def more(self, count: int) -> None:
        """Wait for so many more answers."""
        until = self.answered + len(self.failures) + count
        eventually(lambda: self.answered + len(self.failures) >= until)

    def _note(self, began: float, answer: Any) -> None:
        self.slowest = max(self.slowest, time.monotonic() - began)
        if isinstance(answer, Exception) or not np.array_equal(answer["y"], X * 2):
            self.failures.append(answer)
        else:
            self.answered += 1

    def _call(self) -> None:
        while not self._ended.is_set():
            time.sleep(PAUSE)
            began = time.monotonic()
            try:
                answer = self._predictor.predict(X, timeout=PATIENCE)
            except Exception as error:
                answer = error
            self._note(began, answer)

    async def _acall(self) -> None:
        while not self._ended.is_set():
            await asyncio.sleep(PAUSE)
            began = time.monotonic()
            try:
                answer = await self._predictor.apredict(X, timeout=PATIENCE)
            except Exception as error:
                answer = error
            self._note(began, answer)

    async def _gather(self) -> None:
        await asyncio.gather(*(self._acall() for _ in range(self._tasks)))


WIRES = ("rest", "grpc")


def test_a_killed_server_fails_no_call_and_is_used_again_when_it_is_back(
    triton: Triton, mlserver: MLServer, remote: Remote
) -> None:
    far = [
        remote(
            *(getattr(mlserver, wire), getattr(triton, wire)),
            alias=wire,
            health_interval=0.2,
            breaker_seconds=0.5,
        )
        for wire in WIRES
    ]

    def requests(place: int) -> int:
        return min(predictor.status().endpoints[place].requests for predictor in far)

    with Load(far[0]) as by_rest, Load(far[1]) as by_grpc:
        eventually(lambda: min(requests(0), requests(1)) > 20)
        mlserver.kill()
        for load in (by_rest, by_grpc):
            load.more(50)
        for predictor in far:
            lost = predictor.status().endpoints[0]
            assert lost.failures > 0
            assert lost.healthy is False
        mlserver.start()
        before = [predictor.status().endpoints[0].requests for predictor in far]
        eventually(
            lambda: all(
                predictor.status().endpoints[0].requests > was + 20
                for predictor, was in zip(far, before, strict=True)
            )
        )
    for predictor, load in zip(far, (by_rest, by_grpc), strict=True):
        assert load.failures == []
        assert load.answered > 50
        assert predictor.status().endpoints[0].circuit == "closed"


async def test_when_all_are_down_a_call_ends_in_time_and_the_circuit_opens(
    mlserver: MLServer, remote: Remote
) -> None:
    far = [
        remote(getattr(mlserver, wire), alias=wire, health_interval=0.2, breaker_seconds=60.0)
        for wire in WIRES
    ]
    for predictor in far:
        predictor.predict(X)
    mlserver.kill()
    for predictor in far:
        with pytest.raises(RemoteError, match="does not answer|circuit is open"):
            predictor.predict(X, timeout=PATIENCE)
        eventually(lambda: _refused(predictor))  # noqa: B023
        endpoint = predictor.status().endpoints[0]
        assert endpoint.circuit == "open"
        with pytest.raises(RemoteError, match="circuit is open") as raised:
            await predictor.apredict(X)
        assert raised.value.retry_after is not None
        # Nobody was asked.
        assert predictor.status().endpoints[0].requests == endpoint.requests
        assert predictor.status().state is State.FAILED
    mlserver.start()
    for predictor in far:
        # Its health is asked after, long before the circuit would be tried by itself.
        eventually(lambda: not _refused(predictor))  # noqa: B023
        assert predictor.status().endpoints[0].circuit == "closed"
        eventually(lambda: predictor.status().state is State.READY)  # noqa: B023


def _refused(predictor: Predictor) -> bool:
    try:
        predictor.predict(X)
    except RemoteError as error:
        return "circuit is open" in str(error)
    return False


@pytest.mark.parametrize("wire", ["rest", "grpc"])
async def test_a_server_that_is_too_slow(triton: Triton, remote: Remote, wire: str) -> None:
    predictor = remote(getattr(triton, wire))
    predictor.predict(X)
    # It answers after half a second.
    slow = X * 0 + 1500
    for timeout in (0.1, 0.2):
        with pytest.raises(PredictionTimeout):
            predictor.predict(slow, timeout=timeout)
        with pytest.raises(PredictionTimeout):
            await predictor.apredict(slow, timeout=timeout)
    # That a caller was in a hurry says nothing against the server.
    assert predictor.status().endpoints[0].circuit == "closed"


def test_an_attempt_that_takes_too_long_is_made_elsewhere(
    triton: Triton, mlserver: MLServer, remote: Remote
) -> None:
    frozen = mlserver.processes()
    predictor = remote(
        mlserver.rest, triton.grpc, attempt_timeout=0.5, health_interval=None, breaker_failures=50
    )
    predictor.predict(X)
    for process in frozen:
        process.suspend()
    try:
        for _ in range(4):
            assert np.array_equal(predictor.predict(X, timeout=PATIENCE)["y"], X * 2)
    finally:
        for process in frozen:
            process.resume()


def test_a_mistake_of_the_caller_is_not_sent_again(
    triton: Triton, mlserver: MLServer, remote: Remote
) -> None:
    predictor = remote(triton.rest, triton.grpc, health_interval=None)
    with pytest.raises(InvalidInput):
        predictor.predict(np.zeros((9, 1), np.float32))
    # What it takes, perhaps what the server can, and the call itself.
    assert sum(endpoint.requests for endpoint in predictor.status().endpoints) == 2


def test_nothing_is_dialled_before_the_first_call(remote: Remote) -> None:
    threads = threading.active_count()
    predictor = remote("http://127.0.0.1:1", "grpc://127.0.0.1:1")
    assert threading.active_count() == threads
    assert "_client" not in vars(predictor.backend)


@pytest.mark.parametrize("wire", ["rest", "grpc"])
def test_a_process_that_has_called_may_fork(triton: Triton, remote: Remote, wire: str) -> None:
    predictor = remote(getattr(triton, wire), health_interval=0.2)
    predictor.predict(X)
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)

    def child(send: Callable[[Any], None]) -> None:
        try:
            answers = [predictor.predict(X, timeout=PATIENCE)["y"].tolist() for _ in range(3)]
            answers.append(asyncio.run(predictor.apredict(X, timeout=PATIENCE))["y"].tolist())
            send(answers)
        except InferenceError as error:
            send(str(error))
        finally:
            os._exit(0)

    process = context.Process(target=child, args=(sender.send,))
    process.start()
    try:
        assert receiver.poll(PATIENCE), "the child hangs"
        assert receiver.recv() == [(X * 2).tolist()] * 4
        # The parent goes on with its own connections.
        assert np.array_equal(predictor.predict(X)["y"], X * 2)
    finally:
        process.kill()
        process.join(PATIENCE)
