from __future__ import annotations

import datetime
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.db import connections
from django.utils import timezone
from pytest_django import Settings

from django_inference import (
    InferenceError,
    InvalidInput,
    JobCancelled,
    ModelCrashed,
    ModelNotReady,
    Overloaded,
    PredictionFailed,
    PredictionTimeout,
    RemoteError,
    predictors,
)
from django_inference.backends.dummy import Call, DummyBackend
from django_inference.jobs import leases, transitions
from django_inference.jobs.leases import Lease
from django_inference.jobs.models import Job
from django_inference.jobs.running import run_job
from django_inference.jobs.states import JobState
from tests.hosts import eventually
from tests.jobs.carriers import KeepingEngine


def submit(inputs: Any = "text", **options: Any) -> Job:
    found: Job = predictors["model"].submit(inputs, **({"one": True} | options))
    return found


def test_a_job_gives_what_a_call_would_have_given(
    queue: KeepingEngine, model: DummyBackend
) -> None:
    model.returns(lambda item: {"y": np.asarray(item["x"]) * 2})
    job = submit({"x": np.arange(3, dtype="float32")})
    queue.deliver()
    result = job.result(timeout=60)
    assert result["y"].dtype == np.float32
    assert result["y"].tolist() == [0, 2, 4]
    assert (job.state, job.attempts, job.progress, job.engine_id) == (
        *(JobState.SUCCEEDED, 1, 1.0),
        "delivered",
    )
    serving = model.serving(0.0)
    assert serving is not None
    assert job.version == serving.version
    assert job.lease is None
    assert job.created_at <= job.queued_at <= job.started_at <= job.finished_at  # type: ignore[operator]
    assert model.calls[0].method == "predict_one"


def test_tensors_and_lists_are_predicted_as_they_were_submitted(
    queue: KeepingEngine, model: DummyBackend
) -> None:
    tensors = submit({"x": [[1.0], [2.0]]}, one=False)
    some = submit(["a", "b"], one=False)
    queue.deliver()
    assert tensors.result(timeout=60) == {"x": [[1.0], [2.0]]}
    assert some.result(timeout=60) == ["a", "b"]
    assert model.calls == [
        Call("predict", {"x": [[1.0], [2.0]]}),
        Call("predict", ["a", "b"]),
    ]


def test_many_items_are_predicted_in_batches_with_progress(
    queue: KeepingEngine, model: DummyBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "NOTE_EVERY", 0.0)
    noted: list[int] = []
    renew = transitions.renew

    def note(job: Job, done: int) -> bool:
        noted.append(done)
        return renew(job, done)

    monkeypatch.setattr(transitions, "renew", note)
    job = submit(list(range(10)), one=False)
    queue.deliver()
    assert job.result(timeout=60) == list(range(10))
    assert noted == list(range(1, 11))
    assert (job.progress_done, job.progress_total) == (10, 10)
    assert max(len(call.inputs) for call in model.calls) == 4


@pytest.mark.parametrize("error", [InvalidInput("no"), PredictionFailed("no", details="trace")])
def test_what_another_run_would_not_change_fails_at_once(
    error: InferenceError, queue: KeepingEngine, model: DummyBackend
) -> None:
    model.returns(error)
    job = submit()
    queue.deliver()
    with pytest.raises(type(error), match="Predictor 'model': no") as caught:
        job.result(timeout=60)
    assert (job.state, job.attempts) == (JobState.FAILED, 1)
    assert error.details in caught.value.details
    assert job.exception is not None
    assert type(job.exception) is type(error)


def test_an_error_that_the_library_does_not_know_is_named(
    queue: KeepingEngine, model: DummyBackend
) -> None:
    model.returns(ZeroDivisionError("by\0zero"))
    job = submit()
    queue.deliver()
    with pytest.raises(PredictionFailed, match="ZeroDivisionError: by\N{REPLACEMENT CHARACTER}ze"):
        job.result(timeout=60)
    assert "Traceback" in job.error_details


