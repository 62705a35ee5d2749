"""Streams of a predictor, on the backends that need no host."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Iterator
from typing import Any, cast

import pytest

from django_inference.backends.base import BaseBackend
from django_inference.backends.dummy import Call, DummyBackend
from django_inference.exceptions import (
    InvalidInput,
    ModelCrashed,
    ModelLoadFailed,
    ModelNotReady,
    PredictionFailed,
    PredictionTimeout,
)
from tests.backends.conftest import DUMMY, Declare
from tests.hosts import eventually


class Counting:
    """A `stream` that counts for ever, and what became of it."""

    def __init__(self) -> None:
        self.made = 0
        self.closed_by: list[int] = []

    def __call__(self, item: Any) -> Iterator[int]:
        try:
            while True:
                self.made += 1
                yield self.made
        finally:
            self.closed_by.append(threading.get_ident())


def words(item: str) -> Iterator[str]:
    yield from item.split()


# In this process.


async def test_chunks_come_as_the_model_makes_them(declare: Declare) -> None:
    predictor = declare(hooks={"stream": words})
    assert list(predictor.stream("to be or")) == ["to", "be", "or"]
    assert [word async for word in predictor.astream("not to be")] == ["not", "to", "be"]
    assert predictor.predict_one("whole") == "whole"


async def test_nothing_is_loaded_before_the_first_chunk_is_asked_for(declare: Declare) -> None:
    counting = Counting()
    predictor = declare(hooks={"stream": counting})
    chunks, others = predictor.stream(1), predictor.astream(1)
    assert predictor.status().replicas == ()
    assert (next(chunks), await anext(others), next(chunks)) == (1, 2, 3)
    assert predictor.status().replicas[0].statistics.streams == 2


async def test_who_wants_no_more_ends_the_generation(declare: Declare) -> None:
    counting = Counting()
    predictor = declare(hooks={"stream": counting})
    for number in predictor.stream(1):
        if number == 3:
            break
    eventually(lambda: len(counting.closed_by) == 1)
    chunks = predictor.astream(1)
    async for number in chunks:
        if number == 6:
            break
    await chunks.aclose()
    eventually(lambda: len(counting.closed_by) == 2)
    assert counting.made == 6
    # A generator belongs to the thread that runs the model, as the model does.
    (ident,) = set(counting.closed_by)
    assert ident != threading.get_ident()
    assert predictor.status().replicas[0].statistics.streams == 0


async def test_a_task_that_is_cancelled_ends_the_generation(declare: Declare) -> None:
    began, closed = threading.Event(), threading.Event()

    def stream(item: Any) -> Iterator[int]:
        try:
            yield 1
            began.set()
            time.sleep(0.2)
            yield 2
        finally:
            closed.set()

    predictor = declare(hooks={"stream": stream})

    async def read() -> None:
        async for _ in predictor.astream(1):
            pass

    task = asyncio.create_task(read())
    assert await asyncio.to_thread(began.wait, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(closed.wait, 10)


def test_the_timeout_is_for_each_chunk(declare: Declare) -> None:
    def stream(item: list[float]) -> Iterator[float]:
        for seconds in item:
            time.sleep(seconds)
            yield seconds

    predictor = declare(hooks={"stream": stream})
    assert list(predictor.stream([0.1] * 5, timeout=0.4)) == [0.1] * 5
    chunks = predictor.stream([0, 1.0], timeout=0.2)
    assert next(chunks) == 0
    with pytest.raises(PredictionTimeout):
        next(chunks)
    assert list(chunks) == []
    eventually(lambda: predictor.status().replicas[0].statistics.streams == 0)


def test_a_model_that_is_still_being_loaded(declare: Declare) -> None:
    predictor = declare(hooks={"stream": words, "load": lambda artifact: time.sleep(0.5)})
    with pytest.raises(ModelNotReady):
        next(predictor.stream("late", timeout=0.05))
    assert list(predictor.stream("in time", timeout=10)) == ["in", "time"]


def test_a_model_that_cannot_be_loaded(declare: Declare) -> None:
    def load(artifact: Any) -> None:
        raise RuntimeError("no such layer")

    predictor = declare(hooks={"stream": words, "load": load})
    with pytest.raises(ModelLoadFailed, match="no such layer"):
        next(predictor.stream("a"))


def test_an_error_is_told_in_its_place(declare: Declare) -> None:
    def stream(item: Any) -> Iterator[int]:
        yield 1
        raise ValueError("no more words")

    predictor = declare(hooks={"stream": stream})
    chunks = predictor.stream(1)
    assert next(chunks) == 1
    with pytest.raises(PredictionFailed, match="no more words"):
        next(chunks)
    with pytest.raises(InvalidInput, match="Arrays does not stream"):
        next(declare(RUNTIME="tests.sample_runtimes.Arrays").stream(1))


def test_a_priority_that_there_is_not(declare: Declare) -> None:
    predictor = declare(hooks={"stream": words})
    with pytest.raises(InvalidInput, match="priority is one of high, normal, low"):
        predictor.stream("a", priority="urgent")  # type: ignore[arg-type]
    assert list(predictor.stream("a b", priority="high")) == ["a", "b"]


@pytest.mark.parametrize("how", ["reload", "unload"])
def test_a_stream_goes_on_when_its_model_is_replaced(declare: Declare, how: str) -> None:
    closed: list[str] = []
    counting = Counting()
    predictor = declare(hooks={"stream": counting, "close": lambda: closed.append("model")})
    chunks = predictor.stream(1)
    assert next(chunks) == 1
    getattr(predictor, how)()
    if how == "reload":
        first = predictor.backend
        eventually(lambda: predictor.status().replicas[0].statistics.streams == 0)
        assert predictor.backend is first
    assert [next(chunks) for _ in range(3)] == [2, 3, 4]
    assert closed == []
    chunks.close()
    eventually(lambda: closed == ["model"])
    assert len(counting.closed_by) == 1


def test_threads_read_streams_of_their_own(declare: Declare) -> None:
    predictor = declare(hooks={"stream": words})
    outcomes: dict[int, list[str]] = {}

    def read(number: int) -> None:
        outcomes[number] = list(predictor.stream(f"{number} " * 50))

    threads = [threading.Thread(target=read, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes == {number: [str(number)] * 50 for number in range(20)}


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_stream_belongs_to_the_process_that_opened_it(declare: Declare) -> None:
    predictor = declare(hooks={"stream": Counting()})
    chunks = predictor.stream(1)
    assert next(chunks) == 1
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            next(chunks)
        except ModelCrashed as error:
            status = 0 if "belongs to the process" in error.message else 2
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0
    assert next(chunks) == 2


# Nowhere.


def dummy(predictor: Any) -> DummyBackend:
    return cast(DummyBackend, predictor.backend)


@pytest.mark.parametrize("result", [["a", "b"], ("a", "b"), lambda item: iter("ab")])
async def test_a_dummy_yields_the_elements(declare: Declare, result: Any) -> None:
    predictor = declare(BACKEND=DUMMY)
    dummy(predictor).returns(result)
    assert list(predictor.stream("x")) == ["a", "b"]
    if not callable(result):
        assert [chunk async for chunk in predictor.astream("y")] == ["a", "b"]
        assert dummy(predictor).calls == [Call("stream", "x"), Call("stream", "y")]


@pytest.mark.parametrize("result", ["ab", None, 5, {"a": 1}])
def test_a_dummy_yields_anything_else_as_one_chunk(declare: Declare, result: Any) -> None:
    predictor = declare(BACKEND=DUMMY, OPTIONS={"result": result})
    assert list(predictor.stream("x")) == [result]


def test_a_dummy_raises_where_it_is_told_to(declare: Declare) -> None:
    predictor = declare(BACKEND=DUMMY)
    dummy(predictor).returns(ModelNotReady("is not ready."))
    with pytest.raises(ModelNotReady):
        next(predictor.stream("x"))
    dummy(predictor).returns(["a", PredictionFailed("no more")])
    chunks = predictor.stream("x")
    assert next(chunks) == "a"
    with pytest.raises(PredictionFailed):
        next(chunks)


def test_a_dummy_closes_a_generator(declare: Declare) -> None:
    counting = Counting()
    predictor = declare(BACKEND=DUMMY)
    dummy(predictor).returns(counting)
    chunks = predictor.stream("x")
    assert next(chunks) == 1
    chunks.close()
    assert counting.closed_by


def test_a_backend_that_cannot_stream_says_so_at_once(declare: Declare) -> None:
    backend = declare(BACKEND=DUMMY).backend
    with pytest.raises(InvalidInput) as caught:
        BaseBackend.chunks(backend, "x")
    assert str(caught.value) == "Predictor 'default': DummyBackend does not stream."
