from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from pytest_django import Settings

from django_inference import predictors
from django_inference.backends.dummy import DummyBackend
from django_inference.exceptions import PredictionFailed
from tests.jobs.conftest import declare, queue, storage

__all__ = ["declare", "queue", "storage"]

#: Set by `test_databases`, which runs this folder once more on each database.
collect_ignore = ["test_databases.py"] if os.environ.get("JOBS_DATABASE") else []


def shout(text: str) -> str:
    if text == "fail":
        raise PredictionFailed("it failed")
    return text.upper()


@pytest.fixture(autouse=True)
def models(settings: Settings) -> Iterator[dict[str, DummyBackend]]:
    """The predictors that the fields of `tests.fields.pictures` name."""
    answers: dict[str, Any] = {
        "upper": shout,
        "measure": lambda item: {"sizes": [len(item["text"]) + item["number"]]},
        "count": len,
    }
    settings.INFERENCE = {
        alias: {"BACKEND": "django_inference.backends.dummy.DummyBackend"} for alias in answers
    }
    found = {}
    for alias, answer in answers.items():
        backend = predictors[alias].backend
        assert isinstance(backend, DummyBackend)
        backend.returns(answer)
        found[alias] = backend
    yield found
    predictors.reset()
