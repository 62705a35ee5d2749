"""Processes killed at the worst moments, on a database that outlives them."""

from __future__ import annotations

import datetime
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import connection
from django.utils import timezone

from django_inference import InferenceError
from django_inference.backends.dummy import DummyBackend
from django_inference.jobs.models import Job
from django_inference.jobs.outbox import GRACE, sweep
from django_inference.jobs.states import JobState
from tests.hosts import eventually
from tests.jobs.carriers import AT_ONCE, DEADLY, KEEPING, KeepingEngine

# Each starts several processes, one after the other.
pytestmark = pytest.mark.timeout(400)

Acts = Callable[..., int]


@pytest.fixture
def environment() -> Callable[..., dict[str, str]]:
    """Of a process that shares this test's database, with its own `INFERENCE_JOBS`."""

    def environment(**jobs: Any) -> dict[str, str]:
        return os.environ | {
            "DJANGO_SETTINGS_MODULE": "tests.jobs.settings",
            "JOBS_DATABASE_NAME": str(connection.settings_dict["NAME"]),
            "JOBS_MEDIA": str(settings.MEDIA_ROOT),
            "JOBS_SETTINGS": json.dumps({"ENGINE": KEEPING} | jobs),
        }

    return environment


@pytest.fixture
def act(environment: Callable[..., dict[str, str]]) -> Acts:
    """Has a process do something; its exit code."""

    def act(*arguments: str, **jobs: Any) -> int:
        done = subprocess.run(
            [sys.executable, "-m", "tests.jobs.actor", *arguments],
            env=environment(**jobs),
            timeout=100,
            check=False,
        )
        return done.returncode

    return act


def test_killed_between_commit_and_enqueue_the_job_still_runs(
    queue: KeepingEngine, act: Acts, model: DummyBackend
) -> None:
    assert act("submit", ENGINE=DEADLY) == -signal.SIGKILL
    job = Job.objects.get()
    assert (job.state, job.inputs) == (JobState.WAITING, {"value": 21})
    assert sweep(timezone.now() + datetime.timedelta(seconds=GRACE)) == 1
    assert queue.sent == [(job.pk, 0.0)]
    queue.sent.clear()
    assert act("run", str(job.pk)) == 0
    assert job.result(timeout=60) == 42
    assert job.attempts == 1


def test_killed_before_the_commit_the_job_never_was(queue: KeepingEngine, act: Acts) -> None:
    assert act("die in a transaction") == -signal.SIGKILL
    assert not Job.objects.exists()
    assert sweep(timezone.now() + datetime.timedelta(days=1)) == 0


def test_killed_while_it_runs_the_job_is_run_by_another(
    queue: KeepingEngine, act: Acts, model: DummyBackend, tmp_path: Path
) -> None:
    healed = tmp_path / "healed"
    inputs = {"value": 21, "die unless there is": str(healed)}
    job = Job.objects.create(predictor="model", one=True, inputs_json=json.dumps(inputs))
    assert act("run", str(job.pk), LEASE=0.5) == -signal.SIGKILL
    job.refresh_from_db()
    assert (job.state, job.attempts) == (JobState.RUNNING, 1)
    healed.touch()
    eventually(sweep, 60.0)
    assert queue.sent == [(job.pk, 0.0)]
    assert act("run", str(job.pk)) == 0
    assert job.result(timeout=60) == 42
    assert job.attempts == 2


def test_killed_at_each_run_the_job_is_given_up(
    queue: KeepingEngine, act: Acts, declare: Callable[..., None], tmp_path: Path
) -> None:
    declare(MAX_ATTEMPTS=2)
    inputs = {"value": 21, "die unless there is": str(tmp_path / "nothing")}
    job = Job.objects.create(predictor="model", one=True, inputs_json=json.dumps(inputs))
    for _ in range(2):
        assert act("run", str(job.pk), LEASE=0.5, MAX_ATTEMPTS=2) == -signal.SIGKILL
        # Until the lease is over.
        eventually(lambda: sweep() or Job.objects.get(pk=job.pk).is_finished, 60.0)
    with pytest.raises(InferenceError, match="the process that ran it has died, at the run 2"):
        job.result(timeout=60)


def test_the_service_that_sweeps_runs_what_was_lost_and_leaves_when_told(
    queue: KeepingEngine, environment: Callable[..., dict[str, str]]
) -> None:
    old = timezone.now() - datetime.timedelta(minutes=1)
    job = Job.objects.create(
        predictor="model", one=True, inputs_json='{"value": 21}', available_at=old
    )
    service = subprocess.Popen(
        [sys.executable, "-m", "django", "inference_jobs", "sweep", "--every", "0.1"],
        env=environment(ENGINE=AT_ONCE),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        # Waiting for the result would sweep here, too.
        eventually(lambda: Job.objects.get(pk=job.pk).is_finished, 100.0)
        service.send_signal(signal.SIGTERM)
        said, _ = service.communicate(timeout=100)
    finally:
        service.kill()
        service.wait()
    assert said == "enqueued: 1\n"
    assert service.returncode == 0
    assert Job.objects.get(pk=job.pk).get_result() == 42