def test_a_result_that_cannot_be_kept_fails_the_job(
    queue: KeepingEngine, model: DummyBackend
) -> None:
    model.returns(lambda item: object())
    job = submit()
    queue.deliver()
    with pytest.raises(PredictionFailed, match="object cannot be sent"):
        job.result(timeout=60)


@pytest.mark.parametrize(
    "error",
    [
        ModelNotReady("later"),
        Overloaded("later"),
        ModelCrashed("later"),
        PredictionTimeout("later"),
        RemoteError("later"),
        ConnectionResetError("later"),
    ],
)
def test_what_another_run_may_change_is_tried_again_after_a_growing_pause(
    error: Exception,
    queue: KeepingEngine,
    model: DummyBackend,
    declare: Callable[..., None],
) -> None:
    model.returns(error)
    job = submit()
    delays = []
    for attempt in range(1, 5):
        key, delay = queue.sent.pop()
        delays.append(delay)
        run_job(key)
        job.refresh_from_db()
        assert (job.state, job.attempts, job.error) == (JobState.QUEUED, attempt, "later")
    assert delays == [0.0, 1.0, 2.0, 4.0]
    model.returns(lambda item: "answered")
    queue.deliver()
    assert job.result(timeout=60) == "answered"
    assert (job.attempts, job.error, job.error_type) == (5, "", "")


def test_after_so_many_runs_the_last_error_is_the_answer(
    queue: KeepingEngine, model: DummyBackend, settings: Settings
) -> None:
    settings.INFERENCE = {
        "model": settings.INFERENCE["model"] | {"JOBS": {"max_attempts": 2}},
    }
    backend = predictors["model"].backend
    assert isinstance(backend, DummyBackend)
    backend.returns(Overloaded("full", retry_after=7.5))
    job = submit()
    (key, _) = queue.sent.pop()
    run_job(key)
    assert queue.sent == [(key, 7.5)]
    queue.deliver()
    with pytest.raises(Overloaded, match="full"):
        job.result(timeout=60)
    assert (job.state, job.attempts) == (JobState.FAILED, 2)
    assert len(backend.calls) == 2


def test_a_pause_is_a_minute_at_the_most(queue: KeepingEngine, model: DummyBackend) -> None:
    model.returns(Overloaded("full", retry_after=3600.0))
    job = submit()
    queue.sent.clear()
    run_job(job.pk)
    assert queue.sent == [(job.pk, 60.0)]


def test_a_predictor_that_this_process_does_not_know_is_left_to_another_one(
    queue: KeepingEngine, model: DummyBackend, settings: Settings
) -> None:
    job = submit()
    declared = settings.INFERENCE
    settings.INFERENCE = {}
    queue.sent.clear()
    run_job(job.pk)
    job.refresh_from_db()
    assert (job.state, job.error_type) == (JobState.QUEUED, "UnknownPredictor")
    settings.INFERENCE = declared
    queue.deliver()
    job.refresh_from_db()
    assert job.state == JobState.SUCCEEDED


def test_a_job_that_is_delivered_twice_is_run_once(
    queue: KeepingEngine, model: DummyBackend
) -> None:
    job = submit()
    run_job(job.pk)
    run_job(str(job.pk))
    run_job(uuid.uuid4())
    assert len(model.calls) == 1


def test_nobody_else_runs_it_while_it_runs(queue: KeepingEngine, model: DummyBackend) -> None:
    def answer(item: Any) -> str:
        run_job(job.pk)
        return "once"

    model.returns(answer)
    job = submit()
    queue.deliver()
    assert job.result(timeout=60) == "once"
    assert len(model.calls) == 1


