from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from django_inference.exceptions import (
    InvalidInput,
    ModelLoadFailed,
    ModelNotReady,
    PredictionFailed,
    PredictionTimeout,
)
from django_inference.specs import State
from tests.backends.conftest import LOCAL, Declare
from tests.engine.engines import recorded
from tests.hosts import eventually
from tests.sample_runtimes import FLOATS, nap

ARRAYS = "tests.sample_runtimes.Arrays"


def in_threads(count: int, call: Any) -> list[Any]:
    """What so many threads were answered at once; an error is an answer."""
    barrier = threading.Barrier(count)
    outcomes: list[Any] = [None] * count

    def run(index: int) -> None:
        barrier.wait()
        try:
            outcomes[index] = call(index)
        except Exception as error:
            outcomes[index] = error

    threads = [threading.Thread(target=run, args=(index,)) for index in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def test_a_hundred_threads_load_once(declare: Declare) -> None:
    load, loads = recorded(lambda artifact: time.sleep(0.1))
    predictor = declare(hooks={"load": load})
    assert in_threads(100, predictor.predict_one) == list(range(100))
    assert len(loads) == 1


async def test_a_hundred_tasks_load_once(declare: Declare) -> None:
    load, loads = recorded(lambda artifact: time.sleep(0.1))
    predictor = declare(hooks={"load": load})
    answers = await asyncio.gather(*(predictor.apredict_one(index) for index in range(100)))
    assert answers == list(range(100))
    assert len(loads) == 1


def test_calls_at_the_same_time_share_batches(declare: Declare) -> None:
    def slow(items: list[Any]) -> list[Any]:
        time.sleep(0.02)
        return items

    predict, calls = recorded(slow)
    predictor = declare(hooks={"predict": predict}, OPTIONS={"max_batch_size": 32})
    assert in_threads(64, predictor.predict_one) == list(range(64))
    assert sum(map(len, calls)) == 64
    assert max(map(len, calls)) <= 32
    assert len(calls) < 32


def test_thirty_one_good_items_and_a_bad_one(declare: Declare) -> None:
    def predict(items: list[int]) -> list[int]:
        time.sleep(0.01)
        if 13 in items:
            raise ValueError("thirteen")
        return [item * 2 for item in items]

    predictor = declare(hooks={"predict": predict})
    outcomes = in_threads(32, predictor.predict_one)
    failure = outcomes.pop(13)
    assert isinstance(failure, PredictionFailed)
    assert failure.alias == "default"
    assert "in predict" in failure.details
    assert outcomes == [index * 2 for index in range(32) if index != 13]


def test_the_life_of_a_model(declare: Declare) -> None:
    go = threading.Event()
    closed = threading.Event()
    predictor = declare(
        RUNTIME=ARRAYS,
        RUNTIME_OPTIONS={"warmup": lambda: go.wait(10) and None},
    )
    status = predictor.status()
    assert (status.state, status.version, status.replicas) == (State.UNLOADED, "", ())
    assert status.backend == LOCAL
    predictor.preload()
    assert predictor.status().state is State.LOADING
    go.set()
    assert predictor.signature == FLOATS
    status = predictor.status()
    assert status.state is State.READY
    assert status.pid == os.getpid()
    assert status.signature == FLOATS
    assert len(status.version) == 12
    assert status.memory > 10_000_000
    assert status.load_seconds > 0
    predictor.predict(np.ones((3, 4)))
    counts = predictor.status().replicas[0].statistics
    assert (counts.requests, counts.rows, counts.batches) == (1, 3, 1)
    predictor.unload()
    assert predictor.status().state is State.UNLOADED
    assert not closed.is_set()


def test_preload_does_not_wait_unless_it_is_told_to(declare: Declare) -> None:
    load, loads = recorded(lambda artifact: time.sleep(0.2))
    predictor = declare(hooks={"load": load})
    began = time.monotonic()
    predictor.preload()
    predictor.preload()
    assert time.monotonic() - began < 0.15
    predictor.preload(wait=True)
    assert predictor.status().state is State.READY
    assert len(loads) == 1


def test_preload_waits_no_longer_than_it_is_told_to(declare: Declare) -> None:
    predictor = declare(hooks={"load": lambda artifact: time.sleep(0.3)})
    with pytest.raises(ModelNotReady) as caught:
        predictor.preload(wait=True, timeout=0.05)
    assert caught.value.retry_after == 1.0
    with pytest.raises(ModelNotReady):
        predictor.predict_one(1, timeout=0.05)
    assert predictor.predict_one(1) == 1


def test_a_failed_load_is_told_with_its_cause(declare: Declare) -> None:
    def fail(artifact: Any) -> None:
        raise RuntimeError("no such layer")

    load, loads = recorded(fail)
    predictor = declare(hooks={"load": load})
    for call in (
        lambda: predictor.predict_one(1),
        lambda: predictor.signature,
        lambda: predictor.preload(wait=True),
    ):
        with pytest.raises(ModelLoadFailed, match="RuntimeError: no such layer") as caught:
            call()
        assert caught.value.alias == "default"
        assert "in fail" in caught.value.details
        assert caught.value.retry_after == pytest.approx(1, abs=0.3)
    status = predictor.status()
    assert status.state is State.FAILED
    assert status.error
    assert status.error.message == "RuntimeError: no such layer"
    assert "in fail" in status.error.traceback
    assert status.retry_after == pytest.approx(1, abs=0.3)
    assert len(loads) == 1


def test_a_failed_load_is_tried_again_after_the_wait(declare: Declare) -> None:
    causes = [RuntimeError("first"), RuntimeError("second")]

    def load(artifact: Any) -> None:
        if causes:
            raise causes.pop(0)

    predictor = declare(hooks={"load": load})
    with pytest.raises(ModelLoadFailed, match="first"):
        predictor.predict_one(1)
    backend: Any = predictor.backend
    # The clock is put forward rather than waited for.
    backend._thread.retry_at = time.monotonic()
    with pytest.raises(ModelLoadFailed, match="second") as caught:
        predictor.predict_one(1)
    assert caught.value.retry_after == pytest.approx(2, abs=0.3)
    backend._thread.retry_at = time.monotonic()
    assert predictor.predict_one(1) == 1
    assert predictor.status().error is None


def test_a_mended_file_is_loaded_at_once(declare: Declare, tmp_path: Path) -> None:
    model = tmp_path / "model.bin"

    def load(artifact: Any) -> None:
        if Path(artifact).read_text() != "good":
            raise RuntimeError("broken")

    predictor = declare(hooks={"load": load}, MODEL=model)
    with pytest.raises(ModelLoadFailed, match="FileNotFoundError"):
        predictor.predict_one(1)
    model.write_text("bad")
    with pytest.raises(ModelLoadFailed, match="broken"):
        predictor.predict_one(1)
    model.write_text("good")
    assert predictor.predict_one(1) == 1


def test_a_reload_fails_no_call(declare: Declare) -> None:
    serial = iter(range(1000))
    current: dict[int, int] = {}

    def load(artifact: Any) -> None:
        time.sleep(0.02)
        current[threading.get_ident()] = next(serial)

    def predict(items: list[Any]) -> list[int]:
        return [current[threading.get_ident()]] * len(items)

    predictor = declare(hooks={"load": load, "predict": predict})
    answers: list[int] = []
    errors: list[Exception] = []
    is_over = threading.Event()

    def call() -> None:
        while not is_over.is_set():
            try:
                answers.append(predictor.predict_one(1))
            except Exception as error:
                errors.append(error)

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()

    def newest() -> int:
        return answers[-1] if answers else -1

    for version in range(10):
        while newest() < version:
            time.sleep(0.001)
        predictor.reload()
    eventually(lambda: answers[-1] == 10)
    is_over.set()
    for thread in threads:
        thread.join()
    assert errors == []
    assert set(answers) == set(range(11))


def test_a_model_stays_ready_while_reloads_replace_it(declare: Declare) -> None:
    predictor = declare(hooks={})
    backend: Any = predictor.backend
    predictor.preload(wait=True)
    used: list[Any] = []
    states: set[State] = set()
    is_over = threading.Event()

    def look() -> None:
        while not is_over.is_set():
            states.add(predictor.status().state)

    threads = [threading.Thread(target=look) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(50):
        used.append(backend._thread)
        predictor.reload()
        eventually(lambda: backend._thread is not used[-1])
    is_over.set()
    for thread in threads:
        thread.join()
    assert states == {State.READY}


def test_a_reload_brings_no_model_back_that_was_unloaded_meanwhile(declare: Declare) -> None:
    may_load, closed = threading.Event(), threading.Event()
    may_load.set()
    predictor = declare(hooks={"load": lambda artifact: may_load.wait(10), "close": closed.set})
    predictor.preload(wait=True)
    may_load.clear()
    predictor.reload()
    predictor.unload()
    assert closed.wait(10)
    closed.clear()
    may_load.set()
    assert closed.wait(10)
    assert predictor.status().state is State.UNLOADED


def test_a_reload_that_fails_leaves_the_model_and_says_why(declare: Declare) -> None:
    is_broken = threading.Event()

    def load(artifact: Any) -> None:
        if is_broken.is_set():
            raise RuntimeError("broken since")

    predictor = declare(hooks={"load": load})
    assert predictor.predict_one(1) == 1
    is_broken.set()
    predictor.reload()
    status = eventually(lambda: (s := predictor.status()).error and s)
    assert status.state is State.READY
    assert status.error.message == "RuntimeError: broken since"
    assert predictor.predict_one(2) == 2


def test_unloading_answers_running_calls_and_the_next_call_loads_again(declare: Declare) -> None:
    load, loads = recorded(lambda artifact: None)
    closed: list[int] = []
    predictor = declare(
        hooks={
            "load": load,
            "predict": nap,
            "close": lambda: closed.append(1),
        }
    )
    predictor.preload(wait=True)
    outcomes: list[Any] = []
    thread = threading.Thread(target=lambda: outcomes.append(predictor.predict_one(0.1)))
    thread.start()
    eventually(lambda: predictor.backend._thread.page.run_started)  # type: ignore[attr-defined]
    predictor.unload()
    thread.join()
    assert outcomes == [None]
    eventually(lambda: closed)
    predictor.predict_one(0)
    assert len(loads) == 2


def test_calls_beside_an_unload_are_answered(declare: Declare) -> None:
    predictor = declare(hooks={})
    errors: list[Exception] = []
    is_over = threading.Event()

    def call() -> None:
        while not is_over.is_set():
            try:
                predictor.predict_one(1)
            except Exception as error:
                errors.append(error)

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(30):
        predictor.unload()
        time.sleep(0.005)
    is_over.set()
    for thread in threads:
        thread.join()
    assert errors == []


async def test_a_cancelled_call_disturbs_nobody(declare: Declare) -> None:
    predictor = declare(hooks={"predict": nap})
    await predictor.apreload(wait=True)
    tasks = [asyncio.create_task(predictor.apredict_one(0.05)) for _ in range(3)]
    await asyncio.sleep(0.01)
    tasks[1].cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert outcomes[::2] == [None, None]
    assert isinstance(outcomes[1], asyncio.CancelledError)
    assert await predictor.apredict_one(0) is None


def test_who_gave_up_is_not_run(declare: Declare) -> None:
    predict, calls = recorded(nap)
    predictor = declare(hooks={"predict": predict})
    predictor.preload(wait=True)
    busy = threading.Thread(target=predictor.predict_one, args=(0.2,))
    busy.start()
    eventually(lambda: calls)
    with pytest.raises(PredictionTimeout):
        predictor.predict_one(0.001, timeout=0.05)
    busy.join()
    predictor.predict_one(0.002)
    assert calls == [[0.2], [0.002]]


def test_the_input_is_held_against_the_signature(declare: Declare) -> None:
    with pytest.raises(InvalidInput, match=r"x float32 \[-1, 4\]") as caught:
        declare(RUNTIME=ARRAYS).predict({"x": np.zeros((2, 3))})
    assert caught.value.alias == "default"


def test_a_real_model(declare: Declare, onnx_mlp: Path) -> None:
    predictor = declare(MODEL=onnx_mlp)
    assert predictor.predict({"x": [[1, 0, 0, 0], [0, 1, 0, 0]]})["y"].tolist() == [
        [1, 0],
        [0.5, 2],
    ]
    assert predictor.predict_one({"x": [0, 0, 1, 0]})["y"].tolist() == [0, 1]


def test_after_a_fork_the_child_loads_a_model_of_its_own(tmp_path: Path) -> None:
    program = """
    import os, sys, threading, time, warnings
    warnings.simplefilter("ignore", DeprecationWarning)
    from django.conf import settings
    settings.configure(INFERENCE={"default": {
        "BACKEND": "django_inference.backends.local.LocalBackend",
        "RUNTIME": "tests.sample_runtimes.Actor",
        "RUNTIME_OPTIONS": {"journal": sys.argv[1]},
    }})
    from django_inference import predictor

    assert predictor.predict_one(1) == 1
    pid = os.fork()
    if pid == 0:
        try:
            assert predictor.status().state == "UNLOADED"
            ok = predictor.predict_one(2, timeout=20) == 2
            os._exit(0 if ok else 1)
        finally:
            os._exit(2)
    assert predictor.predict_one(3) == 3
    until = time.monotonic() + 60
    while (done := os.waitpid(pid, os.WNOHANG))[0] == 0:
        assert time.monotonic() < until, "the child hangs"
        time.sleep(0.01)
    assert done[1] == 0, done
    assert predictor.predict_one(4) == 4
    """
    journal = tmp_path / "journal"
    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), str(journal)],
        timeout=100,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    loads = [line.split()[1] for line in journal.read_text().splitlines() if "loaded" in line]
    assert len(loads) == len(set(loads)) == 2


def test_a_model_whose_answers_cannot_be_sent_is_failed(declare: Declare) -> None:
    predictor = declare(
        hooks={"predict": lambda items: [object() for _ in items]},
        GOLDEN=[(1, 2)],
    )
    predictor.preload()
    with pytest.raises(Exception, match="cannot be sent"):
        predictor.predict_one(1)
    status = predictor.status()
    assert status.state is State.FAILED
    assert "cannot be sent" in status.error.message  # type: ignore[union-attr]
