"""Telling other apps that a job has ended, at least once."""

from __future__ import annotations

import datetime
from functools import partial

from django.db import router, transaction
from django.utils import timezone

from django_inference.jobs.models import Job
from django_inference.jobs.signals import job_finished

#: How long a receiver that raises is told again.
PATIENCE = datetime.timedelta(days=1)


def announce(job: Job) -> None:
    """Send `job_finished` once the end of the job is committed, if somebody listens."""
    if job.announce_at is not None:
        transaction.on_commit(partial(_send, job), using=router.db_for_write(Job), robust=True)


def announce_overdue(before: datetime.datetime, limit: int) -> None:
    """Send it for the jobs whose process died before it had, or whose receiver raised."""
    overdue = Job.objects.finished().filter(
        announce_at__lte=before, finished_at__gt=before - PATIENCE
    )
    for job in overdue.order_by("announce_at")[:limit]:
        mine = Job.objects.filter(pk=job.pk, announce_at=job.announce_at)
        if mine.update(announce_at=timezone.now()):
            _send(job)


def _send(job: Job) -> None:
    # Django logs what a receiver raises.
    said = job_finished.send_robust(sender=Job, job=job)
    if not any(isinstance(answer, Exception) for _, answer in said):
        Job.objects.filter(pk=job.pk).update(announce_at=None)
