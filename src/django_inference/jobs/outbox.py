"""From the rows to the queue: each job once it is committed, and again what was lost on the way."""

from __future__ import annotations

import datetime
import logging
import time
from collections.abc import Iterator
from functools import partial

from django.db import Error, connections, router, transaction
from django.utils import timezone

from django_inference.conf import jobs_settings
from django_inference.exceptions import EngineUnavailable
from django_inference.jobs import transitions
from django_inference.jobs.announcing import announce, announce_overdue
from django_inference.jobs.engines import engine
from django_inference.jobs.engines.base import BaseEngine
from django_inference.jobs.models import Job
from django_inference.jobs.settings import max_attempts_of
from django_inference.jobs.states import JobState

logger = logging.getLogger("django_inference.jobs")

#: Seconds that whoever has committed a job has to enqueue it, before a sweep does.
GRACE = 5.0
#: Seconds for which an engine that takes nothing is left alone by this process.
REST = 5.0
#: Jobs that a sweep beside other work enqueues at the most.
FEW = 20

#: An engine that takes nothing, and until when it is left alone.
_resting: tuple[BaseEngine | None, float] = (None, 0.0)
_swept_at = 0.0


def enqueue_on_commit(job: Job) -> None:
    """Have the job enqueued by the commit of the transaction that it is written in."""
    transaction.on_commit(
        partial(_enqueue_and_sweep, job), using=router.db_for_write(Job), robust=True
    )


def enqueue(job: Job, *, delay: float = 0.0) -> bool:
    """Hand a waiting job to the engine. Where that does not take it, it stays waiting.

    Args:
        job: whose row is committed.
        delay: seconds before which it need not be run.

    Returns:
        Whether the engine has taken it.
    """
    global _resting
    if _rests():
        return False
    carrier: BaseEngine | None = None
    try:
        carrier = engine()
        engine_id = carrier.enqueue(job, delay=delay)
    except Exception as error:
        # Those who submit do not all wait for a broker that is away.
        _resting = carrier, time.monotonic() + REST
        logger.warning(
            "job not enqueued, it waits job=%s predictor=%s: %s",
            *(job.pk, job.predictor, error),
            exc_info=not isinstance(error, EngineUnavailable),
        )
        return False
    patience = delay + jobs_settings().requeue_after * 2 ** min(job.requeues, 16)
    transitions.queued(job, engine_id, timezone.now() + datetime.timedelta(seconds=patience))
    return True


def sweep(now: datetime.datetime | None = None, limit: int = 1000) -> int:
    """Enqueue what was lost: before the queue, in the queue, or with the process that ran it.

    Any number of processes may sweep at once: each job is taken up by one of them.

    Args:
        now: the time that is compared with.
        limit: jobs that are enqueued at the most.

    Returns:
        How many jobs were enqueued.
    """
    now = timezone.now() if now is None else now
    announce_overdue(now - datetime.timedelta(seconds=GRACE), limit)
    count = 0
    for job in _overdue(now, limit):
        if job.state == JobState.RUNNING and job.attempts >= max_attempts_of(job.predictor):
            _give_up(job)
        elif _rests():
            break
        elif transitions.take_up(job, now):
            count += enqueue(job)
    return count


def sweep_sometimes(limit: int = FEW) -> int:
    """Sweep, if this process has not done so for `SWEEP_INTERVAL` seconds.

    A database that fails spoils no other work: the next sweep may find it well.
    """
    global _swept_at
    # What a sweep changes must be committed before the queue is told.
    if connections[router.db_for_write(Job)].in_atomic_block:
        return 0
    now = time.monotonic()
    if _swept_at and now - _swept_at < jobs_settings().sweep_interval:
        return 0
    _swept_at = now
    try:
        return sweep(limit=limit)
    except Error:
        logger.warning("sweep failed", exc_info=True)
        return 0


def _enqueue_and_sweep(job: Job) -> None:
    enqueue(job)
    sweep_sometimes()


def _overdue(now: datetime.datetime, limit: int) -> Iterator[Job]:
    """What is to be enqueued: up to so many, the urgent ones first."""
    late = now - datetime.timedelta(seconds=GRACE)
    jobs = Job.objects.without_payloads()
    for overdue in (
        jobs.due(late),
        jobs.filter(state=JobState.QUEUED, available_at__lte=now),
        jobs.filter(state=JobState.RUNNING, lease_until__lt=now),
    ):
        found = list(overdue.order_by("priority", "available_at")[:limit])
        limit -= len(found)
        yield from found


def _give_up(job: Job) -> None:
    if transitions.give_up(job, f"the process that ran it has died, at the run {job.attempts}."):
        logger.error("job given up job=%s predictor=%s: %s", job.pk, job.predictor, job.error)
        announce(job)


def _rests() -> bool:
    unwilling, until = _resting
    return unwilling is not None and time.monotonic() < until and unwilling is engine()
