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
    return _end(
        job,
        _held(job),
        JobState.SUCCEEDED,
        version=version,
        progress_done=F("progress_total"),
        error="",
        error_type="",
        error_details="",
        **columns,
    )


def fail(job: Job, kind: str, error: str, details: str = "") -> bool:
    """Record that there will be no result; False where the lease is lost."""
    return _end(job, _held(job), JobState.FAILED, **error_columns(kind, error, details))


def put_back(job: Job, delay: float, **columns: Any) -> bool:
    """Have the job run again, not before so many seconds; False where the lease is lost."""
    available_at = timezone.now() + datetime.timedelta(seconds=delay)
    changed = _held(job).update(
        state=JobState.WAITING,
        available_at=available_at,
        lease=None,
        lease_until=None,
        progress_done=0,
        **columns,
    )
    if changed:
        job.state, job.available_at = JobState.WAITING, available_at
    return bool(changed)


def cancel(job: Job) -> bool:
    """End a job whose result nobody wants; False where it has ended before."""
    open_ = Job.objects.filter(pk=job.pk, state__in=UNFINISHED)
    return _end(job, open_, JobState.CANCELLED)


def queued(job: Job, engine_id: str, look_again_at: datetime.datetime) -> bool:
    """Note that the engine has it; False where it was quicker, and the job runs already."""
    now = timezone.now()
    changed = Job.objects.filter(pk=job.pk, state=JobState.WAITING).update(
        state=JobState.QUEUED, queued_at=now, engine_id=engine_id, available_at=look_again_at
    )
    if changed:
        job.state, job.engine_id = JobState.QUEUED, engine_id
        job.queued_at, job.available_at = now, look_again_at
    return bool(changed)


def take_up(job: Job, now: datetime.datetime) -> bool:
    """Be the one sweep that enqueues this overdue job, as it was found."""
    seen = Job.objects.filter(
        pk=job.pk, state=job.state, available_at=job.available_at, lease=job.lease
    )
    if job.state == JobState.RUNNING:
        seen = seen.filter(lease_until=job.lease_until)
    requeues = job.requeues + (job.state == JobState.QUEUED)
    changed = seen.update(
        state=JobState.WAITING, available_at=now, lease=None, lease_until=None, requeues=requeues
    )
    if changed:
        job.state, job.available_at, job.requeues = JobState.WAITING, now, requeues
        job.lease = job.lease_until = None
    return bool(changed)


def error_columns(kind: str, error: str, details: str = "") -> dict[str, Any]:
    """What a row says of an exception."""
    return {
        "error": _text(error),
        "error_type": kind[:100],
        "error_details": _text(details)[-MAX_TRACEBACK:],
    }


def _held(job: Job) -> Any:
    return Job.objects.filter(pk=job.pk, lease=job.lease, state=JobState.RUNNING)


def _end(job: Job, open_: Any, state: JobState, **columns: Any) -> bool:
    now = timezone.now()
    columns |= {
        "state": state,
        "finished_at": now,
        "lease": None,
        "lease_until": None,
        "announce_at": now if job_finished.has_listeners(Job) else None,
    }
    if not open_.update(**columns):
        return False
    job.refresh_from_db(fields=["state", *columns])
    return True


def _text(value: str) -> str:
    # PostgreSQL keeps no text with this character in it.
    return printable(value).replace("\0", "\N{REPLACEMENT CHARACTER}")
