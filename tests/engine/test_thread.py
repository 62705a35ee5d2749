from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from django_inference.engine.lifecycle import Backoff
from django_inference.engine.thread import ModelThread
from django_inference.exceptions import (
    ModelLoadFailed,
    ModelNotReady,
    PredictionFailed,
    PredictionTimeout,
)
from django_inference.specs import NORMAL, EngineOptions, State
from tests.engine.engines import FOREVER, recorded, spec
from tests.hosts import eventually

NewThread = Callable[..., ModelThread]


@pytest.fixture
def new_thread() -> Iterator[NewThread]:
    """Makes a `ModelThread` of `sample_runtimes.Items`, closed at the end."""
    made: list[ModelThread] = []

    def make(options: EngineOptions | None = None, **hooks: Any) -> ModelThread:
        made.append(ModelThread(spec("Items", options, **hooks), Backoff()))
        return made[-1]

    yield make
    for model in made:
        model.close()
    eventually(lambda: all(thread.name != "inference-m" for thread in threading.enumerate()))


def put(thread: ModelThread, *items: Any, deadline: float = FOREVER) -> Future[Any]:
    return thread.put(list(items), deadline, NORMAL)


class Gate:
    """Keeps the model busy until it is opened."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.opened = threading.Event()

    def predict(self, items: list[Any]) -> list[Any]:
        if "gate" in items:
            self.entered.set()
            assert self.opened.wait(10)
        return items


def test_the_model_is_made_loaded_run_and_closed_on_one_thread_of_its_own(
    new_thread: NewThread,
) -> None:
    seen: list[tuple[str, int]] = []

    def note(word: str) -> Any:
        seen.append((word, threading.get_ident()))

    thread = new_thread(
        load=lambda artifact: note("load"),
        warmup=lambda: note("warmup"),
        preprocess=lambda item: note("preprocess"),
        predict=lambda items: [note("predict") for item in items],
        postprocess=lambda result: note("postprocess"),
        close=lambda: note("close"),
    )
    put(thread, 1).result(10)
    thread.close()
    eventually(lambda: seen[-1][0] == "close")
    words = ["load", "warmup", "preprocess", "predict", "postprocess", "close"]
    assert [word for word, _ in seen] == words
    (ident,) = {ident for _, ident in seen}
    assert ident != threading.get_ident()


def test_requests_wait_for_the_load(new_thread: NewThread) -> None:
    loading = threading.Event()
    thread = new_thread(load=lambda artifact: loading.wait(10))
    future = put(thread, 1)
    assert thread.state is State.LOADING
    assert not thread.loaded.is_set()
    loading.set()
    assert future.result(10) == [1]
    assert thread.state is State.READY
    assert thread.loaded.is_set()


def test_what_arrives_during_a_run_forms_the_next_batch(new_thread: NewThread) -> None:
    gate = Gate()
    predict, calls = recorded(gate.predict)
    thread = new_thread(predict=predict)
    first = put(thread, "gate")
    assert gate.entered.wait(10)
    others = [put(thread, index) for index in range(20)]
    gate.opened.set()
    assert [future.result(10) for future in others] == [[index] for index in range(20)]
    assert first.result(10) == ["gate"]
    assert [len(call) for call in calls] == [1, 20]


def test_a_request_that_comes_alone_does_not_wait_for_company(new_thread: NewThread) -> None:
    thread = new_thread()
    put(thread, 0).result(10)
    times = []
    for index in range(50):
        began = time.perf_counter()
        put(thread, index).result(10)
        times.append(time.perf_counter() - began)
    assert sorted(times)[10] < 0.01


def test_a_batch_delay_waits_for_company(new_thread: NewThread) -> None:
    predict, calls = recorded(list)
    thread = new_thread(EngineOptions(batching="always", max_batch_delay=0.3), predict=predict)
    thread.loaded.wait(10)
    futures = []
    for index in range(3):
        futures.append(put(thread, index))
        time.sleep(0.01)
    assert [future.result(10) for future in futures] == [[0], [1], [2]]
    assert calls == [[0, 1, 2]]


def test_a_batch_that_is_full_does_not_wait_any_longer(new_thread: NewThread) -> None:
    thread = new_thread(EngineOptions(batching="always", max_batch_delay=30, max_batch_size=4))
    thread.loaded.wait(10)
    began = time.monotonic()
    futures = [put(thread, index) for index in range(4)]
    assert [future.result(10) for future in futures] == [[0], [1], [2], [3]]
    assert time.monotonic() - began < 10


def test_a_failed_load_is_told_to_everyone_who_waits(new_thread: NewThread) -> None:
    go = threading.Event()

    def load(artifact: Any) -> None:
        go.wait(10)
        raise RuntimeError("no such layer\nsecond line")

    thread = new_thread(load=load)
    waiting = [put(thread, index) for index in range(3)]
    go.set()
    for future in waiting:
        error = future.exception(10)
        assert isinstance(error, ModelLoadFailed)
        assert str(error) == (
            "Predictor 'm': the model could not be loaded: RuntimeError: no such layer"
        )
        assert "second line" in error.details
        assert error.retry_after == pytest.approx(1, abs=0.5)
    assert thread.state is State.FAILED
    assert thread.loaded.is_set()
    assert thread.error is not None
    assert thread.error.message == "RuntimeError: no such layer"
    with pytest.raises(ModelLoadFailed):
        put(thread, 1)


def test_leaving_the_interpreter_while_loading_is_a_failed_load(new_thread: NewThread) -> None:
    def load(artifact: Any) -> None:
        raise SystemExit(1)

    thread = new_thread(load=load)
    assert thread.loaded.wait(10)
    assert thread.state is State.FAILED
    with pytest.raises(ModelLoadFailed, match="SystemExit"):
        put(thread, 1)


def test_leaving_the_interpreter_in_a_prediction_keeps_the_model(new_thread: NewThread) -> None:
    def predict(items: list[Any]) -> list[Any]:
        if items == ["bad"]:
            raise SystemExit(1)
        return items

    thread = new_thread(predict=predict)
    assert isinstance(put(thread, "bad").exception(10), PredictionFailed)
    assert put(thread, "good").result(10) == ["good"]


def test_closing_answers_what_was_put_and_takes_no_more(new_thread: NewThread) -> None:
    gate = Gate()
    closed = threading.Event()
    thread = new_thread(predict=gate.predict, close=closed.set)
    futures = [put(thread, "gate")]
    assert gate.entered.wait(10)
    futures += [put(thread, index) for index in range(3)]
    thread.close()
    assert thread.state is State.DRAINING
    with pytest.raises(ModelNotReady) as caught:
        put(thread, "late")
    assert caught.value.retry_after == 1.0
    gate.opened.set()
    assert [future.result(10) for future in futures] == [["gate"], [0], [1], [2]]
    assert closed.wait(10)


def test_closing_while_loading_answers_too(new_thread: NewThread) -> None:
    go = threading.Event()
    closed = threading.Event()
    thread = new_thread(load=lambda artifact: go.wait(10), close=closed.set)
    future = put(thread, 1)
    thread.close()
    go.set()
    assert future.result(10) == [1]
    assert closed.wait(10)


def test_who_has_given_up_is_not_run(new_thread: NewThread) -> None:
    gate = Gate()
    predict, calls = recorded(gate.predict)
    thread = new_thread(predict=predict)
    put(thread, "gate")
    assert gate.entered.wait(10)
    late = put(thread, "late", deadline=time.monotonic() + 0.01)
    time.sleep(0.02)
    gate.opened.set()
    assert isinstance(late.exception(10), PredictionTimeout)
    assert put(thread, "next").result(10) == ["next"]
    assert calls == [["gate"], ["next"]]


def test_a_cancelled_request_disturbs_nobody(new_thread: NewThread) -> None:
    gate = Gate()
    thread = new_thread(predict=gate.predict)
    put(thread, "gate")
    assert gate.entered.wait(10)
    cancelled, kept = put(thread, 1), put(thread, 2)
    assert cancelled.cancel()
    gate.opened.set()
    assert kept.result(10) == [2]


def test_the_models_last_error_is_kept(new_thread: NewThread) -> None:
    def predict(items: list[Any]) -> list[Any]:
        raise ValueError(f"cannot predict {items[0]}")

    thread = new_thread(predict=predict)
    put(thread, 1).exception(10)
    assert thread.error is not None
    assert thread.error.message == "ValueError: cannot predict 1"
    assert thread.state is State.READY
