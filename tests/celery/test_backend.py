"""A web tier without models: calls go through real brokers to real Celery workers."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pytest_django import Settings

from django_inference import predictors
from django_inference.exceptions import InvalidInput, PredictionFailed, PredictionTimeout
from django_inference.handle import Predictor
from django_inference.specs import State
from tests.celery import client
from tests.celery.conftest import Stage
from tests.celery.site.declared import DECLARED
from tests.hosts import eventually

#: Seconds that a test waits for what takes milliseconds on an idle machine.
PATIENCE = 60.0
#: For what no broker has a part in.
ONCE = pytest.mark.parametrize("stage", ["redis"], indirect=True)


@pytest.fixture(autouse=True)
def web(stage: Stage, settings: Settings) -> Iterator[Stage]:
    """This process is a web worker of the site's."""
    client.use(stage.broker.url, stage.results.url)
    settings.INFERENCE = {
        alias: DECLARED[alias] | {"OPTIONS": DECLARED[alias]["OPTIONS"] | {"app": client.PATH}}
        for alias in ("queued", "mirror")
    }
    settings.MEDIA_ROOT = stage.site.folder / "media"
    yield stage
    predictors.reset()


def left_behind(stage: Stage) -> list[Path]:
    """Files of calls."""
    return [path for path in (stage.site.folder / "media").rglob("*") if path.is_file()]


def test_tensors_and_items_are_answered(stage: Stage) -> None:
    rows = np.arange(12, dtype=np.float32).reshape(3, 4)
    answer = predictors["mirror"].predict({"x": rows})
    assert answer["x"].dtype == np.float32
    assert (answer["x"] == rows).all()
    assert predictors["queued"].predict([{"value": 1}, {"value": 2}]) == [2, 4]
    assert predictors["queued"].predict_one({"value": 21}, priority="high") == 42


def test_all_children_share_the_one_model_of_the_one_host(stage: Stage) -> None:
    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(predictors["queued"].predict_one, {"value": n}) for n in range(80)]
        assert [call.result(PATIENCE) for call in calls] == [2 * n for n in range(80)]
    assert len(stage.site.supervisors()) == 1
    assert len(stage.site.loads("queued")) == 1


def test_a_worker_asks_for_its_models_when_it_starts(stage: Stage) -> None:
    # Nobody ever calls this one.
    assert stage.site.wait_ready("idle", PATIENCE).state is State.READY
    assert len(stage.site.launches) == 1


def test_what_is_long_goes_through_the_storage_and_is_removed(stage: Stage) -> None:
    rows = np.random.default_rng(1).random((100, 1000), np.float32)
    answer = predictors["mirror"].predict({"x": rows})
    assert (answer["x"] == rows).all()
    assert left_behind(stage) == []


def test_errors_are_those_of_the_library(stage: Stage) -> None:
    with pytest.raises(InvalidInput, match="y"):
        predictors["mirror"].predict({"y": np.zeros((1, 4), np.float32)})
    with pytest.raises(PredictionFailed, match="nobody looks into") as raised:
        predictors["mirror"].predict({"x": np.full((1, 4), -1, np.float32)})
    assert "Traceback" in raised.value.details
    assert raised.value.alias == "mirror"
    with pytest.raises(InvalidInput, match="cannot be sent"):
        predictors["queued"].predict([object()])


@ONCE
async def test_tasks_wait_without_holding_the_event_loop(stage: Stage) -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    ticking = asyncio.create_task(tick())
    calls = [predictors["queued"].apredict_one({"value": n, "seconds": 0.2}) for n in range(9)]
    assert await asyncio.gather(*calls) == [2 * n for n in range(9)]
    ticking.cancel()
    assert ticks > 5


@ONCE
def test_many_items_are_spread_in_order(stage: Stage) -> None:
    found = predictors["queued"].map({"value": n} for n in range(300))
    assert list(found) == [2 * n for n in range(300)]


def busy(queued: Predictor, pool: ThreadPoolExecutor, folder: Path, seconds: float) -> list[Any]:
    """Keep both children busy; return the calls."""
    notes = [folder / f"busy{number}-{time.monotonic_ns()}" for number in range(2)]
    calls = [
        pool.submit(queued.predict_one, {"value": 1, "seconds": seconds, "note": str(note)})
        for note in notes
    ]
    eventually(lambda: any(note.exists() for note in notes), PATIENCE)
    return calls


@ONCE
def test_nobody_computes_for_a_caller_that_has_given_up(stage: Stage, tmp_path: Path) -> None:
    queued = predictors["queued"]
    note, long = tmp_path / "note", "x" * 30_000
    with ThreadPoolExecutor(4) as pool:
        calls = busy(queued, pool, tmp_path, seconds=5.0)
        with pytest.raises(PredictionTimeout, match="queue 'models'"):
            queued.predict_one({"value": 1, "note": str(note), "long": long}, timeout=1.0)
        assert [call.result(PATIENCE) for call in calls] == [2, 2]
    # Whatever was in the queue before it has been looked at.
    assert queued.predict([{"value": 4}] * 3) == [8] * 3
    assert not note.exists()
    assert left_behind(stage) == []


def test_a_call_survives_the_child_that_ran_it(stage: Stage, tmp_path: Path) -> None:
    worker = stage.worker
    assert worker is not None
    before = {child.pid for child in worker.children()}
    with ThreadPoolExecutor(2) as pool:
        calls = busy(predictors["queued"], pool, tmp_path, seconds=1.0)
        for pid in before:
            os.kill(pid, 9)
        assert [call.result(PATIENCE) for call in calls] == [2, 2]
    eventually(lambda: before.isdisjoint(child.pid for child in worker.children()), PATIENCE)


@ONCE
def test_status_and_signature_are_those_of_the_workers(stage: Stage) -> None:
    assert stage.worker is not None
    status = predictors["mirror"].status()
    assert status.state is State.READY
    assert [endpoint.url for endpoint in status.endpoints] == [f"{stage.worker.name}@test"]
    backend = predictors["mirror"].backend
    signature = backend.signature(backend.deadline(PATIENCE))
    assert signature is not None
    assert [str(spec) for spec in signature.inputs] == ["x float32 [-1, -1]"]
    assert predictors["queued"].backend.signature(backend.deadline(PATIENCE)) is None
