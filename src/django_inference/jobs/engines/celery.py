"""Celery, over RabbitMQ, Redis or whatever else it speaks."""

from __future__ import annotations

import contextlib
from functools import cached_property
from typing import TYPE_CHECKING, Any

from django.core.checks import CheckMessage, Error

from django_inference.backends.celery import find_app
from django_inference.backends.publishing import Publisher
from django_inference.backends.source import find_module
from django_inference.conf import InvalidPredictor, PredictorJobs, jobs_settings
from django_inference.exceptions import EngineUnavailable
from django_inference.jobs.engines.base import BaseEngine
from django_inference.jobs.settings import timeout_of

if TYPE_CHECKING:
    from django_inference.jobs.models import Job

#: The name of the task that `jobs.tasks` holds.
RUN_JOB = "django_inference.run_job"
#: The queue of predictors that name none: where Celery's own settings send the task.
DEFAULT = PredictorJobs().queue
#: Seconds that a run has beyond its timeout before Celery kills what hangs.
GRACE = 30.0


class CeleryEngine(BaseEngine):
    """Sends the ids of jobs to Celery's workers. It needs no result backend.

    Args:
        app: dotted path of the Celery app; None is the one that the site has made.
    """

    def __init__(self, *, app: str | None = None) -> None:
        self._dotted = app

    @classmethod
    def check(cls, *, app: str | None = None, **options: Any) -> list[CheckMessage]:
        """Look for the Celery app."""
        place = "INFERENCE_JOBS['ENGINE_OPTIONS']"
        found: list[CheckMessage] = []
        if options:
            text = f"{place}: CeleryEngine takes no {', '.join(map(repr, options))}."
            found.append(Error(text, hint="It takes 'app'.", id="django_inference.E066"))
        if find_module("celery") is None:
            text = "INFERENCE_JOBS['ENGINE']: the module 'celery' is not installed."
            hint = 'pip install "django-inference[celery]"'
            return [*found, Error(text, hint=hint, id="django_inference.E075")]
        try:
            find_app(app)
        except Exception as error:
            # What the site's own module raises may be anything.
            text = f"{place}: there is no Celery app: {type(error).__name__}: {error}"
            hint = "Make one as Celery's guide for Django says, and import it in the project."
            found.append(Error(text, hint=hint, id="django_inference.E076"))
        return found

    def enqueue(self, job: Job, *, delay: float = 0.0) -> str:
        """As `BaseEngine.enqueue`."""
        publisher = self.publisher
        try:
            return publisher.publish(
                RUN_JOB,
                (str(job.pk),),
                queue=None if job.queue == DEFAULT else job.queue,
                priority=job.priority,
                time_limit=timeout_of(job) + jobs_settings().lease + GRACE,
                **({"countdown": delay} if delay > 0 else {}),
            )
        except Exception as error:
            # Celery, kombu and the client of each broker have errors of their own.
            message = f"Celery's broker does not take it: {type(error).__name__}: {error}"
            raise EngineUnavailable(message, alias=job.predictor) from error

    def revoke(self, job: Job) -> None:
        """Tell the workers not to begin it. One that runs is let run: nobody takes its result."""
        # What cannot be told now, the worker finds in the job's row.
        with contextlib.suppress(Exception), self.publisher.connection() as connection:
            self.app.control.revoke(job.engine_id, connection=connection)

    @cached_property
    def app(self) -> Any:
        """The Celery app."""
        try:
            return find_app(self._dotted)
        except (ImportError, LookupError) as error:
            place = "INFERENCE_JOBS['ENGINE_OPTIONS']"
            raise InvalidPredictor(f"{place}: no Celery app: {error}") from error

    @cached_property
    def publisher(self) -> Publisher:
        """Puts tasks into the app's queues."""
        return Publisher(self.app)
