from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest
from django.urls import path
from pytest_django import Settings
from rest_framework.test import APIClient

from django_inference import predictors
from django_inference.backends.dummy import DummyBackend

DUMMY = "django_inference.backends.dummy.DummyBackend"

ClientFor = Callable[..., APIClient]


@pytest.fixture
def backend(settings: Settings) -> DummyBackend:
    """The backend of the predictor `detector`; it answers with what it is asked."""
    settings.INFERENCE = {"detector": {"BACKEND": DUMMY}, "classifier": {"BACKEND": DUMMY}}
    dummy = cast(DummyBackend, predictors["detector"].backend)
    dummy.returns(lambda inputs: inputs)
    return dummy


@pytest.fixture
def client_for(settings: Settings) -> ClientFor:
    """Serve one view at `/predict/`, or at the given route, and return a client."""

    # What asks for models when a server starts has tests of its own; here it would do so
    # behind the test's back.
    settings.MIDDLEWARE = []

    def serve(view: Any, route: str = "predict/", **options: Any) -> APIClient:
        settings.ROOT_URLCONF = (path(route, view),)
        return APIClient(**options)

    return serve


@pytest.fixture
def client(client_for: ClientFor, backend: DummyBackend) -> APIClient:
    """A client of `detector` at `/predict/`."""
    from django_inference.rest import PredictView

    return client_for(PredictView.as_view(alias="detector"))
