"""Waiting for the end of a job, and what comes of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

from asgiref.sync import sync_to_async

from django_inference.exceptions import (
    BY_NAME,
    InferenceError,
    JobCancelled,
    PredictionFailed,
    PredictionTimeout,
)
from django_inference.jobs.models import Job
from django_inference.jobs.outbox import sweep_sometimes
from django_inference.jobs.payloads import RESULT, load
from django_inference.jobs.querysets import PAYLOADS
from django_inference.jobs.states import JobState

#: Seconds between two looks at the database: the first pause and the longest.
SHORTEST, LONGEST = 0.02, 1.0

_RESULT = ["result_json", "result_packed"]
_SHORT = [field.attname for field in Job._meta.concrete_fields if field.attname not in PAYLOADS]


def wait(job: Job, timeout: float | None) -> Any:
    """As `Job.result`."""
    for pause in _pauses(job, timeout):
        time.sleep(pause)
        _look(job)
    return outcome_of(job)


async def await_(job: Job, timeout: float | None) -> Any:
    """As `Job.aresult`."""
    look = sync_to_async(_look)
    for pause in _pauses(job, timeout):
        await asyncio.sleep(pause)
        await look(job)
    return await sync_to_async(outcome_of)(job)


def outcome_of(job: Job) -> Any:
    """The result of a job that has ended, or its error."""
    if job.state == JobState.SUCCEEDED:
        return load(job, RESULT)
    raise exception_of(job) or PredictionTimeout(
        f"the job {job.pk} is {job.state}.", alias=job.predictor
    )


def exception_of(job: Job) -> InferenceError | None:
    """What a failed or cancelled job raises; None for the others."""
    if job.state == JobState.CANCELLED:
        return JobCancelled(f"the job {job.pk} was cancelled.", alias=job.predictor)
    if job.state != JobState.FAILED:
        return None
    kind = BY_NAME.get(job.error_type)
    message = job.error if kind else f"{job.error_type}: {job.error}"
    return (kind or PredictionFailed)(message, alias=job.predictor, details=job.error_details)


def _pauses(job: Job, timeout: float | None) -> Iterator[float]:
    """The next pause, until the job has ended or the time is up."""
    until = None if timeout is None else time.monotonic() + timeout
    pause = 0.0
    while not job.is_finished:
        left = LONGEST if until is None else until - time.monotonic()
        # There is one look at the least.
        if left <= 0 and pause:
            return
        yield max(0.0, min(pause, left))
        pause = min(max(pause * 1.5, SHORTEST), LONGEST)


def _look(job: Job) -> None:
    """Look at the row again: at what may be long only once, and at the inputs never."""
    job.refresh_from_db(fields=_SHORT)
    if job.is_finished:
        job.refresh_from_db(fields=_RESULT)
    else:
        sweep_sometimes()
