"""Where a job is in its life."""

from __future__ import annotations

from django.db.models import TextChoices


class JobState(TextChoices):
    """Each state, as it is kept in the row.

        waiting ⇄ queued → running → succeeded | failed | cancelled

    A running job goes back to `waiting` when it is to be tried again, or when its process has
    died. It may be cancelled in any state but the last three.
    """

    #: Committed, and in no queue: yet, or again at `available_at`.
    WAITING = "waiting"
    #: Handed to the engine.
    QUEUED = "queued"
    #: Some process has its lease.
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


UNFINISHED = (JobState.WAITING, JobState.QUEUED, JobState.RUNNING)
FINISHED = (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)
