"""Engines whose queue is in the hands of a test: when a job is delivered, lost or delivered twice.

The engines that sites use have tests of their own, with real queues.
"""

from __future__ import annotations

import os
import signal
import uuid
from typing import Any

from django_inference.exceptions import EngineUnavailable
from django_inference.jobs.engines.base import BaseEngine
from django_inference.jobs.models import Job
from django_inference.jobs.running import run_job

KEEPING = f"{__name__}.KeepingEngine"
DEADLY = f"{__name__}.DeadlyEngine"
AT_ONCE = f"{__name__}.AtOnceEngine"


class KeepingEngine(BaseEngine):
    """A queue in memory.

    Attributes:
        sent: each job's id, with the delay.
        revoked: ids of jobs.
        is_down: it takes nothing.
        asked: how often it was to take something.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.sent: list[tuple[uuid.UUID, float]] = []
        self.revoked: list[uuid.UUID] = []
        self.is_down = False
        self.asked = 0

    def enqueue(self, job: Job, *, delay: float = 0.0) -> str:
        self.asked += 1
        if self.is_down:
            raise EngineUnavailable("nobody is there", alias=job.predictor)
        self.sent.append((job.pk, delay))
        return f"task {len(self.sent)}"

    def revoke(self, job: Job) -> None:
        self.revoked.append(job.pk)

    def deliver(self) -> list[uuid.UUID]:
        """Run what was sent so far, and what is sent by that."""
        done = []
        while self.sent:
            key, _ = self.sent.pop(0)
            run_job(key, engine_id="delivered")
            done.append(key)
        return done


class DeadlyEngine(BaseEngine):
    """Kills the process that is about to enqueue."""

    def enqueue(self, job: Job, *, delay: float = 0.0) -> str:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


class AtOnceEngine(BaseEngine):
    """Runs a job while it is enqueued: quicker than any queue."""

    def enqueue(self, job: Job, *, delay: float = 0.0) -> str:
        run_job(job.pk, engine_id="at once")
        return "at once"
