from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from django.db import connection

from django_inference import JobCancelled, PredictionTimeout, predictors
from django_inference.backends.dummy import DummyBackend
from django_inference.jobs.models import Job
from django_inference.jobs.running import run_job
from django_inference.jobs.states import JobState
from tests.jobs.carriers import KeepingEngine

pytestmark = pytest.mark.usefixtures("model")


def submit() -> Job:
    found: Job = predictors["model"].submit("text", one=True)
    return found


def deliver_later(job: Job) -> threading.Thread:
    def run() -> None:
        try:
            run_job(job.pk)
        finally:
            connection.close()

    timer = threading.Timer(0.2, run)
    timer.start()
    return timer


def test_waiting_ends_with_the_job(queue: KeepingEngine) -> None:
    job = submit()
    timer = deliver_later(job)
    assert job.result(timeout=60) == "text"
    timer.join()
    assert job.is_finished
    assert job.progress == 1.0


async def test_waiting_does_not_hold_the_event_loop(queue: KeepingEngine, hang_up: None) -> None:
    job = await predictors["model"].asubmit("text", one=True)

    async def deliver() -> threading.Thread:
        for _ in range(5):
            await asyncio.sleep(0.01)
        return deliver_later(job)

    # It is run only if something else goes on in this loop meanwhile.
    delivery = asyncio.ensure_future(deliver())
    assert await job.aresult(timeout=60) == "text"
    (await delivery).join()


def test_the_wait_has_an_end_and_the_job_goes_on(queue: KeepingEngine) -> None:
    job = submit()
    with pytest.raises(PredictionTimeout, match="is queued"):
        job.result(timeout=0.05)
    queue.deliver()
    assert job.result(timeout=0) == "text", "there is one look, whatever the time"


async def test_the_awaited_wait_has_an_end_too(queue: KeepingEngine, hang_up: None) -> None:
    job = await predictors["model"].asubmit("text", one=True)
    with pytest.raises(PredictionTimeout):
        await job.aresult(timeout=0.05)


def test_a_cancelled_job_has_no_result(queue: KeepingEngine) -> None:
    job = submit()
    assert job.exception is None
    with pytest.raises(PredictionTimeout):
        job.get_result()
    assert Job.objects.get(pk=job.pk).cancel()
    assert queue.revoked == [job.pk]
    with pytest.raises(JobCancelled, match="was cancelled"):
        job.result(timeout=60)
    assert not job.cancel()
    queue.deliver()
    assert Job.objects.get(pk=job.pk).state == JobState.CANCELLED


def test_a_queue_that_cannot_take_it_back_is_no_reason_not_to_cancel(
    queue: KeepingEngine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delattr(queue, "revoked")
    job = submit()
    assert job.cancel()
    assert "not taken back" in caplog.text


def test_what_has_failed_or_was_cancelled_can_be_run_again(
    queue: KeepingEngine, model: DummyBackend
) -> None:
    job = submit()
    assert not job.retry()
    model.returns(ZeroDivisionError("no"))
    queue.deliver()
    job.refresh_from_db()
    assert (job.state, job.error_type) == (JobState.FAILED, "ZeroDivisionError")
    assert job.retry()
    assert (job.state, job.error, job.finished_at, job.attempts) == (JobState.QUEUED, "", None, 0)
    model.returns(lambda item: "at last")
    queue.deliver()
    assert job.result(timeout=60) == "at last"
    assert not job.retry()


def test_waiting_reads_the_inputs_never_and_the_result_once(
    queue: KeepingEngine, django_assert_num_queries: Any
) -> None:
    job = submit()
    light = Job.objects.without_payloads().get(pk=job.pk)
    queue.deliver()
    with django_assert_num_queries(2) as asked:
        assert light.result(timeout=60) == "text"
    assert not any("inputs_json" in query["sql"] for query in asked.captured_queries)
