"""Jobs as a person reads them in a terminal, and as a program does."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any

from django.utils import timezone
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from django_inference.jobs.models import Job
from django_inference.jobs.states import JobState
from django_inference.specs import PRIORITIES

_COLOURS = {
    JobState.WAITING: "yellow",
    JobState.QUEUED: "yellow",
    JobState.RUNNING: "cyan",
    JobState.SUCCEEDED: "green",
    JobState.FAILED: "bold red",
    JobState.CANCELLED: "dim",
}
#: The columns that `show` prints; what was submitted and answered may be anybody's secret.
_SHOWN = (
    *("id", "predictor", "version", "state", "priority", "progress"),
    *("created_at", "available_at", "queued_at", "started_at", "finished_at"),
    *("attempts", "requeues", "owner_id", "idempotency_key", "engine_id", "lease_until"),
    *("error_type", "error", "error_details"),
)


def job_table(jobs: Sequence[Job]) -> RenderableType:
    """A row a job."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("id", "predictor", "state"):
        table.add_column(heading, no_wrap=True)
    for heading in ("done", "attempts", "age", "took"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("error", overflow="ellipsis", no_wrap=True)
    now = timezone.now()
    for job in jobs:
        state = JobState(job.state)
        table.add_row(
            *(str(job.pk), job.predictor, Text(state.value, style=_COLOURS[state])),
            *(f"{job.progress:.0%}", str(job.attempts), _span(job.created_at, now)),
            *(_span(job.started_at, job.finished_at), job.error.partition("\n")[0]),
        )
    return table


def job_details(job: Job) -> RenderableType:
    """A line a fact; the traceback below."""
    facts = as_plain(job)
    details = facts.pop("error_details")
    table = Table(box=None, pad_edge=False, show_header=False)
    for name, value in facts.items():
        table.add_row(Text(name, style="bold"), Text("-" if value in (None, "") else str(value)))
    return Group(table, Text(f"\n{details}")) if details else table


def as_plain(job: Job) -> dict[str, Any]:
    """What JSON can say of a job, but for its inputs and its result."""
    found: dict[str, Any] = {}
    for name in _SHOWN:
        value = getattr(job, name)
        if isinstance(value, datetime.datetime):
            value = value.isoformat()
        found[name] = value if isinstance(value, int | float | None) else str(value)
    return found | {"priority": PRIORITIES[job.priority]}


def _span(start: datetime.datetime | None, end: datetime.datetime | None) -> str:
    if start is None or end is None:
        return "-"
    seconds = max(0.0, (end - start).total_seconds())
    if seconds < 60:
        return f"{seconds:.1f} s"
    return str(datetime.timedelta(seconds=round(seconds)))
