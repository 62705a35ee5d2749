from __future__ import annotations

import datetime
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import OperationalError, transaction
from django.utils import timezone

from django_inference import PredictionTimeout, predictors
from django_inference.backends.dummy import DummyBackend
from django_inference.jobs import outbox, transitions
from django_inference.jobs.engines import engine
from django_inference.jobs.models import Job
from django_inference.jobs.outbox import GRACE, REST, sweep, sweep_sometimes
from django_inference.jobs.running import run_job
from django_inference.jobs.signals import job_finished
from django_inference.jobs.states import JobState
from tests.hosts import eventually
from tests.jobs.carriers import KeepingEngine

pytestmark = pytest.mark.usefixtures("model")


def submit(**options: Any) -> Job:
    found: Job = predictors["model"].submit("text", one=True, **options)
    return found


def after(seconds: float) -> datetime.datetime:
    return timezone.now() + datetime.timedelta(seconds=seconds)


@pytest.fixture
def heard() -> Iterator[list[Job]]:
    """The jobs that `job_finished` was sent for."""
    jobs: list[Job] = []

    def hear(job: Job, **kwargs: Any) -> None:
        jobs.append(job)

    job_finished.connect(hear)
    yield jobs
    job_finished.disconnect(hear)


def lost() -> Job:
    """Committed by a process that died before it could enqueue."""
    return Job.objects.create(predictor="model", inputs_json='"text"', one=True)


def test_what_was_committed_and_never_enqueued_is_enqueued_by_a_sweep(
    queue: KeepingEngine,
) -> None:
    job = lost()
    assert sweep(job.available_at) == 0, "whoever has committed it may be about to enqueue it"
    assert sweep(after(GRACE + 1)) == 1
    assert queue.sent == [(job.pk, 0.0)]
    assert sweep(after(GRACE + 2)) == 0
    queue.deliver()
    assert job.result(timeout=60) == "text"


def test_a_broker_that_is_down_makes_jobs_wait_and_submitting_no_slower(
    queue: KeepingEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "REST", 1e6)
    queue.is_down = True
    jobs = [submit() for _ in range(3)]
    assert [job.state for job in jobs] == [JobState.WAITING] * 3
    assert queue.asked == 1, "the others did not wait for the same refusal"
    queue.is_down = False
    assert sweep(after(60)) == 0, "it is left alone for a moment"
    monkeypatch.setattr(outbox, "_resting", (engine(), 0.0))
    assert sweep(after(60)) == 3
    assert sorted(queue.deliver()) == sorted(job.pk for job in jobs)
    assert [job.result(timeout=60) for job in jobs] == ["text"] * 3


def test_the_engine_is_asked_again_when_it_has_rested(
    queue: KeepingEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "REST", 0.05)
    queue.is_down = True
    submit()
    queue.is_down = False
    eventually(lambda: submit().state == JobState.QUEUED, REST + 60)


