"""What an engine is: the few things that a job needs of a queue."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from django.core.checks import CheckMessage

if TYPE_CHECKING:
    from django_inference.jobs.models import Job


class BaseEngine(ABC):
    """Carries the ids of jobs to processes that call `running.run_job` with them.

    It need not be reliable: what it loses is enqueued again by a sweep, and what it delivers
    twice is run once. It is made once a process and shared by its threads; making it dials
    nobody.

    Args:
        options: `INFERENCE_JOBS["ENGINE_OPTIONS"]`.
    """

    def __init__(self, **options: Any) -> None:
        if options:
            names = ", ".join(map(repr, options))
            raise TypeError(f"{type(self).__name__} takes no option {names}")

    @classmethod
    def check(cls, **options: Any) -> list[CheckMessage]:
        """Look for mistakes that can be seen without dialing anybody."""
        return []

    @abstractmethod
    def enqueue(self, job: Job, *, delay: float = 0.0) -> str:
        """Have `run_job(job.id)` called by some worker.

        Args:
            job: its id is all that travels; `queue` and `priority` say where and how soon.
            delay: seconds before which it need not be run.

        Returns:
            The queue's own id of the task, which `Job.engine_id` keeps.

        Raises:
            EngineUnavailable: the queue does not take it, said within two seconds.
        """

    def recover(self) -> None:
        """Have those queued jobs swept up at once that the queue knows to be lost.

        Called now and then by workers that sweep while they have nothing to do.
        """

    def revoke(self, job: Job) -> None:
        """Take it back from the queue, as far as the queue can. It is not run anyhow."""
