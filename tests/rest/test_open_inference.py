"""The Open Inference Protocol behind Django's policies, on models that run in this process."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from django.contrib.auth.models import User
from django.core.cache import cache
from django.urls import include, path
from hypothesis import HealthCheck, given
from hypothesis import settings as fuzz
from hypothesis import strategies as st
from pytest_django import Settings
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.test import APIClient

from django_inference import (
    InferenceError,
    InvalidInput,
    ModelCrashed,
    ModelLoadFailed,
    ModelNotReady,
    Overloaded,
    PredictionFailed,
    PredictionTimeout,
    RemoteError,
    predictors,
)
from django_inference.backends.dummy import DummyBackend
from django_inference.tensors import Signature, TensorSpec
from django_inference.wire.open_inference import InferRequest, InferResponse
from django_inference.wire.open_inference_bodies import read_response, write_request

LOCAL = "django_inference.backends.local.LocalBackend"
DUMMY = "django_inference.backends.dummy.DummyBackend"
X = np.arange(8, dtype=np.float32).reshape(2, 4)
INFER = "/v2/models/dummy/infer"
HERE = "tests.rest.test_open_inference"


class Keys(BaseAuthentication):
    """`Authorization: staff` or `guest`."""

    def authenticate(self, request: Any) -> Any:
        key = request.META.get("HTTP_AUTHORIZATION")
        if key is None:
            return None
        if key not in ("staff", "guest"):
            raise AuthenticationFailed("There is no such key.")
        return User(username=key, is_staff=key == "staff"), None

    def authenticate_header(self, request: Any) -> str:
        return "Key"


@pytest.fixture(autouse=True)
def site(settings: Settings, onnx_mlp: Path) -> Iterator[None]:
    cache.clear()
    settings.MIDDLEWARE = []
    settings.ROOT_URLCONF = (path("", include("django_inference.rest.open_inference.urls")),)
    settings.INFERENCE = {
        "dummy": {"BACKEND": DUMMY},
        "mlp": {"MODEL": onnx_mlp, "BACKEND": LOCAL},
        "shout": {"RUNTIME": "tests.rest.runtimes.shout", "BACKEND": LOCAL},
        "lengths": {"RUNTIME": "tests.rest.runtimes.Lengths", "BACKEND": LOCAL},
        "broken": {"MODEL": onnx_mlp.with_name("no.onnx"), "BACKEND": LOCAL},
        "relieved": {
            "MODEL": onnx_mlp.with_name("no.onnx"),
            "BACKEND": LOCAL,
            "OPTIONS": {"fallback": "mlp"},
        },
        "wrong": {"BACKEND": "no.such.Backend"},
        "private": {
            "BACKEND": DUMMY,
            "REST": {
                "authentication_classes": [f"{HERE}.Keys"],
                "permission_classes": ["rest_framework.permissions.IsAuthenticated"],
            },
        },
        "rationed": {"BACKEND": DUMMY, "REST": {"throttle": {"requests": "1/min"}}},
        "counted": {"BACKEND": DUMMY, "REST": {"throttle": {"rows": "3/min"}}},
        "small": {"BACKEND": DUMMY, "REST": {"max_body_bytes": 100}},
        "hidden": {"BACKEND": DUMMY, "REST": {"enabled": False}},
    }
    yield
    predictors.reset()


def dummy(alias: str = "dummy") -> DummyBackend:
    backend = cast(DummyBackend, predictors[alias].backend)
    backend.returns(lambda inputs: inputs)
    return backend


def ask(method: str, url: str, body: bytes | str | None = None, **headers: Any) -> Any:
    """As clients do: without a Content-Type."""
    client = cast(Any, APIClient(raise_request_exception=False))
    data = body.encode() if isinstance(body, str) else body or b""
    return client.generic(method, url, data, content_type="", headers=headers)


def said(response: Any) -> str:
    """The message of an error, which has this form and no other."""
    assert response.headers["Content-Type"] == "application/json"
    document = json.loads(response.content)
    assert isinstance(document["error"], str) and document["error"]
    return str(document["error"])


def body_of(inputs: dict[str, Any] | None = None, **more: Any) -> bytes:
    request = InferRequest(model="", inputs=inputs or {"x": X}, **more)
    return write_request(request, binary=False).joined()


def infer(url: str, request: InferRequest, **headers: Any) -> InferResponse:
    body = write_request(request)
    response = ask(
        "POST",
        url,
        body.joined(),
        **{"Inference-Header-Content-Length": str(body.json_length)},
        **headers,
    )
    assert response.status_code == 200, response.content
    length = response.headers.get("Inference-Header-Content-Length")
    return read_response(response.content, json_length=int(length) if length else None)


# What is right.


def test_an_onnx_model_answers_in_json_and_in_bytes() -> None:
    expected = cast(Any, predictors["mlp"].predict({"x": X}))["y"]
    response = ask("POST", "/v2/models/mlp/infer", body_of(id="7"))
    assert response.headers["Content-Type"] == "application/json"
    assert json.loads(response.content) == {
        "model_name": "mlp",
        "id": "7",
        "outputs": [
            {"name": "y", "shape": [2, 2], "datatype": "FP32", "data": expected.ravel().tolist()}
        ],
    }
    answer = infer("/v2/models/mlp/infer/", InferRequest(model="mlp", inputs={"x": X}))
    assert (answer.outputs["y"] == expected).all()
    (version,) = json.loads(ask("GET", "/v2/models/mlp").content)["versions"]
    answer = infer(
        f"/v2/models/mlp/versions/{version}/infer", InferRequest(model="mlp", inputs={"x": X})
    )
    assert answer.version == version and (answer.outputs["y"] == expected).all()


def test_a_raw_body_is_the_models_only_input() -> None:
    raw = {"Inference-Header-Content-Length": "0"}
    response = ask("POST", "/v2/models/mlp/infer", X.tobytes(), **raw)
    length = int(response.headers["Inference-Header-Content-Length"])
    y = read_response(response.content, json_length=length).outputs["y"]
    assert (y == cast(Any, predictors["mlp"].predict({"x": X}))["y"]).all()
    response = ask("POST", "/v2/models/mlp/infer", X.tobytes()[:-1], **raw)
    assert response.status_code == 400 and "31 bytes" in said(response)
    response = ask("POST", "/v2/models/lengths/infer", b"\0\1\2", **raw)
    length = int(response.headers["Inference-Header-Content-Length"])
    (result,) = read_response(response.content, json_length=length).outputs["results"]
    assert json.loads(result)["length"] == 3


@pytest.mark.parametrize(
    ("name", "elements"), [("text", [b"ab", "ü".encode()]), ("items", [b'"ab"', b'"\\u00fc"'])]
)
def test_a_model_of_items_is_described_and_called(name: str, elements: list[bytes]) -> None:
    model = json.loads(ask("GET", "/v2/models/shout").content)
    assert model["platform"] == "python"
    assert model["inputs"] == [{"name": "items", "datatype": "BYTES", "shape": [-1]}]
    assert model["outputs"] == [{"name": "results", "datatype": "BYTES", "shape": [-1]}]
    given = np.array(elements, dtype=object).reshape(2, 1)
    answer = infer("/v2/models/shout/infer", InferRequest(model="shout", inputs={name: given}))
    assert [json.loads(result) for result in answer.outputs["results"]] == ["AB", "Ü"]


def test_items_may_be_bytes_or_rows() -> None:
    backend = dummy()
    backend.returns(lambda items: [repr(item) for item in items])
    cases: list[tuple[str, Any, list[str]]] = [
        ("bytes", np.array([b"\xff"], dtype=object), ["b'\\xff'"]),
        ("items", np.array([b'{"a": [{"b64": "/w=="}]}'], dtype=object), ["{'a': [b'\\xff']}"]),
        ("items", np.array([3, 4]), [repr(np.int64(3)), repr(np.int64(4))]),
    ]
    for name, array, expected in cases:
        answer = infer(INFER, InferRequest(model="dummy", inputs={name: array}))
        assert [json.loads(result) for result in answer.outputs["results"]] == expected


def test_a_model_in_this_process_is_given_aligned_tensors() -> None:
    backend = dummy()
    lengths = set()
    for number in range(4):
        request = InferRequest(model="", id="i" * number, inputs={"x": X})
        lengths.add(cast(int, write_request(request).json_length) % 4)
        assert (infer(INFER, request).outputs["x"] == X).all()
    assert len(lengths) == 4
    assert all(call.inputs["x"].flags.aligned for call in backend.calls)


def test_an_answer_says_that_a_fallback_has_given_it() -> None:
    asked = "/v2/models/{}/infer"
    own = json.loads(ask("POST", asked.format("mlp"), body_of()).content)
    assert "parameters" not in own
    given = json.loads(ask("POST", asked.format("relieved"), body_of()).content)
    assert given["parameters"] == {"degraded": "mlp"} and given["outputs"] == own["outputs"]
    # A raw body is read by the signature, which the first model has not got.
    raw = ask(
        "POST",
        asked.format("relieved"),
        X.tobytes(),
        **{"Inference-Header-Content-Length": "0"},
    )
    head = int(raw.headers["Inference-Header-Content-Length"])
    assert json.loads(raw.content[:head])["parameters"] == {"degraded": "mlp"}


def test_texts_are_texts_and_pictures_are_bytes_for_a_model_of_texts() -> None:
    backend = dummy()
    signature = Signature((TensorSpec("image", "str", (-1,)),), ())
    backend.returns(lambda inputs: {"size": np.array([2])}, signature=signature)
    for sent, taken in ((b"\xff\xd8", b"\xff\xd8"), ("é".encode(), "é")):
        body = write_request(
            InferRequest(model="", inputs={"image": np.array([sent], dtype=object)})
        )
        length = {"Inference-Header-Content-Length": str(body.json_length)}
        assert ask("POST", INFER, body.joined(), **length).status_code == 200
        assert backend.calls[-1].inputs["image"].tolist() == [taken]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.zeros(2**20 + 1, np.uint8), "1048577 rows, more than 1048576"),
        (np.array([b"[" * (2**23 + 1)], dtype=object), "8388609 bytes, more than 8388608"),
        (np.array([b"[" * 1_000_000], dtype=object), "nested too deeply"),
        (np.array([b'{"b64": "*"}'], dtype=object), "not a JSON document"),
        (np.array([b"\xff"], dtype=object), "not a JSON document"),
        (np.array([b"NaN"], dtype=object), "not a JSON document"),
    ],
    ids=["rows", "documents", "depth", "base64", "no UTF-8", "NaN"],
)
def test_items_that_are_refused(given: Any, message: str) -> None:
    backend = dummy()
    body = write_request(InferRequest(model="", inputs={"items": given}))
    length = {"Inference-Header-Content-Length": str(body.json_length)}
    response = ask("POST", INFER, body.joined(), **length)
    assert response.status_code == 400 and message in said(response)
    assert len(said(response)) < 400 and backend.calls == []


def test_parameters_say_how_urgent_and_how_long(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    backend = dummy()

    def record(inputs: Any, *, timeout: float | None, priority: str) -> Any:
        asked.append((timeout, priority))
        return {}

    monkeypatch.setattr(backend, "predict", record)
    longest = backend.options.timeout
    for parameters, seconds, priority in (
        ({}, longest, "normal"),
        ({"priority": 0, "timeout": 0}, longest, "normal"),
        ({"priority": 1, "timeout": 2_000_000}, 2.0, "high"),
        ({"priority": 2, "timeout": "3000000"}, 3.0, "normal"),
        ({"priority": 9, "timeout": 10**15, "other": "is ignored"}, longest, "low"),
    ):
        assert ask("POST", INFER, body_of(parameters=parameters)).status_code == 200
        timeout, found = asked.pop()
        assert found == priority and seconds - 0.5 < timeout <= seconds
    for wrong in ({"priority": -1}, {"priority": "high"}, {"timeout": 1.5}, {"timeout": True}):
        response = ask("POST", INFER, body_of(parameters=wrong))
        assert response.status_code == 400 and repr(*wrong) in said(response)


def test_requested_outputs_are_all_that_is_answered() -> None:
    dummy().returns({"a": X, "b": X[0]})
    answer = infer(INFER, InferRequest(model="dummy", inputs={"x": X}, outputs=("b",)))
    assert list(answer.outputs) == ["b"]
    response = ask("POST", INFER, body_of(outputs=("aa",)))
    assert response.status_code == 400
    assert said(response) == ("there is no output 'aa' (did you mean 'a'?); the outputs are a, b.")


def test_a_compressed_body_and_one_that_is_not() -> None:
    dummy()
    packed = gzip.compress(body_of())
    assert ask("POST", INFER, packed, **{"Content-Encoding": "gzip"}).status_code == 200
    response = ask("POST", INFER, packed[:-9], **{"Content-Encoding": "gzip"})
    assert response.status_code == 400 and "compressed" in said(response)
    response = ask("POST", INFER, packed, **{"Content-Encoding": "br"})
    assert response.status_code == 415 and "'br'" in said(response)
    bomb = gzip.compress(bytes(1_000_000), 9)[:100]
    response = ask("POST", "/v2/models/small/infer", bomb, **{"Content-Encoding": "gzip"})
    assert response.status_code == 413


def test_health_and_metadata_with_and_without_a_slash() -> None:
    for slash in ("", "/"):
        assert json.loads(ask("GET", f"/v2{slash}").content)["name"] == "django-inference"
        assert json.loads(ask("GET", f"/v2/health/live{slash}").content) == {"live": True}
        model = ask("GET", f"/v2/models/mlp{slash}")
        assert json.loads(model.content)["inputs"][0]["datatype"] == "FP32"
        ready = ask("GET", f"/v2/models/mlp/ready{slash}")
        assert json.loads(ready.content) == {"name": "mlp", "ready": True}


def test_the_site_is_ready_when_what_it_preloads_is(settings: Settings) -> None:
    ready = ask("GET", "/v2/health/ready")
    # `wrong` cannot be used, and `dummy` is not loaded yet.
    assert ready.status_code == 503 and ready.headers["Retry-After"] == "1"
    assert json.loads(ready.content) | {"error": ""} == {"live": True, "ready": False, "error": ""}
    settings.INFERENCE = {
        "dummy": {"BACKEND": DUMMY},
        "late": {"BACKEND": DUMMY, "OPTIONS": {"preload": False}},
    }
    assert ask("GET", "/v2/health/ready").status_code == 503
    predictors.preload()
    ready = ask("GET", "/v2/health/ready")
    assert json.loads(ready.content) == {"live": True, "ready": True}
    predictors["dummy"].unload()
    # It rests: the next call loads it.
    assert ask("GET", "/v2/health/ready").status_code == 200


def test_a_model_that_is_not_loaded_is_not_ready_and_stays_so() -> None:
    for _ in range(2):
        ready = ask("GET", "/v2/models/mlp/ready")
        assert ready.status_code == 503 and "Retry-After" in ready.headers
        assert json.loads(ready.content)["ready"] is False


def test_staff_loads_and_unloads(settings: Settings) -> None:
    settings.REST_FRAMEWORK = {"DEFAULT_AUTHENTICATION_CLASSES": [f"{HERE}.Keys"]}
    load, unload = (f"/v2/repository/models/mlp/{what}" for what in ("load", "unload"))
    for url in (load, unload):
        assert ask("POST", url).status_code == 401
        assert ask("POST", url, Authorization="guest").status_code == 403
        assert ask("POST", url, Authorization="x").status_code == 401
    assert ask("GET", "/v2/models/mlp/ready").status_code == 503
    for _ in range(2):
        assert ask("POST", load, "{}", Authorization="staff").status_code == 200
        assert ask("GET", "/v2/models/mlp/ready").status_code == 200
    body = '{"parameters": {"unload_dependents": false}}'
    assert ask("POST", unload, body, Authorization="staff").status_code == 200
    assert ask("GET", "/v2/models/mlp/ready").status_code == 503
    body = '{"parameters": {"config": "{}"}}'
    response = ask("POST", load, body, Authorization="staff")
    assert response.status_code == 400 and "settings say" in said(response)
    response = ask("POST", "/v2/repository/models/broken/load", Authorization="staff")
    assert response.status_code == 503 and "no.onnx" not in said(response)


def test_optional_members_may_be_null() -> None:
    for body in ("", "{}", '{"ready": null}', '{"ready": false, "parameters": null}'):
        assert ask("POST", "/v2/repository/index", body).status_code == 200
    dummy()
    tensor = {"name": "x", "shape": [1], "datatype": "FP32", "data": [1.0], "parameters": None}
    asked = {"id": None, "parameters": None, "outputs": None, "inputs": [tensor]}
    for pad in ("", " " * 2000):
        response = ask("POST", INFER, json.dumps(asked) + pad)
        assert response.status_code == 200, response.content
        assert response.json()["outputs"][0]["data"] == [1.0]


def test_no_rows_are_answered_with_none() -> None:
    url = "/v2/models/mlp/infer"
    tensor = {"name": "x", "shape": [0, 4], "datatype": "FP32", "data": []}
    response = ask("POST", url, json.dumps({"inputs": [tensor]}))
    assert response.status_code == 200, response.content
    (output,) = response.json()["outputs"]
    assert output == {"name": "y", "shape": [0, 2], "datatype": "FP32", "data": []}
    answer = infer(url, InferRequest(model="", inputs={"x": X[:0]}))
    assert answer.outputs["y"].shape == (0, 2)
    wrong = {**tensor, "shape": [0, 5]}
    response = ask("POST", url, json.dumps({"inputs": [wrong]}))
    assert response.status_code == 400
    assert "x float32 [-1, 4]" in said(response)


def test_the_index_lists_what_the_caller_may_call() -> None:
    cast(Any, predictors["mlp"]).preload(wait=True)
    listed = {
        model["name"]: (model["state"], model["reason"])
        for model in json.loads(ask("POST", "/v2/repository/index").content)
    }
    assert listed["mlp"] == ("READY", "")
    assert listed["dummy"] == ("UNAVAILABLE", "unloaded")
    assert not {"private", "hidden", "wrong"} & set(listed)
    (ready,) = json.loads(ask("POST", "/v2/repository/index", '{"ready": true}').content)
    assert (ready["name"], len(ready["version"])) == ("mlp", 12)


# What is refused, and what it is answered with.


@pytest.mark.parametrize("prefix", ["", "at/a/prefix/"])
@pytest.mark.parametrize(
    ("method", "url", "body", "status", "message"),
    [
        ("POST", "models/nope/infer", "{}", 400, "inputs"),
        ("POST", "models/nope/infer", '{"inputs": []}', 404, "'nope'"),
        ("GET", "models/nope", "", 404, "'nope'"),
        ("GET", "models/nope/ready", "", 404, "'nope'"),
        ("GET", "models/hidden", "", 404, "'hidden'"),
        ("POST", "models/hidden/infer", '{"inputs": []}', 404, "'hidden'"),
        ("GET", "models/mlp/versions/7", "", 404, "no version '7'"),
        ("POST", "models/mlp/versions/7/infer", '{"inputs": []}', 404, "no version '7'"),
        ("GET", "models/dummy/infer", "", 405, "GET"),
        ("PUT", "models/dummy/infer", "", 405, "PUT"),
        ("OPTIONS", "models/dummy/infer", "", 405, "OPTIONS"),
        ("POST", "models/dummy", "", 405, "POST"),
        ("DELETE", "", "", 405, "DELETE"),
        ("GET", "repository/index", "", 405, "GET"),
        ("GET", "no/such/path", "", 404, "/v2/no/such/path"),
        ("POST", "models/dummy/infer", "", 400, "truncated"),
        ("POST", "models/dummy/infer", "[", 400, "body"),
        ("POST", "models/mlp/infer", '{"inputs": []}', 400, "x float32"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_errors(
    settings: Settings,
    prefix: str,
    method: str,
    url: str,
    body: str,
    status: int,
    message: str,
) -> None:
    settings.ROOT_URLCONF = (path(prefix, include("django_inference.rest.open_inference.urls")),)
    backend = dummy()
    response = ask(method, f"/{prefix}v2/{url}".rstrip("/"), body)
    assert response.status_code == status
    assert message in said(response)
    assert status != 405 or response.headers["Allow"]
    assert backend.calls == []


@pytest.mark.parametrize(
    ("error", "status", "waits"),
    [
        (InvalidInput("x is wrong."), 400, None),
        (Overloaded(retry_after=2.5), 429, "3"),
        (ModelCrashed("/srv/secret"), 500, None),
        (PredictionFailed("/srv/secret"), 500, None),
        (InferenceError("/srv/secret"), 500, None),
        (RemoteError("/srv/secret"), 502, None),
        (ModelNotReady("/srv/secret", retry_after=7), 503, "7"),
        (ModelLoadFailed("/srv/secret"), 503, "1"),
        (PredictionTimeout("/srv/secret"), 504, None),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_what_a_model_raises(error: Exception, status: int, waits: str | None) -> None:
    dummy().returns(error)
    response = ask("POST", INFER, body_of())
    assert response.status_code == status and response.headers.get("Retry-After") == waits
    assert "secret" not in said(response)


def test_a_mistake_of_the_server_is_said_as_the_protocol_says_errors(settings: Settings) -> None:
    dummy().returns(KeyError("secret"))
    response = ask("POST", INFER, body_of())
    assert response.status_code == 500 and said(response) == "The server failed."
    response = ask("POST", "/v2/models/wrong/infer", body_of())
    assert response.status_code == 500 and "no.such" not in said(response)
    settings.DEBUG = True
    assert "no.such" in said(ask("GET", "/v2/models/wrong"))
    dummy().returns({"z": np.ones(1, np.complex64)})
    assert ask("POST", INFER, body_of()).status_code == 500
    dummy().returns("no tensors")
    assert ask("POST", INFER, body_of()).status_code == 500


def test_strangers_are_refused_before_anything_is_read_or_touched() -> None:
    backend = dummy("private")
    url = "/v2/models/private/infer"
    for body in (body_of(), b"{", b"\xff" * 100):
        response = ask("POST", url, body)
        assert response.status_code == 401 and response.headers["WWW-Authenticate"] == "Key"
        assert "credentials" in said(response)
        response = ask("POST", url, body, Authorization="wrong")
        assert response.status_code == 401 and said(response) == "There is no such key."
    for method, at in (("GET", "/v2/models/private"), ("GET", "/v2/models/private/ready")):
        assert ask(method, at).status_code == 401
    assert backend.calls == []
    assert ask("POST", url, body_of(), Authorization="guest").status_code == 200
    assert len(backend.calls) == 1


def test_without_a_scheme_a_stranger_gets_403(settings: Settings) -> None:
    settings.REST_FRAMEWORK = {
        "DEFAULT_AUTHENTICATION_CLASSES": [],
        "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    }
    for method, url in (("POST", INFER), ("GET", "/v2"), ("POST", "/v2/repository/index")):
        response = ask(method, url, body_of())
        assert response.status_code == 403 and said(response)
    # Whoever starts and stops servers has no account.
    assert ask("GET", "/v2/health/live").status_code == 200
    assert ask("GET", "/v2/health/ready").status_code == 503


def test_who_asks_too_often_has_to_wait() -> None:
    backend = dummy("rationed")
    url = "/v2/models/rationed/infer"
    assert ask("POST", url, body_of()).status_code == 200
    response = ask("POST", url, body_of())
    assert response.status_code == 429 and 0 < int(response.headers["Retry-After"]) <= 60
    assert said(response) and len(backend.calls) == 1
    backend = dummy("counted")
    url = "/v2/models/counted/infer"
    assert ask("POST", url, body_of()).status_code == 200
    response = ask("POST", url, body_of())
    assert response.status_code == 429 and "Retry-After" in response.headers
    assert len(backend.calls) == 1


def test_who_sends_too_much_is_refused() -> None:
    backend = dummy("small")
    url = "/v2/models/small/infer"
    response = ask("POST", url, b"0" * 101)
    assert response.status_code == 413 and "100" in said(response)
    headers = {"Transfer-Encoding": "chunked", "Content-Length": ""}
    assert ask("POST", url, b"", **headers).status_code == 411
    assert backend.calls == []


@fuzz(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    body=st.binary(max_size=50) | st.just(body_of()),
    length=st.sampled_from(["", "-1", "0", "3", "99999", "x", "1e3", "9" * 40, "٣"]) | st.none(),
    encoding=st.sampled_from(["gzip", "deflate", "br", "x" * 99]) | st.none(),
    content_type=st.sampled_from(
        ["", "application/json", "multipart/form-data", "application/x-www-form-urlencoded", ";"]
    ),
)
def test_any_request(
    body: bytes, length: str | None, encoding: str | None, content_type: str
) -> None:
    dummy()
    headers = {"Inference-Header-Content-Length": length, "Content-Encoding": encoding}
    response = cast(Any, APIClient()).generic(
        "POST",
        INFER,
        body,
        content_type=content_type,
        headers={name: value for name, value in headers.items() if value is not None},
    )
    assert response.status_code == 200 or 400 <= response.status_code < 500
    if response.status_code != 200:
        assert said(response)


def test_the_paths_are_imported_without_numpy() -> None:
    code = (
        "import os, sys, django; django.setup()\n"
        "import django_inference.rest.open_inference.urls\n"
        "print('numpy' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"DJANGO_SETTINGS_MODULE": "tests.settings", "PYTHONPATH": str(Path.cwd())},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "False\n", done.stderr


@pytest.mark.parametrize(
    "make",
    [lambda: b"\0" * 100_000_000, lambda: b"[" * 100_000_000],
    ids=["zeros", "brackets"],
)
def test_a_hundred_megabytes_are_not_read(make: Callable[[], bytes]) -> None:
    backend = dummy()
    response = ask("POST", INFER, make())
    assert response.status_code == 413 and said(response)
    assert backend.calls == []