def test_an_engine_that_is_broken_is_no_reason_to_refuse_a_job(
    queue: KeepingEngine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delattr(queue, "sent")
    job = submit()
    assert job.state == JobState.WAITING
    assert "has no attribute 'sent'" in caplog.text
    assert str(job.pk) in caplog.text


def test_what_the_queue_has_lost_is_enqueued_once_more_and_then_less_and_less_often(
    queue: KeepingEngine, declare: Callable[..., None]
) -> None:
    declare(REQUEUE_AFTER=10_000)
    found = engine()
    assert isinstance(found, KeepingEngine)
    job = submit()
    assert sweep(after(9_000)) == 0
    assert sweep(after(11_000)) == 1
    job.refresh_from_db()
    assert (job.state, job.requeues) == (JobState.QUEUED, 1)
    assert sweep(after(19_000)) == 0
    assert sweep(after(21_000)) == 1
    assert sweep(after(39_000)) == 0
    assert [key for key, _ in found.sent] == [job.pk] * 3
    found.deliver()
    job.refresh_from_db()
    assert (job.state, job.attempts) == (JobState.SUCCEEDED, 1)


def test_a_delay_is_no_loss(queue: KeepingEngine, declare: Callable[..., None]) -> None:
    declare(REQUEUE_AFTER=1_000)
    job = lost()
    outbox.enqueue(job, delay=5_000)
    assert sweep(after(5_500)) == 0
    assert sweep(after(7_000)) == 1


def test_what_a_dead_process_ran_is_run_by_another(
    queue: KeepingEngine, model: DummyBackend
) -> None:
    job = submit()
    queue.sent.clear()
    assert transitions.claim(job.pk)
    run_job(job.pk)
    assert model.calls == [], "its lease is good"
    assert sweep() == 0
    assert sweep(after(20_000)) == 1
    queue.deliver()
    assert job.result(timeout=60) == "text"
    assert job.attempts == 2


def test_a_job_whose_processes_all_die_is_given_up(queue: KeepingEngine) -> None:
    job = submit()
    Job.objects.filter(pk=job.pk).update(attempts=4)
    assert transitions.claim(job.pk)
    queue.sent.clear()
    assert sweep(after(20_000)) == 0
    job.refresh_from_db()
    assert (job.state, job.attempts) == (JobState.FAILED, 5)
    assert job.error == "the process that ran it has died, at the run 5."


def test_a_run_that_is_late_but_alive_is_not_given_up(
    queue: KeepingEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = submit()
    Job.objects.filter(pk=job.pk).update(attempts=4)
    claimed = transitions.claim(job.pk)
    assert claimed is not None
    overdue = Job.objects.get(pk=job.pk)
    assert transitions.renew(claimed, 0)
    assert not transitions.give_up(overdue, "dead")
    assert not transitions.take_up(overdue, timezone.now())
    assert transitions.succeed(claimed, {}, "1")


def test_of_two_sweeps_one_takes_a_job_up(queue: KeepingEngine) -> None:
    job = lost()
    same = Job.objects.get(pk=job.pk)
    now = after(60)
    assert transitions.take_up(job, now)
    assert not transitions.take_up(same, now)


def test_a_sweep_has_a_limit_and_takes_what_is_urgent_first(queue: KeepingEngine) -> None:
    low, high, normal = (
        Job.objects.create(predictor="model", inputs_json="1", priority=priority)
        for priority in (2, 0, 1)
    )
    assert sweep(after(60), limit=2) == 2
    assert [key for key, _ in queue.sent] == [high.pk, normal.pk]
    assert sweep(after(60)) == 1
    assert queue.sent[-1] == (low.pk, 0.0)


def test_every_process_sweeps_now_and_then_beside_its_work(
    queue: KeepingEngine, declare: Callable[..., None]
) -> None:
    old = timezone.now() - datetime.timedelta(minutes=1)
    awaited = submit()

    def wait() -> None:
        with pytest.raises(PredictionTimeout):
            awaited.result(timeout=0)

    for work in (submit, lambda: run_job(uuid.uuid4()), wait):
        declare(SWEEP_INTERVAL=1000)
        found = engine()
        assert isinstance(found, KeepingEngine)
        job = lost()
        Job.objects.filter(pk=job.pk).update(available_at=old)
        work()
        assert job.pk in [key for key, _ in found.sent]
        again = lost()
        Job.objects.filter(pk=again.pk).update(available_at=old)
        work()
        assert again.pk not in [key for key, _ in found.sent], "it was a moment ago"
        again.delete()


def test_no_sweep_in_a_transaction_that_may_be_rolled_back(queue: KeepingEngine) -> None:
    job = lost()
    Job.objects.filter(pk=job.pk).update(available_at=after(-60))
    with transaction.atomic():
        assert sweep_sometimes() == 0
    assert sweep_sometimes() == 1


def test_a_sweep_that_fails_disturbs_no_other_work(
    queue: KeepingEngine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*args: Any) -> None:
        raise OperationalError("gone away")

    monkeypatch.setattr(outbox, "announce_overdue", fail)
    assert submit().state == JobState.QUEUED
    assert "sweep failed" in caplog.text
    assert "gone away" in caplog.text


def test_an_engine_that_is_not_there_makes_jobs_wait(
    declare: Callable[..., None], queue: KeepingEngine, caplog: pytest.LogCaptureFixture
) -> None:
    declare(ENGINE="django_inference.nothing")
    assert submit().state == JobState.WAITING
    assert "'django_inference.nothing' cannot be imported" in caplog.text
    declare()
    assert sweep(after(60)) == 1


def test_the_end_of_a_job_is_announced_when_it_is_committed(
    queue: KeepingEngine, model: DummyBackend, heard: list[Job]
) -> None:
    done, cancelled, failed = submit(target={"pk": 7}), submit(), submit()
    with transaction.atomic():
        cancelled.cancel()
        assert heard == []
    assert heard == [cancelled]
    (_, _, last) = (queue.sent.pop(0) for _ in range(3))
    run_job(done.pk)
    model.returns(ZeroDivisionError())
    run_job(last[0])
    assert [(job.pk, job.state) for job in heard] == [
        (cancelled.pk, JobState.CANCELLED),
        (done.pk, JobState.SUCCEEDED),
        (failed.pk, JobState.FAILED),
    ]
    assert heard[1].target == {"pk": 7}
    assert heard[1].get_result() == "text"
    assert not Job.objects.exclude(announce_at=None).exists()


def test_an_end_that_was_not_announced_is_announced_by_a_sweep(
    queue: KeepingEngine, monkeypatch: pytest.MonkeyPatch, heard: list[Job]
) -> None:
    job = submit()
    with monkeypatch.context() as patch:
        # It dies between the two.
        patch.setattr("django_inference.jobs.running.announce", lambda job: None)
        queue.deliver()
    assert heard == []
    sweep(Job.objects.get(pk=job.pk).finished_at)
    assert heard == [], "it may be about to be announced"
    sweep(after(GRACE + 1))
    sweep(after(GRACE + 2))
    assert heard == [job]
    assert heard[0].get_result() == "text"


def test_a_receiver_that_raises_is_told_again(queue: KeepingEngine, heard: list[Job]) -> None:
    def fail(job: Job, **kwargs: Any) -> None:
        raise ZeroDivisionError

    job_finished.connect(fail)
    try:
        job = submit()
        queue.deliver()
        sweep(after(60))
    finally:
        job_finished.disconnect(fail)
    assert heard == [job, job]
    sweep(after(120))
    sweep(after(180))
    assert heard == [job] * 3
