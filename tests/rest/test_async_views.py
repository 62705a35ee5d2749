"""The views for ASGI answer as the others do, and hold no thread meanwhile."""

from __future__ import annotations

import asyncio
import json
from typing import Any, cast

import numpy as np
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import AsyncClient, Client
from django.urls import include, path
from pytest_django import Settings

from django_inference import predictors
from django_inference.backends.dummy import DummyBackend
from django_inference.exceptions import BY_NAME, InferenceError
from django_inference.rest.async_views import AsyncPredictView
from tests.rest.conftest import DUMMY

JSON = "application/json"


@pytest.fixture
def backend(settings: Settings) -> DummyBackend:
    settings.MIDDLEWARE = []
    settings.ROOT_URLCONF = (
        path("sync/", include("django_inference.rest.urls", namespace="sync")),
        path("async/", include("django_inference.rest.async_urls", namespace="async")),
    )
    closed = {"permission_classes": ["rest_framework.permissions.IsAuthenticated"]}
    settings.INFERENCE = {
        "detector": {"BACKEND": DUMMY, "REST": {"max_body_bytes": 1000}},
        "closed": {"BACKEND": DUMMY, "REST": closed},
        "few": {"BACKEND": DUMMY, "REST": {"throttle": {"rows": "1/day"}}},
    }
    dummy = cast(DummyBackend, predictors["detector"].backend)
    dummy.returns(lambda inputs: inputs)
    return dummy


#: Method, place, body and its type.
REQUESTS: dict[str, tuple[str, str, Any, str]] = {
    "item": ("post", "detector/", b'{"item": {"a": [1]}}', JSON),
    "items": ("post", "detector/", b'{"items": [1, 2]}', JSON),
    "inputs": ("post", "detector/", b'{"inputs": {"x": [[1, 2.5]]}}', JSON),
    "bytes": ("post", "detector/", b"\xff\xd8", "image/jpeg"),
    "npy": ("post", "detector/?format=npy", b'{"inputs": {"x": [[1, 2.5]]}}', JSON),
    "batch": ("post", "detector/batch/", b"[1, 2]", JSON),
    "status": ("get", "detector/", b"", ""),
    "options": ("options", "detector/", b"", ""),
    "malformed": ("post", "detector/", b"{", JSON),
    "another shape": ("post", "detector/", b'{"foo": 1}', JSON),
    "nothing": ("post", "detector/", b"", JSON),
    "too large": ("post", "detector/", b"x" * 1001, "image/jpeg"),
    "unknown": ("post", "nobody/", b'{"item": 1}', JSON),
    "anonymous": ("post", "closed/", b'{"item": 1}', JSON),
    "throttled": ("post", "few/batch/", b"[1, 2]", JSON),
    "method": ("put", "detector/", b'{"item": 1}', JSON),
    "not acceptable": ("post", "detector/?format=jpeg", b'{"item": 1}', JSON),
    "index": ("get", "", b"", ""),
}


@pytest.mark.parametrize("request_", REQUESTS.values(), ids=list(REQUESTS))
async def test_both_answer_alike(
    backend: DummyBackend, request_: tuple[str, str, bytes, str]
) -> None:
    method, place, body, kind = request_
    sync = await asyncio.to_thread(Client().generic, method.upper(), f"/sync/{place}", body, kind)
    found = await AsyncClient().generic(method.upper(), f"/async/{place}", body, kind)
    assert found.status_code == sync.status_code
    if place and sync.status_code == 200 and method != "options":
        assert found.content == sync.content
    for header in ("Content-Type", "Retry-After", "WWW-Authenticate", "Allow"):
        assert found.headers.get(header) == sync.headers.get(header)
    if sync.status_code >= 400:
        assert json.loads(found.content) == json.loads(sync.content)


async def test_an_upload(backend: DummyBackend) -> None:
    response = await AsyncClient().post("/async/detector/", {"f": SimpleUploadedFile("a", b"ab")})
    assert response.json() == {"result": {"b64": "YWI="}}


@pytest.mark.parametrize("error", [kind for kind in BY_NAME.values() if kind.status_code < 500])
async def test_an_error_has_its_status(backend: DummyBackend, error: type[InferenceError]) -> None:
    backend.returns(error("no", alias="detector"))
    response = await AsyncClient().post("/async/detector/", {"item": 1}, JSON)
    assert response.status_code == error.status_code


async def test_a_stream(backend: DummyBackend) -> None:
    backend.returns(["a", np.float32(2)])
    response = await AsyncClient().post("/async/detector/stream/", {"item": 1}, JSON)
    assert response.headers["Content-Type"] == "text/event-stream"
    text = b"".join([part async for part in cast(Any, response).streaming_content])
    assert text.count(b"event: chunk") == 2
    assert text.endswith(b"event: end\ndata: null\n\n")


async def test_many_wait_at_once_without_a_thread_each(
    backend: DummyBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    count, waiting = 50, 0
    everybody = asyncio.Event()

    async def apredict_one(item: Any, **options: Any) -> Any:
        nonlocal waiting
        waiting += 1
        if waiting == count:
            everybody.set()
        await asyncio.wait_for(everybody.wait(), 20)
        return item

    monkeypatch.setattr(backend, "apredict_one", apredict_one)
    client = AsyncClient()
    answers = await asyncio.gather(
        *(client.post("/async/detector/", {"item": n}, JSON) for n in range(count))
    )
    assert [answer.json() for answer in answers] == [{"result": n} for n in range(count)]


async def test_a_client_that_is_gone_ends_the_call(
    backend: DummyBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    async def apredict_one(item: Any, **options: Any) -> Any:
        began.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    monkeypatch.setattr(backend, "apredict_one", apredict_one)
    task = asyncio.ensure_future(AsyncClient().post("/async/detector/", {"item": 1}, JSON))
    await asyncio.wait_for(began.wait(), 20)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()


def test_under_wsgi_it_answers_too(backend: DummyBackend) -> None:
    assert Client().post("/async/detector/", {"item": 1}, JSON).json() == {"result": 1}


async def test_a_view_of_ones_own(backend: DummyBackend, settings: Settings) -> None:
    class Loud(AsyncPredictView):
        alias = "detector"

        def present(self, result: Any) -> Any:
            return f"{result}!"

    settings.ROOT_URLCONF = (path("loud/", Loud.as_view()),)
    response = await AsyncClient().post("/loud/", {"item": "hey"}, JSON)
    assert response.json() == {"result": "hey!"}
