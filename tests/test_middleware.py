from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.sync import iscoroutinefunction
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, Client, RequestFactory
from django.urls import path
from pytest_django import Settings

from django_inference import predictors
from django_inference.exceptions import (
    InferenceError,
    InvalidInput,
    ModelCrashed,
    ModelLoadFailed,
    ModelNotReady,
    Overloaded,
    PredictionFailed,
    PredictionTimeout,
)
from django_inference.middleware import InferenceMiddleware
from django_inference.specs import State
from tests.hosts import eventually

MIDDLEWARE = "django_inference.middleware.InferenceMiddleware"
LOCAL = "django_inference.backends.local.LocalBackend"

error: Exception = InferenceError()


def view(request: HttpRequest) -> HttpResponse:
    raise error


def fallen_back(request: HttpRequest) -> HttpResponse:
    return HttpResponse(predictors["first"].predict_one("x"))


async def afallen_back(request: HttpRequest) -> HttpResponse:
    return HttpResponse(await predictors["first"].apredict_one("x"))


async def aview(request: HttpRequest) -> HttpResponse:
    raise error


def page(request: HttpRequest) -> HttpResponse:
    return HttpResponse("fine")


urlpatterns = (
    path("view/", view),
    path("aview/", aview),
    path("page/", page),
    path("fallen/", fallen_back),
    path("afallen/", afallen_back),
)


@pytest.fixture(autouse=True)
def site(settings: Settings) -> Iterator[None]:
    settings.ROOT_URLCONF = urlpatterns
    settings.MIDDLEWARE = [MIDDLEWARE]
    settings.INFERENCE = {}
    yield
    no_thread_is_left()
    predictors.reset()


def no_thread_is_left() -> None:
    eventually(lambda: all(t.name != "inference-preload" for t in threading.enumerate()))


def raising(value: Exception) -> None:
    global error
    error = value


@pytest.mark.parametrize(
    ("value", "status", "retry_after"),
    [
        (ModelNotReady("is not ready.", alias="m", retry_after=1.0), 503, "1"),
        (ModelLoadFailed("no", alias="m", retry_after=12.2), 503, "13"),
        (ModelNotReady("is not ready.", alias="m", retry_after=0.001), 503, "1"),
        (ModelNotReady("is not ready.", alias="m", retry_after=0.0), 503, "1"),
        (Overloaded("no", alias="m", retry_after=2.0), 429, "2"),
        (PredictionTimeout("no", alias="m"), 504, None),
        (InvalidInput("no", alias="m"), 400, None),
        (PredictionFailed("no", alias="m", details="secret"), 500, None),
    ],
)
@pytest.mark.parametrize("url", ["/view/", "/aview/"])
async def test_an_error_that_a_view_lets_through_is_a_response(
    value: InferenceError, status: int, retry_after: str | None, url: str
) -> None:
    raising(value)
    for client in (Client(), AsyncClient()):
        if isinstance(client, Client):
            response: Any = await asyncio.to_thread(client.get, url)
        else:
            response = await client.get(url)
        assert response.status_code == status
        assert response.headers.get("Retry-After") == retry_after
        assert response.headers["Content-Type"] == "application/json"
        assert json.loads(response.content) == {
            # What is about the server stays in its log.
            "error": {
                "type": type(value).__name__,
                "detail": "no" if isinstance(value, InvalidInput) else type(value).public,
            }
        }
        assert b"secret" not in response.content


def test_other_errors_are_left_to_django(client: Client) -> None:
    raising(ValueError("a mistake of the view"))
    with pytest.raises(ValueError, match="a mistake of the view"):
        client.get("/view/")
    middleware = InferenceMiddleware(page)
    assert middleware.process_exception(RequestFactory().get("/"), ValueError()) is None


def test_other_pages_are_left_alone(client: Client) -> None:
    assert client.get("/page/").content == b"fine"


@pytest.mark.parametrize("url", ["/fallen/", "/afallen/"])
async def test_a_response_that_a_fallback_has_made_is_marked(url: str, settings: Settings) -> None:
    dummy = "django_inference.backends.dummy.DummyBackend"
    settings.INFERENCE = {
        "first": {
            "BACKEND": dummy,
            "OPTIONS": {"fallback": "other", "result": ModelCrashed("down")},
        },
        "other": {"BACKEND": dummy, "OPTIONS": {"result": "other"}},
    }
    for response in (await asyncio.to_thread(Client().get, url), await AsyncClient().get(url)):
        assert response.content == b"other"
        assert response.headers["Inference-Degraded"] == "first"
    assert "Inference-Degraded" not in (await AsyncClient().get("/page/")).headers


async def test_the_chain_stays_asynchronous() -> None:
    async def get_response(request: HttpRequest) -> HttpResponse:
        return HttpResponse("fine")

    middleware = InferenceMiddleware(get_response)
    assert iscoroutinefunction(middleware)
    response = await middleware(RequestFactory().get("/"))
    assert response.content == b"fine"


def test_with_debug_a_response_says_it_all(client: Client, settings: Settings) -> None:
    settings.DEBUG = True
    raising(ModelLoadFailed("/models/detector.onnx is corrupt", alias="m"))
    assert client.get("/view/").json()["error"]["detail"] == "/models/detector.onnx is corrupt"


def test_the_log_names_the_predictor(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    raising(ModelNotReady("is not ready.", alias="detector", retry_after=1.0))
    with caplog.at_level(logging.WARNING, "django_inference"):
        client.get("/view/")
    assert "ModelNotReady /view/: Predictor 'detector': is not ready." in caplog.text


@pytest.mark.parametrize("handler", [WSGIHandler, ASGIHandler])
def test_models_are_asked_for_when_a_handler_is_made(settings: Settings, handler: type) -> None:
    loads: list[Any] = []
    go = threading.Event()

    def load(artifact: Any) -> None:
        go.wait(10)
        loads.append(artifact)

    entry = {
        "BACKEND": LOCAL,
        "RUNTIME": "tests.sample_runtimes.Items",
        "RUNTIME_OPTIONS": {"load": load},
    }
    settings.INFERENCE = {"a": entry | {"OPTIONS": {"preload": True}}, "b": entry}
    handler()
    # The server starts at once, whatever the load takes.
    eventually(lambda: predictors["a"].status().state is State.LOADING)
    no_thread_is_left()
    go.set()
    eventually(lambda: predictors["a"].status().state is State.READY)
    assert loads == [None]
    assert predictors["b"].status().state is State.UNLOADED


def test_broken_settings_do_not_keep_a_server_from_starting(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    settings.INFERENCE = {"default": {"BAKEND": "x"}}
    with caplog.at_level(logging.ERROR, "django_inference"):
        WSGIHandler()
        no_thread_is_left()
    assert Client().get("/page/").status_code == 200
    assert "BAKEND" in caplog.text
