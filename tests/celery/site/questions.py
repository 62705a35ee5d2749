"""What the tests of Celery ask in a process of the site, beside what all tests of jobs ask."""

from __future__ import annotations

import time
from typing import Any

import django

from tests.tasks import questions


def submit_to(alias: str, value: int, priority: Any = "normal") -> dict[str, Any]:
    """Submit a number; return what is known of the job then."""
    from django_inference import predictors

    began = time.perf_counter()
    job = predictors[alias].submit({"value": value}, one=True, priority=priority)
    seconds = time.perf_counter() - began
    job.refresh_from_db()
    return {"id": str(job.pk), "state": job.state, "task": job.engine_id, "seconds": seconds}


def states() -> dict[str, str]:
    """The state of the job of each number."""
    from django_inference.jobs.models import Job

    return {str(job.inputs["value"]): job.state for job in Job.objects.all()}


def are_done_but(count: int) -> bool:
    """Whether all jobs but so many have ended."""
    from django_inference.jobs.models import Job

    return Job.objects.unfinished().count() == count


def forget() -> None:
    """Begin anew."""
    from django_inference.jobs.models import Job

    Job.objects.all().delete()


if __name__ == "__main__":
    django.setup()
    for asked in (submit_to, states, are_done_but, forget):
        setattr(questions, asked.__name__, asked)
    questions.main()
