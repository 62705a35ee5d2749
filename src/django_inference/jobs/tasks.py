"""Celery's side of durable jobs: the task that runs one, and sweeps while a worker runs.

A Celery app that calls `autodiscover_tasks()` finds it.
"""

from __future__ import annotations

import logging
from typing import Any

from celery import bootsteps, shared_task
from celery.signals import worker_init

from django_inference.conf import jobs_settings
from django_inference.jobs import outbox
from django_inference.jobs import running as jobs_running
from django_inference.jobs.engines import engine
from django_inference.jobs.engines.celery import RUN_JOB, CeleryEngine
from django_inference.specs import PRIORITIES

logger = logging.getLogger("django_inference.jobs")

SWEEP = "django_inference.sweep"


@shared_task(  # type: ignore[untyped-decorator]
    name=RUN_JOB,
    bind=True,
    # Taken off the queue by its end: what dies with its worker is delivered again. A second
    # delivery does no harm, since a job is run by whoever has its lease.
    acks_late=True,
    reject_on_worker_lost=True,
    ignore_result=True,
)
def run_job(task: Any, job_id: str) -> None:
    """Run a job, unless somebody does or has done so.

    Args:
        task: this one.
        job_id: of its row.
    """
    jobs_running.run_job(job_id, engine_id=task.request.id)


@shared_task(name=SWEEP, ignore_result=True)  # type: ignore[untyped-decorator]
def sweep() -> None:
    """Enqueue the jobs that were lost on their way."""
    outbox.sweep()


class Sweeping(bootsteps.StartStopStep):  # type: ignore[misc]
    """Has one of the worker's children sweep from time to time, also when no jobs come.

    Not the worker itself: a connection to the database that it opened would be inherited by
    the children that it forks later. Without its broker a worker need not sweep.

    Args:
        consumer: of the worker.
    """

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, consumer: Any, **options: Any) -> None:
        self._entry: Any = None

    def start(self, consumer: Any) -> None:
        """The broker is connected, for the first time or again."""
        self._send(consumer)
        seconds = jobs_settings().sweep_interval
        self._entry = consumer.timer.call_repeatedly(seconds, self._send, (consumer,))

    def stop(self, consumer: Any) -> None:
        """The worker leaves, or has lost its broker."""
        if self._entry is not None:
            self._entry.cancel()

    def _send(self, consumer: Any) -> None:
        carrier = engine()
        assert isinstance(carrier, CeleryEngine)
        # A queue that this worker takes from, so that somebody does it.
        queue = next(iter(consumer.app.amqp.queues.consume_from))
        seconds = jobs_settings().sweep_interval
        try:
            carrier.publisher.publish(
                SWEEP, (), queue=queue, priority=PRIORITIES.index("high"), expires=seconds
            )
        except Exception as error:
            logger.warning("no sweep: %s: %s", type(error).__name__, error)


def start(sender: Any, **kwargs: Any) -> None:
    """Have a worker sweep while it runs, where jobs are Celery's."""
    if isinstance(engine(), CeleryEngine):
        sender.app.steps["consumer"].add(Sweeping)


worker_init.connect(start, dispatch_uid="django_inference.jobs.tasks.start")
