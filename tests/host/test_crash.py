"""Inputs that kill the worker, workers that are killed, and results that cannot be sent."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Any

import numpy as np
import pytest

from django_inference.exceptions import (
    InvalidInput,
    ModelCrashed,
    PredictionFailed,
)
from tests.hosts import Client, Host, do, eventually


@pytest.fixture(scope="module")
def client(module_host: Host) -> Client:
    client = module_host.client()
    client.one(1)
    return client


def status_pid(host: Host) -> int:
    status = host.status()
    assert status
    return status.pid


@pytest.mark.parametrize("when", ["exit early", "exit", "exit late"])
def test_an_input_that_kills_the_worker_twice_is_given_up(
    client: Client, module_host: Host, when: str
) -> None:
    before = len(module_host.notes("loaded"))
    with pytest.raises(ModelCrashed) as caught:
        client.one(do(when))
    assert str(caught.value) == (
        "Predictor 'model': its process died twice while it ran this input."
    )
    assert client.one("hello") == "hello"
    assert len(module_host.notes("loaded")) == before + 2


def test_an_item_that_kills_the_worker_costs_its_request_only(client: Client) -> None:
    with pytest.raises(ModelCrashed):
        client.ask([1, 2, do("exit"), 4])
    assert client.ask([1, 2, 4]) == [1, 2, 4]


@pytest.mark.parametrize("when", ["exit early", "exit"])
def test_callers_beside_the_culprit_never_notice(
    client: Client, module_host: Host, when: str
) -> None:
    gate = module_host.home / f"gate {when}"
    outcomes: dict[Any, Any] = {}

    def call(name: Any, item: Any) -> None:
        try:
            outcomes[name] = client.one(item)
        except Exception as error:
            outcomes[name] = error

    # One call keeps the worker busy, so that all the others share the next batch.
    threads = [threading.Thread(target=call, args=("gate", do("wait", str(gate))))]
    threads += [threading.Thread(target=call, args=(index, index)) for index in range(12)]
    threads.insert(6, threading.Thread(target=call, args=("culprit", do(when))))
    for thread in threads:
        thread.start()
        if thread is threads[0]:
            time.sleep(0.1)
    time.sleep(0.1)
    gate.touch()
    for thread in threads:
        thread.join()
    assert isinstance(outcomes.pop("culprit"), ModelCrashed)
    assert outcomes.pop("gate") in module_host.notes("loaded")
    assert outcomes == {index: index for index in range(12)}


def test_killing_the_worker_under_eight_threads_fails_no_call(
    client: Client, module_host: Host
) -> None:
    errors: list[Exception] = []
    answers: list[int] = []
    is_over = threading.Event()

    def call() -> None:
        while not is_over.is_set():
            try:
                answers.append(client.one(do("pid")))
            except Exception as error:
                errors.append(error)

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for _ in range(2):
        eventually(lambda: len(answers) > 20)
        victim = answers[-1]
        os.kill(victim, signal.SIGKILL)
        eventually(lambda: answers[-1] != victim)  # noqa: B023
        answers.clear()
    eventually(lambda: len(answers) > 20)
    is_over.set()
    for thread in threads:
        thread.join()
    assert errors == []
    assert status_pid(module_host) == answers[-1]


async def test_a_call_that_is_awaited_survives_too(client: Client) -> None:
    pid = await client.aone(do("pid"))
    os.kill(pid, signal.SIGKILL)
    assert await client.aone(do("pid")) != pid
    with pytest.raises(ModelCrashed):
        await client.aone(do("exit"))


# What cannot be sent.


@pytest.mark.parametrize(
    "item",
    [
        object(),
        2**64,
        "\ud800",
        1j,
        np.longdouble(1),
        {"x": [np.zeros(2, dtype=[("a", "i4")])]},
        [1, lambda: None],
    ],
)
def test_an_input_that_cannot_be_sent_is_refused(client: Client, item: Any) -> None:
    with pytest.raises(InvalidInput, match="the input cannot be sent") as caught:
        client.one(item)
    assert caught.value.alias == "model"
    assert client.one(1) == 1


def test_an_array_of_another_library_that_cannot_be_read_is_refused(client: Client) -> None:
    class Tensor:
        def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
            raise RuntimeError("this tensor needs its gradient")

    for _ in range(3):
        with pytest.raises(InvalidInput, match="needs its gradient"):
            client.one(Tensor())
    assert client.one(1) == 1


def test_an_input_that_is_nested_too_deeply_is_refused_at_once(client: Client) -> None:
    for depth in (*range(900, 1001, 10), 100_000):
        nested: Any = 1
        for _ in range(depth):
            nested = [nested]
        try:
            answer = client.one(nested, timeout=10)
        except (InvalidInput, PredictionFailed) as error:
            # Where it can just be sent, the answer may be what is too deep to be read.
            assert "recursion" in error.message or "too deeply" in error.message
        else:
            assert answer == nested
    assert client.one(1) == 1


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("object", "a value of type object cannot be sent"),
        ("deep", "recursion"),
        ("array that raises", "needs its gradient"),
    ],
)
def test_a_result_that_cannot_be_sent_is_an_error_of_the_model(
    client: Client, what: str, words: str
) -> None:
    pid = client.one(do("pid"))
    with pytest.raises(PredictionFailed, match="the result cannot be sent") as caught:
        client.one(do(what))
    assert words in str(caught.value)
    assert client.one(do("pid")) == pid


@pytest.mark.parametrize(
    ("what", "words"),
    [
        (do("raise what cannot be said"), "Unspeakable"),
        (do("raise a name of a file"), "caf?.png"),
        (do("raise at length", 20_000_000), "ValueError: xxx"),
        (do("raise", ""), "ValueError"),
        (do("refuse with an error"), "pixels"),
    ],
)
def test_no_error_of_the_model_harms_the_worker(
    client: Client, what: dict[str, Any], words: str
) -> None:
    pid = client.one(do("pid"))
    # The worker reports one error a second: each of these has to be one.
    time.sleep(1.0 if "length" in what["do"] else 0)
    with pytest.raises((PredictionFailed, InvalidInput)) as caught:
        client.one(what)
    assert words in str(caught.value)
    assert len(str(caught.value)) < 3000
    assert client.one(do("pid")) == pid


@pytest.mark.parametrize("size", [0, 1, 65_000, 65_536, 70_000, 3_000_000])
def test_results_of_any_size_arrive(client: Client, size: int) -> None:
    assert client.one(do("bytes", size)) == bytes(size)
    assert client.one({"do": "shape", "of": np.zeros((size, 3), np.uint8)}) == [size, 3]
