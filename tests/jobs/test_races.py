"""Many at once, on a database that several connections share."""

from __future__ import annotations

import datetime
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import pytest
from django.db import connections
from django.utils import timezone

from django_inference import predictors
from django_inference.backends.dummy import DummyBackend
from django_inference.jobs import transitions
from django_inference.jobs.models import Job
from django_inference.jobs.outbox import sweep
from django_inference.jobs.running import run_job
from django_inference.jobs.states import JobState
from tests.jobs.carriers import KeepingEngine

T = TypeVar("T")

MANY = 8


def at_once(do: Callable[[], T]) -> list[T]:
    """What each of many threads says that do the same at the same time."""
    start = threading.Barrier(MANY)

    def act(_: int) -> T:
        try:
            start.wait(60)
            return do()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(MANY) as pool:
        return list(pool.map(act, range(MANY)))


def submit(**options: Any) -> Job:
    found: Job = predictors["model"].submit("text", one=True, **options)
    return found


@pytest.mark.usefixtures("model")
def test_one_of_many_claims_a_job(queue: KeepingEngine) -> None:
    job = submit()
    claimed = at_once(lambda: transitions.claim(job.pk))
    (winner,) = [one for one in claimed if one is not None]
    job.refresh_from_db()
    assert (job.lease, job.attempts) == (winner.lease, 1)


@pytest.mark.usefixtures("model")
def test_one_of_many_ends_a_job(queue: KeepingEngine) -> None:
    job = submit()
    claimed = transitions.claim(job.pk)
    assert claimed is not None
    columns = {"result_json": '"done"'}
    ends = [
        lambda: transitions.succeed(claimed, dict(columns), ""),
        lambda: Job.objects.get(pk=job.pk).cancel(),
    ]
    turn = iter(ends * MANY)
    lock = threading.Lock()

    def end() -> bool:
        with lock:
            mine = next(turn)
        return mine()

    assert at_once(end).count(True) == 1
    job.refresh_from_db()
    assert (job.state == JobState.SUCCEEDED) == (job.result_json is not None)


def test_many_deliveries_of_a_job_run_it_once(queue: KeepingEngine, model: DummyBackend) -> None:
    job = submit()
    at_once(lambda: run_job(job.pk))
    assert len(model.calls) == 1
    assert job.result(timeout=60) == "text"


@pytest.mark.usefixtures("model")
def test_many_sweeps_enqueue_each_job_once(queue: KeepingEngine) -> None:
    old = timezone.now() - datetime.timedelta(minutes=1)
    Job.objects.bulk_create(
        Job(predictor="model", inputs_json="1", available_at=old) for _ in range(50)
    )
    assert sum(at_once(sweep)) == 50
    sent = [key for key, _ in queue.sent]
    assert len(sent) == len(set(sent)) == 50


@pytest.mark.usefixtures("model")
def test_many_submissions_with_one_key_are_one_job(queue: KeepingEngine) -> None:
    jobs = at_once(lambda: submit(idempotency_key="k"))
    assert len({job.pk for job in jobs}) == 1
    assert Job.objects.count() == 1
    assert len(queue.sent) == 1
