"""Django's own tasks: `django.tasks` from Django 6 on, the package `django-tasks` before that.

With the database backend of `django-tasks-db`, jobs need neither a broker nor anything else
beside the site's database: `manage.py db_worker` runs them.
"""

from __future__ import annotations

import datetime
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.core.checks import CheckMessage, Error, Warning
from django.core.exceptions import ImproperlyConfigured
from django.db.models import Q
from django.utils import timezone

from django_inference.conf import InvalidPredictor, jobs_settings
from django_inference.exceptions import EngineUnavailable
from django_inference.jobs.engines.base import BaseEngine
from django_inference.jobs.models import Job
from django_inference.jobs.running import run_job as run
from django_inference.jobs.settings import predictor_jobs
from django_inference.jobs.states import UNFINISHED, JobState
from django_inference.registry import predictors
from django_inference.specs import NORMAL
from django_inference.words import nearest

if TYPE_CHECKING:
    from django.tasks import TaskContext, task, task_backends
    from django.tasks.base import Task
else:
    try:
        from django.tasks import task, task_backends
    except ImportError:
        try:
            from django_tasks import task, task_backends
        except ImportError as error:
            raise ImportError(
                "Django's tasks are missing. Install django-inference[tasks]"
            ) from error

#: As Django calls the backend, and the queue, that nobody has named.
DEFAULT = "default"
#: Django allows -100 to 100; a site's own tasks may come between these.
PRIORITY_STEP = 10
#: How many tasks are looked at, at the most, to find those of dead workers.
MOST_TASKS = 1000
#: How a task ends that no worker will end.
_WITHDRAWN = {
    "status": "FAILED",
    "exception_class_path": "django_inference.exceptions.InferenceError",
    "traceback": "Withdrawn: its job has ended, or is handed out once more.",
}


class DjangoTasksEngine(BaseEngine):
    """Hands jobs to a backend of `TASKS`.

    A task is enqueued after the commit that the job is written by, also where the queue is a
    table of the same database: a queue that fails spoils no transaction of the site, and what
    is lost between the two is found by a sweep.

    Args:
        backend: alias in `TASKS`.
    """

    def __init__(self, *, backend: str = DEFAULT) -> None:
        self.alias = backend

    @classmethod
    def check(cls, *, backend: str = DEFAULT, **options: Any) -> list[CheckMessage]:
        """Look at `TASKS`, and whether its backend has the predictors' queues."""
        found: list[CheckMessage] = []
        if options:
            names = ", ".join(map(repr, options))
            message = f"INFERENCE_JOBS['ENGINE_OPTIONS']: this engine takes 'backend', not {names}."
            found.append(Error(message, id="django_inference.E066"))
        known = list(task_backends.settings)
        if backend not in known:
            message = f"INFERENCE_JOBS['ENGINE_OPTIONS']: TASKS has no {backend!r}."
            near = nearest(backend, known)
            hint = f"Did you mean {near!r}?" if near else None
            return [*found, Error(message, hint=hint, id="django_inference.E090")]
        return [*found, *_check_backend(backend), *_check_queues(backend)]

    def enqueue(self, job: Job, *, delay: float = 0.0) -> str:
        """As `BaseEngine.enqueue`."""
        try:
            task = _task_of(self.alias, job, delay)
            self.revoke(job)
            return str(task.enqueue(str(job.pk)).id)
        except Exception as error:
            # A backend may be anybody's, and raise anything.
            message = f"{type(error).__name__}: {error}"
            raise EngineUnavailable(message, alias=job.predictor) from error

    def revoke(self, job: Job) -> None:
        """End the job's last task, where the queue is a table; elsewhere it is left alone.

        One whose worker has died would stay `RUNNING` for ever. A worker that lives has the
        last word, and says how its task has ended.
        """
        if job.engine_id and _is_a_table(self.alias):
            _withdraw(job.engine_id)

    def recover(self) -> None:
        """Find the tasks whose worker has died before it began with the job, or just after it.

        Either takes a moment in a worker that lives; here a whole lease has passed.
        """
        if not _is_a_table(self.alias):
            return
        from django_tasks_db.models import DBTaskResult

        now = timezone.now()
        late = now - datetime.timedelta(seconds=jobs_settings().lease)
        running = DBTaskResult.objects.filter(
            status="RUNNING", backend_name=self.alias, task_path=f"{__name__}.run_job"
        )
        for task in running.filter(started_at__lt=late).order_by("started_at")[:MOST_TASKS]:
            jobs = Job.objects.filter(pk=task.args_kwargs["args"][0])
            untouched = jobs.filter(state=JobState.QUEUED, engine_id=str(task.pk))
            if untouched.update(available_at=now):
                continue
            if not jobs.filter(Q(state__in=UNFINISHED) | Q(finished_at__gte=late)).exists():
                _withdraw(str(task.pk))


