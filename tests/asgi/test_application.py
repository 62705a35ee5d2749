"""The application that serves both protocols without a site around it."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, cast

import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as fuzz
from hypothesis import strategies as st
from pytest_django import Settings

from django_inference import Overloaded, PredictionFailed, predictors
from django_inference.asgi import get_inference_application
from django_inference.asgi.application import Application
from django_inference.backends.dummy import DummyBackend
from django_inference.serving.steps import LONG
from django_inference.wire.open_inference import InferRequest
from django_inference.wire.open_inference_bodies import read_response, write_request

LOCAL = "django_inference.backends.local.LocalBackend"
DUMMY = "django_inference.backends.dummy.DummyBackend"
X = np.arange(8, dtype=np.float32).reshape(2, 4)
KEYS: dict[str, dict[str, Any]] = {
    "guest": {"KEY": "guest-guest-guest", "PREDICTORS": ["mlp", "dummy"]},
    "staff": {"KEY": "staff-staff-staff", "STAFF": True},
}
GUEST, STAFF = ({"Authorization": f"Bearer {entry['KEY']}"} for entry in KEYS.values())
INFER = "/v2/models/dummy/infer"
BODY = write_request(InferRequest(model="", inputs={"x": X}), binary=False).joined()


@pytest.fixture(autouse=True)
def declared(settings: Settings, onnx_mlp: Path) -> Iterator[None]:
    settings.INFERENCE = {
        "mlp": {"MODEL": onnx_mlp, "BACKEND": LOCAL},
        "dummy": {"BACKEND": DUMMY},
        "other": {"BACKEND": DUMMY},
        "wrong": {"BACKEND": "no.such.Backend"},
    }
    settings.INFERENCE_SERVE = {"MAX_MESSAGE_BYTES": 1_000_000, "GRACE": 5.0}
    yield
    predictors.reset()


@pytest.fixture
def only_keys(settings: Settings) -> None:
    settings.INFERENCE_SERVE |= {
        "AUTHENTICATION": "django_inference.serving.tokens.ApiKeys",
        "API_KEYS": KEYS,
    }


def dummy(alias: str = "dummy") -> DummyBackend:
    backend = cast(DummyBackend, predictors[alias].backend)
    backend.returns(lambda inputs: inputs)
    return backend


async def ask(method: str, url: str, content: Any = None, **headers: str) -> httpx.Response:
    transport = httpx.ASGITransport(cast(Any, get_inference_application()))
    async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await client.request(method, url, content=content, headers=named)


async def test_an_onnx_model_answers_in_json_and_in_bytes() -> None:
    expected = cast(Any, predictors["mlp"].predict({"x": X}))["y"]
    answered = await ask("POST", "/v2/models/mlp/infer", BODY)
    assert answered.json()["outputs"][0]["data"] == expected.ravel().tolist()
    body = write_request(InferRequest(model="", inputs={"x": X}))
    answered = await ask(
        *("POST", "/v2/models/mlp/infer", gzip.compress(body.joined())),
        inference_header_content_length=str(body.json_length),
        content_encoding="gzip",
    )
    length = int(answered.headers["Inference-Header-Content-Length"])
    assert (read_response(answered.content, json_length=length).outputs["y"] == expected).all()
    assert int(answered.headers["Content-Length"]) == len(answered.content)


async def test_long_bodies_are_answered_as_short_ones_are() -> None:
    dummy()
    long = np.random.default_rng(1).standard_normal((100, 1000)).astype(np.float32)
    body = write_request(InferRequest(model="", inputs={"x": long}))
    answered = await ask(
        *("POST", INFER, body.joined()), inference_header_content_length=str(body.json_length)
    )
    length = int(answered.headers["Inference-Header-Content-Length"])
    x = read_response(answered.content, json_length=length).outputs["x"]
    assert (x == long).all()


async def test_metadata_health_and_the_repository() -> None:
    for slash in ("", "/"):
        assert (await ask("GET", f"/v2{slash}")).json()["name"] == "django-inference"
        assert (await ask("GET", f"/v2/health/live{slash}")).json() == {"live": True}
        model = (await ask("GET", f"/v2/models/mlp{slash}")).json()
        assert model["platform"] == "onnx" and model["inputs"][0]["name"] == "x"
    assert (await ask("GET", "/v2/models/mlp/ready")).json() == {"name": "mlp", "ready": True}
    ready = await ask("GET", "/v2/health/ready")
    assert ready.status_code == 503 and ready.headers["Retry-After"] == "1"
    assert (await ask("GET", "/v2/models/other/ready")).status_code == 503
    index = {model["name"]: model for model in (await ask("POST", "/v2/repository/index")).json()}
    assert index["mlp"]["state"] == "READY" and index["other"]["state"] == "UNAVAILABLE"
    head = await ask("HEAD", "/v2")
    assert head.status_code == 200 and head.content == b""
    assert head.headers["Content-Length"] != "0"


async def test_tensorflow_serving_is_spoken_too() -> None:
    answered = await ask("POST", "/v1/models/mlp:predict", json.dumps({"instances": X.tolist()}))
    assert len(answered.json()["predictions"]) == 2
    assert (await ask("GET", "/V1/Models/mlp")).json()["model_version_status"]
    # Read in a thread.
    many = np.tile(X, (LONG // X.nbytes, 1))
    body = json.dumps({"signature_name": "serving_default", "instances": many.tolist()})
    long = await ask("POST", "/v1/models/mlp:predict", body)
    assert len(body) > LONG and long.json()["predictions"][-2:] == answered.json()["predictions"]
    refused = await ask("POST", "/v1/models/mlp:predict", body[:-2])
    assert refused.status_code == 400 and refused.json()["error"]
    for method, url, status in (
        ("GET", "/v1/models/mlp:predict", 405),
        ("POST", "/v1/models/mlp:no", 400),
        ("POST", "/v1/models/nope:predict", 404),
    ):
        refused = await ask(method, url, b'{"instances": [1]}')
        assert refused.status_code == status and refused.json()["error"]


@pytest.mark.parametrize(
    ("method", "url", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/v3", 404),
        ("GET", "/v2/no/such", 404),
        ("GET", "/v2/models/nope", 404),
        ("GET", "/v2/models/nope/ready", 404),
        ("GET", "/v2/models/mlp/versions/7", 404),
        ("GET", INFER, 405),
        ("POST", "/v2", 405),
        ("POST", "/v2/health/live", 405),
        ("GET", "/v2/repository/index", 405),
        ("DELETE", "/v2/models/dummy", 405),
        ("POST", INFER, 400),
        ("POST", "/v2/models/wrong/infer", 500),
        ("POST", "/v2/repository/models/mlp/load", 403),
    ],
    ids=lambda value: str(value),
)
async def test_errors(method: str, url: str, status: int) -> None:
    backend = dummy()
    content = BODY if "wrong" in url else None
    answered = await ask(method, url, content)
    assert answered.status_code == status
    assert answered.json()["error"] and "no.such" not in answered.text
    assert status != 405 or answered.headers["Allow"] in ("GET", "POST")
    assert backend.calls == []


async def test_what_a_model_raises(caplog: pytest.LogCaptureFixture) -> None:
    dummy().returns(Overloaded(retry_after=2.5))
    answered = await ask("POST", INFER, BODY)
    assert (answered.status_code, answered.headers["Retry-After"]) == (429, "3")
    for error in (PredictionFailed("/srv/secret"), KeyError("/srv/secret")):
        dummy().returns(error)
        caplog.clear()
        answered = await ask("POST", INFER, BODY)
        assert answered.status_code == 500 and "secret" not in answered.text
        assert "/srv/secret" in caplog.text


async def test_only_who_has_a_key_may_call(only_keys: None) -> None:
    backend, other = dummy(), dummy("other")
    for key in ({}, {"Authorization": "Bearer wrong"}):
        for method, url in (("POST", INFER), ("GET", "/v2"), ("GET", "/v2/models/dummy")):
            refused = await ask(method, url, b"{", **key)
            assert refused.status_code == 401 and refused.json()["error"]
            assert refused.headers["WWW-Authenticate"] == "Bearer"
    assert (await ask("POST", "/v2/models/other/infer", BODY, **GUEST)).status_code == 403
    assert (await ask("POST", "/v1/models/other:predict", BODY, **GUEST)).status_code == 403
    assert backend.calls == other.calls == []
    assert (await ask("POST", INFER, BODY, **GUEST)).status_code == 200
    index = (await ask("POST", "/v2/repository/index", **GUEST)).json()
    assert {model["name"] for model in index} == {"mlp", "dummy"}
    assert (await ask("GET", "/v2/health/live")).status_code == 200


async def test_staff_loads_and_unloads(only_keys: None) -> None:
    load, unload = (f"/v2/repository/models/mlp/{what}" for what in ("load", "unload"))
    assert (await ask("POST", load, **GUEST)).status_code == 403
    assert (await ask("POST", load, **STAFF)).json() == {}
    assert (await ask("GET", "/v2/models/mlp/ready", **GUEST)).status_code == 200
    assert (await ask("POST", unload, **STAFF)).json() == {}
    assert (await ask("GET", "/v2/models/mlp/ready", **GUEST)).status_code == 503


async def test_who_sends_too_much_is_refused() -> None:
    backend = dummy()
    parts = 0

    async def stream() -> AsyncIterator[bytes]:
        nonlocal parts
        for _ in range(1000):
            parts += 1
            yield b"0" * 100_000

    refused = await ask("POST", INFER, stream())
    assert refused.status_code == 413 and "1000000 bytes" in refused.json()["error"]
    assert parts == 11
    assert (await ask("POST", INFER, b"0" * 1_000_001)).status_code == 413
    bomb = gzip.compress(bytes(50_000_000))
    assert (await ask("POST", INFER, bomb, content_encoding="gzip")).status_code == 413
    assert backend.calls == []


@fuzz(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    body=st.binary(max_size=50) | st.just(BODY),
    length=st.sampled_from(["", "-1", "0", "3", "99999", "x", "9" * 40]) | st.none(),
    encoding=st.sampled_from(["gzip", "deflate", "br", "x" * 99]) | st.none(),
    path=st.sampled_from([INFER, "/v1/models/dummy:predict", "/v2/repository/index"])
    | st.text(st.characters(codec="ascii", categories=("L", "N", "P")), max_size=9),
)
def test_any_request(body: bytes, length: str | None, encoding: str | None, path: str) -> None:
    dummy()
    headers = {"inference-header-content-length": length, "content-encoding": encoding}
    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "headers": [
            (name.encode(), value.encode()) for name, value in headers.items() if value is not None
        ],
    }
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": body}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(get_inference_application()(scope, receive, send))
    start, said = sent
    assert start["status"] == 200 or 400 <= start["status"] < 500
    if start["status"] != 200:
        assert json.loads(said["body"])["error"]


async def test_a_client_that_hangs_up_is_not_answered() -> None:
    async def receive() -> Any:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        raise AssertionError(message)

    scope = {"type": "http", "method": "POST", "path": INFER, "headers": []}
    await get_inference_application()(scope, receive, send)


class Life:
    """The server's end of the application's life."""

    def __init__(self, application: Application) -> None:
        self.said: list[str] = []
        self._orders: asyncio.Queue[str] = asyncio.Queue()
        self._task = asyncio.create_task(
            application({"type": "lifespan"}, self._receive, self._send)
        )

    async def order(self, what: str) -> None:
        await self._orders.put(f"lifespan.{what}")

    async def end(self) -> None:
        await asyncio.wait_for(self._task, 30)

    async def _receive(self) -> Any:
        return {"type": await self._orders.get()}

    async def _send(self, message: Any) -> None:
        self.said.append(message["type"])


async def test_requests_under_way_are_answered_before_it_leaves(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    release = asyncio.Event()
    backend = dummy()

    async def slowly(*args: Any, **kwargs: Any) -> Any:
        await release.wait()
        return {"x": X}

    monkeypatch.setattr(backend, "apredict", slowly)
    application = get_inference_application()
    life = Life(application)
    await life.order("startup")
    transport = httpx.ASGITransport(cast(Any, application))
    async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
        call = asyncio.create_task(client.post(INFER, content=BODY))
        await asyncio.sleep(0.1)
        await life.order("shutdown")
        await asyncio.sleep(0.1)
        assert life.said == ["lifespan.startup.complete"] and not call.done()
        release.set()
        assert (await call).status_code == 200
    await life.end()
    assert life.said == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert "cut off" not in caplog.text


async def test_the_grace_ends(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    settings.INFERENCE_SERVE = {"GRACE": 0.1}

    async def never(*args: Any, **kwargs: Any) -> Any:
        await asyncio.Event().wait()

    monkeypatch.setattr(dummy(), "apredict", never)
    application = get_inference_application()
    transport = httpx.ASGITransport(cast(Any, application))
    async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
        call = asyncio.create_task(client.post(INFER, content=BODY))
        await asyncio.sleep(0.1)
        await application.drain()
        assert "cut off after the grace requests=1" in caplog.text
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call


async def test_a_websocket_is_closed() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    await get_inference_application()({"type": "websocket"}, cast(Any, None), send)
    assert sent == [{"type": "websocket.close"}]
