"""A queue whose only worker is the test."""

from __future__ import annotations

from django_inference.jobs.engines.base import BaseEngine
from django_inference.jobs.models import Job
from django_inference.jobs.running import run_job


class ByHand(BaseEngine):
    """Takes every job; `work` runs what waits."""

    def enqueue(self, job: Job, *, delay: float = 0.0) -> str:
        return "by hand"


def work() -> None:
    """Run every job that is not finished, once."""
    for job in Job.objects.unfinished():
        run_job(job.pk)
