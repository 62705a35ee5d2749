from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pytest_django import Settings

from django_inference import Predictor, predictors
from tests.peers.running import MLServer, Triton

OPEN_INFERENCE = "django_inference.backends.open_inference.OpenInferenceBackend"

Remote = Callable[..., Predictor]


@pytest.fixture(scope="session")
def shared_triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    server = Triton(tmp_path_factory.mktemp("triton"))
    yield server
    server.kill()


@pytest.fixture(scope="session")
def shared_mlserver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MLServer]:
    server = MLServer(tmp_path_factory.mktemp("mlserver"))
    yield server
    server.kill()


@pytest.fixture
def triton(shared_triton: Triton) -> Triton:
    """A Triton that runs, whatever the test before has done to it."""
    shared_triton.start()
    return shared_triton


@pytest.fixture
def mlserver(shared_mlserver: MLServer) -> MLServer:
    """An MLServer that runs, whatever the test before has done to it."""
    shared_mlserver.start()
    return shared_mlserver


@pytest.fixture
def remote(settings: Settings) -> Iterator[Remote]:
    """Declares a predictor on servers of the Open Inference Protocol and returns it.

    Another alias than `default` is one more beside those that are there.
    """

    def declare(
        *endpoints: str, backend: str = OPEN_INFERENCE, alias: str = "default", **options: Any
    ) -> Predictor:
        options.setdefault("model", "double")
        entry = {"BACKEND": backend, "OPTIONS": {"endpoints": endpoints, **options}}
        if alias == "default":
            settings.INFERENCE = {alias: entry}
            return predictors[alias]
        return predictors.register(alias, **entry)

    yield declare
    for alias in [alias for alias in predictors if alias != "default"]:
        predictors.unregister(alias)
    predictors.reset()
