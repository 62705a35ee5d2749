"""Waiting for a job to change, in a thread or awaited."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator

from asgiref.sync import sync_to_async

from django_inference.jobs.models import Job
from django_inference.jobs.outbox import sweep_sometimes

#: What can change between two looks; inputs and results stay where they are.
FIELDS = (
    "state", "version", "progress_done", "progress_total", "attempts", "requeues",
    "queued_at", "started_at", "finished_at", "error", "error_type",
)  # fmt: skip

_WAIT = re.compile(r"(?:^|[,;])\s*wait\s*=\s*\"?(\d{1,9})\"?\s*(?:[,;]|$)", re.IGNORECASE)


def fingerprint(job: Job, form: str = "") -> str:
    """An entity tag: another one as soon as there is anything new to say of a job.

    Args:
        job: as fresh as the answer is to be.
        form: what else makes it another body.
    """
    progress = f"{job.progress_done}.{job.progress_total}"
    return f'W/"{job.state}.{job.attempts}.{progress}{form and f".{form}"}"'


def preferred_wait(prefer: str, most: int) -> int | None:
    """The seconds that a header `Prefer: wait=…` asks for; None where it does not.

    Args:
        prefer: the header.
        most: seconds that are granted at the most.
    """
    found = _WAIT.search(prefer)
    return min(int(found[1]), most) if found else None


def looks(seconds: float) -> Iterator[float]:
    """Pauses between looks, the longer the longer it takes, until the time is over."""
    until = time.monotonic() + seconds
    pause = 0.05
    while (left := until - time.monotonic()) > 0:
        yield min(pause, left)
        pause = min(pause * 1.3, 1.0)


def look(job: Job) -> None:
    """See what has become of a job, and that nothing was lost on its way to the queue.

    Raises:
        Job.DoesNotExist: it was removed.
    """
    job.refresh_from_db(fields=FIELDS)
    if not job.is_finished:
        sweep_sometimes()


def wait(job: Job, seconds: float, is_enough: Callable[[Job], bool]) -> None:
    """Return when it is enough, or when the time is over; the job is as fresh as that.

    Raises:
        Job.DoesNotExist: it was removed meanwhile.
    """
    for pause in looks(0 if is_enough(job) else seconds):
        time.sleep(pause)
        look(job)
        if is_enough(job):
            return


async def await_(job: Job, seconds: float, is_enough: Callable[[Job], bool]) -> None:
    """As `wait`, without holding the event loop."""
    for pause in looks(0 if is_enough(job) else seconds):
        await asyncio.sleep(pause)
        await sync_to_async(look)(job)
        if is_enough(job):
            return


def changes(job: Job, seconds: float) -> Iterator[bool]:
    """Look until the job is finished or the time is over: True for each that shows a change."""
    seen = ""
    for pause in looks(seconds):
        yield (new := fingerprint(job)) != seen
        if job.is_finished:
            return
        seen = new
        time.sleep(pause)
        look(job)


async def achanges(job: Job, seconds: float) -> AsyncIterator[bool]:
    """As `changes`, for `async for`."""
    seen = ""
    for pause in looks(seconds):
        yield (new := fingerprint(job)) != seen
        if job.is_finished:
            return
        seen = new
        await asyncio.sleep(pause)
        await sync_to_async(look)(job)