def test_a_run_that_has_lost_its_lease_records_nothing_and_leaves_no_file(
    queue: KeepingEngine, model: DummyBackend, declare: Callable[..., None], storage: Path
) -> None:
    declare(INLINE_LIMIT=10)

    def answer(item: Any) -> Any:
        """The first one is so slow that it is taken for dead, and another one is begun."""
        if len(model.calls) == 1:
            past = timezone.now() - datetime.timedelta(seconds=1)
            Job.objects.filter(pk=job.pk).update(lease_until=past)
            run_job(job.pk)
            return "the first one's, " * 10
        return "the second one's, " * 10

    model.returns(answer)
    job = submit()
    run_job(job.pk)
    assert job.result(timeout=60) == "the second one's, " * 10
    assert job.attempts == 2
    files = [path for path in storage.rglob("*") if path.is_file()]
    assert files == [storage / job.result_file]


@pytest.mark.parametrize("error", [InvalidInput("no"), Overloaded("no"), None])
def test_a_job_that_is_cancelled_while_it_runs_stays_cancelled(
    error: Exception | None, queue: KeepingEngine, model: DummyBackend
) -> None:
    def answer(item: Any) -> str:
        assert Job.objects.get(pk=job.pk).cancel()
        if error is not None:
            raise error
        return "too late"

    model.returns(answer)
    job = submit()
    queue.sent.clear()
    run_job(job.pk)
    with pytest.raises(JobCancelled):
        job.result(timeout=60)
    assert job.result_json is None
    assert queue.sent == []
    assert queue.revoked == [job.pk]
    assert not job.cancel()


def test_a_long_job_that_is_cancelled_ends_before_its_end(
    queue: KeepingEngine, model: DummyBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "NOTE_EVERY", 0.0)

    def answer(items: list[Any]) -> list[Any]:
        if 0 in items:
            Job.objects.get(pk=job.pk).cancel()
            # Of a thread that ends with the job.
            connections.close_all()
        return items

    model.returns(answer)
    job = submit(list(range(1000)), one=False)
    run_job(job.pk)
    assert len(model.calls) < 50


def test_a_worker_that_is_told_to_leave_hands_its_job_on(
    queue: KeepingEngine, model: DummyBackend
) -> None:
    def leave(item: Any) -> None:
        raise SystemExit(0)

    model.returns(leave)
    job = submit()
    queue.sent.clear()
    with pytest.raises(SystemExit):
        run_job(job.pk)
    assert queue.sent == [(job.pk, 0.0)]
    job.refresh_from_db()
    assert job.state == JobState.QUEUED


def test_too_many_deaths_are_the_end_of_a_job(queue: KeepingEngine, model: DummyBackend) -> None:
    job = submit()
    past = timezone.now() - datetime.timedelta(seconds=1)
    Job.objects.filter(pk=job.pk).update(
        state=JobState.RUNNING, attempts=5, lease=uuid.uuid4(), lease_until=past
    )
    run_job(job.pk)
    with pytest.raises(InferenceError, match="the process that ran it has died, at the run 5"):
        job.result(timeout=60)
    assert model.calls == []


def test_a_lease_is_renewed_while_the_model_runs(
    queue: KeepingEngine, model: DummyBackend, declare: Callable[..., None]
) -> None:
    declare(LEASE=0.5)
    job = submit()
    claimed = transitions.claim(job.pk)
    assert claimed is not None
    before = claimed.lease_until
    assert before is not None
    with Lease(claimed) as lease:
        lease.progress(0)
        eventually(lambda: Job.objects.get(pk=job.pk).lease_until > before, 60.0)  # type: ignore[operator]
        Job.objects.get(pk=job.pk).cancel()
        eventually(lambda: lease.lost, 60.0)


def test_the_time_for_a_run_is_the_jobs_own_or_the_predictors(
    queue: KeepingEngine, model: DummyBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Any] = []

    def predict_one(item: Any, *, timeout: float, priority: str) -> Any:
        given.append((timeout, priority))
        return item

    monkeypatch.setattr(model, "predict_one", predict_one)
    submit(timeout=7.0, priority="low")
    submit()
    submit(timeout=float("inf"))
    queue.deliver()
    assert given == [(7.0, "low"), (300.0, "normal"), (1e6, "normal")]
