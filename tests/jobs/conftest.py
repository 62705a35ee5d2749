from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connections
from pytest_django import Settings

from django_inference import predictors
from django_inference.backends.dummy import DummyBackend
from django_inference.jobs import outbox
from django_inference.jobs.engines import engine
from tests.jobs.carriers import KEEPING, KeepingEngine

#: Set by `test_databases`, which runs this folder once more on each database.
DATABASE = os.environ.get("JOBS_DATABASE", "")

#: Several processes cannot share a database in memory.
collect_ignore = ["test_databases.py"] if DATABASE else ["test_kills.py", "test_races.py"]


@pytest.fixture
def storage(settings: Settings, tmp_path: Path) -> Path:
    """The folder of the files of jobs."""
    settings.MEDIA_ROOT = tmp_path / "media"
    return tmp_path / "media"


@pytest.fixture
def declare(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets `INFERENCE_JOBS`."""

    def declare(**values: Any) -> None:
        # However slow the machine, nothing happens by itself amid a test.
        slow = {"LEASE": 1e4, "SWEEP_INTERVAL": 1e6}
        settings.INFERENCE_JOBS = {"ENGINE": KEEPING} | slow | values
        # No test finds a queue or a sweep as another one has left it.
        monkeypatch.setattr(outbox, "_resting", (None, 0.0))
        monkeypatch.setattr(outbox, "_swept_at", 0.0)

    return declare


@pytest.fixture
def queue(declare: Callable[..., None], storage: Path, transactional_db: None) -> KeepingEngine:
    """What is enqueued by the commits of this test."""
    declare()
    found = engine()
    assert isinstance(found, KeepingEngine)
    return found


@pytest.fixture
async def hang_up() -> AsyncIterator[None]:
    """Closes the connections of the thread that database calls of async code are made in."""
    yield
    await sync_to_async(connections.close_all)()


@pytest.fixture
def model(settings: Settings) -> Iterator[DummyBackend]:
    """The backend of a predictor `model`, which gives its inputs back."""
    settings.INFERENCE = {
        "model": {
            "BACKEND": "django_inference.backends.dummy.DummyBackend",
            "OPTIONS": {"max_batch_size": 4, "batching": "always"},
        }
    }
    backend = predictors["model"].backend
    assert isinstance(backend, DummyBackend)
    backend.returns(lambda inputs: inputs)
    yield backend
    predictors.reset()
