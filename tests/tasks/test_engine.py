"""The engine without workers: what it hands to each kind of backend, and what the checks say."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

import pytest
from django.core.checks import CheckMessage
from django.utils import timezone
from pytest_django import Settings

from django_inference import predictors
from django_inference.backends.dummy import DummyBackend
from django_inference.exceptions import EngineUnavailable
from django_inference.jobs import outbox
from django_inference.jobs.checks import check_jobs
from django_inference.jobs.engines import django_tasks, engine
from django_inference.jobs.models import Job
from tests.jobs.conftest import declare, model, storage

__all__ = ["declare", "model", "storage"]

PATH = "django_inference.jobs.engines.django_tasks.DjangoTasksEngine"
SetTasks = Callable[..., None]


def handler() -> Any:
    """What the engine looks `TASKS` up with: Django's, or that of django-tasks."""
    return vars(django_tasks)["task_backends"]


BACKENDS = f"{type(handler()).__module__}.backends"


@pytest.fixture
def set_tasks(
    settings: Settings, declare: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> Iterator[SetTasks]:
    """Sets `TASKS`, of which the first one is the engine's."""

    def set_tasks(**backends: dict[str, Any]) -> None:
        made = type(handler())(backends)
        monkeypatch.setattr(django_tasks, "task_backends", made)
        # Where a task itself looks for its backend.
        monkeypatch.setattr(f"{type(made).__module__}.task_backends", made)
        declare(ENGINE=PATH, ENGINE_OPTIONS={"backend": next(iter(backends))})

    yield set_tasks
    predictors.reset()


def backend(name: str, **options: Any) -> dict[str, Any]:
    return {"BACKEND": f"{BACKENDS}.{name.lower()}.{name}Backend", **options}


def ids(found: list[CheckMessage]) -> list[str]:
    return [str(message.id).removeprefix("django_inference.") for message in found]


@pytest.mark.django_db(transaction=True)
def test_an_immediate_backend_runs_it_in_the_process_that_submits(
    set_tasks: SetTasks, model: DummyBackend
) -> None:
    set_tasks(default=backend("Immediate"))
    job = predictors["model"].submit([1, 2, 3])
    job.refresh_from_db()
    assert job.state == "succeeded"
    assert job.engine_id
    assert job.result(0) == [1, 2, 3]


@pytest.mark.django_db(transaction=True)
def test_a_backend_that_cannot_delay_leaves_retries_to_a_sweep(
    set_tasks: SetTasks, model: DummyBackend
) -> None:
    set_tasks(default=backend("Immediate"))
    with pytest.raises(EngineUnavailable, match="cannot delay"):
        engine().enqueue(Job(predictor="model"), delay=1.0)


@pytest.mark.django_db(transaction=True)
def test_queue_priority_and_delay(
    set_tasks: SetTasks, settings: Settings, model: DummyBackend
) -> None:
    settings.INFERENCE = {"model": settings.INFERENCE["model"] | {"JOBS": {"queue": "slow"}}}
    set_tasks(mine=backend("Dummy", QUEUES=["slow"]), default=backend("Dummy"))
    predictors["model"].submit([1], priority="high")
    job = predictors["model"].submit([1], priority="low")
    before = timezone.now()
    engine().enqueue(job, delay=30.0)
    sent = handler()["mine"].results
    assert [result.task.priority for result in sent] == [10, -10, -10]
    assert {result.task.queue_name for result in sent} == {"slow"}
    assert [result.args for result in sent] == [
        [str(key)] for key in (sent[0].args[0], job.pk, job.pk)
    ]
    assert sent[1].task.run_after is None
    assert 29 < (sent[2].task.run_after - before).total_seconds() < 60
    job.refresh_from_db()
    assert (job.state, job.engine_id) == ("queued", sent[1].id)
    engine().revoke(job)


@pytest.mark.django_db(transaction=True)
def test_a_backend_that_raises_leaves_the_job_waiting(
    set_tasks: SetTasks, model: DummyBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_tasks(default=backend("Dummy", QUEUES=["other"]))
    job = predictors["model"].submit([1])
    job.refresh_from_db()
    assert job.state == "waiting"
    with pytest.raises(EngineUnavailable, match="Queue 'default' is not valid"):
        engine().enqueue(job)
    monkeypatch.setattr(outbox, "_resting", (None, 0.0))
    assert outbox.enqueue(job) is False


def test_checks(set_tasks: SetTasks, declare: Callable[..., None], settings: Settings) -> None:
    database = {"BACKEND": "django_tasks_db.DatabaseBackend"}
    set_tasks(default={"BACKEND": "nowhere.Backend"})
    assert ids(check_jobs()) == ["E092"]
    set_tasks(default=database)
    if not find_spec("django.tasks"):
        assert "Insert 'django_tasks_db' in INSTALLED_APPS" in str(check_jobs()[0].hint)
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "django_tasks_db"]
    assert check_jobs() == []
    set_tasks(default=backend("Immediate"))
    (warning,) = check_jobs()
    assert ids([warning]) == ["W090"]
    assert "run in the process that submits them" in warning.msg
    set_tasks(default=backend("Dummy"))
    assert "never run" in check_jobs()[0].msg
    set_tasks(jobs=database)
    declare(ENGINE=PATH, ENGINE_OPTIONS={"backend": "job"})
    (error,) = check_jobs()
    assert ids([error]) == ["E090"]
    assert error.hint == "Did you mean 'jobs'?"
    declare(ENGINE=PATH, ENGINE_OPTIONS={"backend": "jobs", "queue": "x"})
    assert ids(check_jobs()) == ["E066"]
    set_tasks(default=database | {"QUEUES": ["other"]})
    settings.INFERENCE = {
        "model": {"BACKEND": "django_inference.backends.dummy.DummyBackend"},
        "fine": {
            "BACKEND": "django_inference.backends.dummy.DummyBackend",
            "JOBS": {"queue": "other"},
        },
    }
    (error,) = check_jobs()
    assert ids([error]) == ["E091"]
    assert "INFERENCE['model']['JOBS']" in error.msg


BROKEN = """
import django
from django.conf import settings
from django.core.checks import run_checks

settings.configure(
    SECRET_KEY="x",
    MEDIA_ROOT="media",
    INSTALLED_APPS=[
        "django.contrib.contenttypes",
        "django.contrib.auth",
        "django_inference",
        "django_inference.jobs",
    ],
    TASKS={"default": {"BACKEND": "nowhere.Backend"}},
    INFERENCE_JOBS={"ENGINE_OPTIONS": {"backend": backend}},
)
django.setup()
print(*[message.id for message in run_checks(tags=["inference"])])
"""


@pytest.mark.parametrize(("alias", "id"), [("default", "E092"), ("defalt", "E090")])
def test_checks_find_what_would_keep_the_engine_from_being_made(alias: str, id: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"backend = {alias!r}\n{BROKEN}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.split() == [f"django_inference.{id}"]