def _withdraw(task: str) -> None:
    """End a task that is ready or running, without a word to the worker, should there be one."""
    from django_tasks_db.models import DBTaskResult

    unfinished = DBTaskResult.objects.filter(pk=task, status__in=("READY", "RUNNING"))
    unfinished.update(finished_at=timezone.now(), **_WITHDRAWN)


def _task_of(alias: str, job: Job, delay: float) -> Task[[str], None]:
    """The task of a job: its queue, its priority, and when it may begin.

    Raises:
        EngineUnavailable: the backend cannot wait. A sweep enqueues the job when it is due.
    """
    backend = task_backends[alias]
    if delay and not backend.supports_defer:
        raise EngineUnavailable("the backend of TASKS cannot delay a task", alias=job.predictor)
    priority = (NORMAL - job.priority) * PRIORITY_STEP if backend.supports_priority else None
    return _task().using(
        backend=alias,
        queue_name=job.queue,
        priority=priority,
        run_after=timezone.now() + datetime.timedelta(seconds=delay) if delay else None,
    )


def _is_a_table(alias: str) -> bool:
    if not apps.is_installed("django_tasks_db"):
        return False
    from django_tasks_db.backend import DatabaseBackend

    return isinstance(task_backends[alias], DatabaseBackend)


def _check_backend(alias: str) -> list[CheckMessage]:
    try:
        backend = task_backends[alias]
    except ImproperlyConfigured as error:
        return [Error(f"TASKS[{alias!r}]: {error}", id="django_inference.E092")]
    kind = type(backend).__name__
    if kind not in ("DummyBackend", "ImmediateBackend"):
        # Django does this itself, but the package has to be an app for it.
        is_looked_at = find_spec("django.tasks") or apps.is_installed("django_tasks")
        return [] if is_looked_at else list(backend.check())
    runs = "are never run" if kind == "DummyBackend" else "run in the process that submits them"
    return [
        Warning(
            f"TASKS[{alias!r}] is a {kind}: durable jobs {runs}.",
            hint="Set its BACKEND to 'django_tasks_db.DatabaseBackend', add 'django_tasks_db' to "
            "INSTALLED_APPS, migrate, and run `manage.py db_worker`.",
            id="django_inference.W090",
        )
    ]


def _check_queues(alias: str) -> list[CheckMessage]:
    try:
        queues = task_backends[alias].queues
    except ImproperlyConfigured:
        return []
    found: list[CheckMessage] = []
    for predictor in predictors:
        try:
            queue = predictor_jobs(predictor).queue
        except InvalidPredictor:
            # Said by the checks of INFERENCE.
            continue
        if queues and queue not in queues:
            message = f"INFERENCE[{predictor!r}]['JOBS']: TASKS[{alias!r}] has no queue {queue!r}."
            hint = f"Add it to TASKS[{alias!r}]['QUEUES']."
            found.append(Error(message, hint=hint, id="django_inference.E091"))
    return found


def _run_job(context: TaskContext[..., None], job_id: str) -> None:
    """Run one job. Whatever comes of it is recorded in the job: this task succeeds."""
    run(job_id, engine_id=context.task_result.id)


# What a queue calls it; see below.
_run_job.__name__ = _run_job.__qualname__ = "run_job"


@cache
def _task() -> Task[[str], None]:
    """The task, made at its first use: a task needs its backend from the beginning.

    Where `TASKS` is wrong, this module can be imported nonetheless, and the check can say so.
    """
    alias = str(jobs_settings().engine_options.get("backend", DEFAULT))
    queues = task_backends[alias].queues
    queue = DEFAULT if not queues or DEFAULT in queues else min(queues)
    return task(takes_context=True, backend=alias, queue_name=queue)(_run_job)


def __getattr__(name: str) -> Any:
    """`run_job`, by which a worker finds the task."""
    if name == "run_job":
        return _task()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
