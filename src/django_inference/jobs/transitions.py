"""Every change of a job's state: one UPDATE with a condition each.

Of several processes that want to make the same change, one does: the others' UPDATE matches no
row. So a result is recorded once, whatever a queue delivers twice or a dead process left behind.
"""

from __future__ import annotations

import datetime
import uuid
from typing import Any

from django.db.models import F, Q
from django.utils import timezone

from django_inference.conf import jobs_settings
from django_inference.jobs.models import Job
from django_inference.jobs.querysets import JobQuerySet
from django_inference.jobs.signals import job_finished
from django_inference.jobs.states import UNFINISHED, JobState
from django_inference.specs import MAX_TRACEBACK, printable


def claim(job_id: uuid.UUID | str, engine_id: str = "") -> Job | None:
    """Take the lease of a job that nobody runs; None where somebody does, or it has ended."""
    now, lease = timezone.now(), uuid.uuid4()
    free = Q(state__in=(JobState.WAITING, JobState.QUEUED)) | Q(
        state=JobState.RUNNING, lease_until__lt=now
    )
    taken: dict[str, Any] = {
        "state": JobState.RUNNING,
        "lease": lease,
        "lease_until": now + datetime.timedelta(seconds=jobs_settings().lease),
        "started_at": now,
        "attempts": F("attempts") + 1,
    }
    if engine_id:
        taken["engine_id"] = engine_id
    if not Job.objects.filter(free, pk=job_id).update(**taken):
        return None
    return Job.objects.filter(pk=job_id, lease=lease).first()


def renew(job: Job, done: int) -> bool:
    """Keep the lease, and say how much is done; False where the lease is lost."""
    until = timezone.now() + datetime.timedelta(seconds=jobs_settings().lease)
    return bool(_held(job).update(lease_until=until, progress_done=done))


def succeed(job: Job, columns: dict[str, Any], version: str) -> bool:
    """Record the result; False where the lease is lost, and with it the result."""
    columns |= error_columns("", "")
    columns |= {"version": version[:200], "progress_done": job.progress_total}
    return _end(job, _held(job), JobState.SUCCEEDED, columns)


def fail(job: Job, error: dict[str, Any]) -> bool:
    """Record that there will be no result; False where the lease is lost.

    Args:
        job: that this process runs.
        error: the columns that say why.
    """
    return _end(job, _held(job), JobState.FAILED, error)


def give_up(job: Job, error: str) -> bool:
    """Record that no process survives this job; False where the last one is alive after all."""
    dead = _held(job).filter(lease_until=job.lease_until)
    return _end(job, dead, JobState.FAILED, error_columns("InferenceError", error))


def put_back(job: Job, delay: float, error: dict[str, Any]) -> bool:
    """Have the job run again, not before so many seconds; False where the lease is lost.

    Args:
        job: that this process runs.
        delay: in seconds.
        error: the columns that say why.
    """
    columns = (
        error
        | _UNLEASED
        | {
            "state": JobState.WAITING,
            "available_at": timezone.now() + datetime.timedelta(seconds=delay),
            "progress_done": 0,
        }
    )
    return _change(job, _held(job), columns)


def cancel(job: Job) -> bool:
    """End a job whose result nobody wants; False where it has ended before."""
    open_ = Job.objects.filter(pk=job.pk, state__in=UNFINISHED)
    return _end(job, open_, JobState.CANCELLED, {})


def retry(job: Job) -> bool:
    """Run a job again that has failed or was cancelled; False where it is neither."""
    ended = Job.objects.filter(pk=job.pk, state__in=(JobState.FAILED, JobState.CANCELLED))
    columns = error_columns("", "") | {
        "state": JobState.WAITING,
        "available_at": timezone.now(),
        "finished_at": None,
        "announce_at": None,
        "attempts": 0,
        "requeues": 0,
        "progress_done": 0,
    }
    return _change(job, ended, columns)


def queued(job: Job, engine_id: str, look_again_at: datetime.datetime) -> bool:
    """Note that the engine has it; False where it was quicker, and the job runs already."""
    columns = {
        "state": JobState.QUEUED,
        "queued_at": timezone.now(),
        "engine_id": engine_id,
        "available_at": look_again_at,
    }
    return _change(job, Job.objects.filter(pk=job.pk, state=JobState.WAITING), columns)


def take_up(job: Job, now: datetime.datetime) -> bool:
    """Be the one sweep that enqueues this overdue job, as it was found."""
    as_found = Job.objects.filter(
        pk=job.pk, state=job.state, available_at=job.available_at, lease=job.lease
    )
    if job.state == JobState.RUNNING:
        as_found = as_found.filter(lease_until=job.lease_until)
    columns = _UNLEASED | {
        "state": JobState.WAITING,
        "available_at": now,
        "requeues": job.requeues + (job.state == JobState.QUEUED),
    }
    return _change(job, as_found, columns)


def error_columns(kind: str, error: str, details: str = "") -> dict[str, Any]:
    """What a row says of an exception."""
    return {
        "error": _text(error),
        "error_type": kind[:100],
        "error_details": _text(details)[-MAX_TRACEBACK:],
    }


#: Nobody runs it.
_UNLEASED: dict[str, Any] = {"lease": None, "lease_until": None}


def _held(job: Job) -> JobQuerySet:
    return Job.objects.filter(pk=job.pk, lease=job.lease, state=JobState.RUNNING)


def _end(job: Job, open_: JobQuerySet, state: JobState, columns: dict[str, Any]) -> bool:
    now = timezone.now()
    ended = {
        "state": state,
        "finished_at": now,
        "announce_at": now if job_finished.has_listeners(Job) else None,
    }
    return _change(job, open_, columns | _UNLEASED | ended)


def _change(job: Job, rows: JobQuerySet, columns: dict[str, Any]) -> bool:
    """The UPDATE, and what it says on the object too where it was made."""
    if not rows.update(**columns):
        return False
    for name, value in columns.items():
        setattr(job, name, value)
    return True


def _text(value: str) -> str:
    # PostgreSQL keeps no text with this character in it.
    return printable(value).replace("\0", "\N{REPLACEMENT CHARACTER}")
