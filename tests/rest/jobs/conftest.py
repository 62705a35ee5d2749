from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import include, path
from pytest_django import Settings

from django_inference import predictors
from django_inference.backends.dummy import DummyBackend

DUMMY = "django_inference.backends.dummy.DummyBackend"


@pytest.fixture
def dummy(settings: Settings, tmp_path: Path) -> Iterator[DummyBackend]:
    """A site with jobs of `detector`, which answers with what it is asked."""
    settings.MIDDLEWARE = [
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ]
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
    settings.STATIC_URL = "/static/"
    settings.MEDIA_ROOT = tmp_path
    settings.INFERENCE_JOBS = {"ENGINE": "tests.rest.jobs.engines.ByHand"}
    settings.INFERENCE = {"detector": {"BACKEND": DUMMY}, "classifier": {"BACKEND": DUMMY}}
    settings.ROOT_URLCONF = (
        path("api/", include("django_inference.rest.urls")),
        path("api/", include("django_inference.rest.jobs.urls")),
        path("pages/", include("django_inference.rest.jobs.pages.urls")),
    )
    backend: Any = predictors["detector"].backend
    backend.returns(lambda inputs: inputs)
    yield backend
    predictors.reset()


@pytest.fixture
def ada(dummy: DummyBackend, db: None) -> Client:
    """Somebody who is logged in."""
    return logged_in("ada")


def logged_in(name: str, **options: Any) -> Client:
    client = Client(**options)
    client.force_login(User.objects.create_user(name))
    return client
