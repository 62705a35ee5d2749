from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings

from django_inference import predictors
from django_inference.backends.dummy import DummyBackend
from django_inference.serving.access import gate

DUMMY = "django_inference.backends.dummy.DummyBackend"
LOCAL = "django_inference.backends.local.LocalBackend"


@pytest.fixture(autouse=True)
def models(settings: Settings, onnx_mlp: Path) -> Iterator[None]:
    """A real model, two that do as they are told, and one that cannot be loaded."""
    functions = "tests.grpc.functions"
    settings.INFERENCE = {
        "mlp": {"MODEL": onnx_mlp, "BACKEND": LOCAL, "OPTIONS": {"preload": True}},
        "told": {"BACKEND": DUMMY, "OPTIONS": {"preload": False}},
        "slow": {"RUNTIME": f"{functions}.slow", "BACKEND": LOCAL},
        "counter": {"RUNTIME": f"{functions}.Counter", "BACKEND": LOCAL},
    }
    yield
    gate.cache_clear()
    predictors.reset()


@pytest.fixture
def told() -> DummyBackend:
    """The backend of the model that does as it is told."""
    backend = predictors["told"].backend
    assert isinstance(backend, DummyBackend)
    return backend


def raising(error: BaseException) -> Any:
    def answer(inputs: Any) -> Any:
        raise error

    return answer
