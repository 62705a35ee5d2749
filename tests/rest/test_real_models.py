"""The view on models that really run, in this process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.cache import cache
from django.core.files.uploadedfile import SimpleUploadedFile
from pytest_django import Settings
from rest_framework.test import APIClient

from django_inference import predictors
from django_inference.rest import PredictView
from django_inference.specs import State
from tests.rest.conftest import ClientFor

LOCAL = "django_inference.backends.local.LocalBackend"
WEIGHTS = np.array([[1.0, -1.0], [0.5, 2.0], [0.0, 1.0]], dtype=np.float32)


@pytest.fixture
def mlp(tmp_path: Path) -> Path:
    """An ONNX model: y = relu(x @ WEIGHTS), x is float32 [batch, 3]."""
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "w"], ["h"]),
            helper.make_node("Relu", ["h"], ["y"]),
        ],
        "mlp",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 2])],
        [numpy_helper.from_array(WEIGHTS, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    path = tmp_path / "mlp.onnx"
    onnx.save(model, path)
    return path


@pytest.fixture
def client(settings: Settings, client_for: ClientFor, mlp: Path) -> Iterator[APIClient]:
    settings.INFERENCE = {
        "mlp": {"MODEL": mlp, "BACKEND": LOCAL},
        "lengths": {"RUNTIME": "tests.rest.runtimes.Lengths", "BACKEND": LOCAL},
        "shout": {"RUNTIME": "tests.rest.runtimes.shout", "BACKEND": LOCAL},
        "broken": {"MODEL": mlp.with_name("broken.onnx"), "BACKEND": LOCAL},
    }
    mlp.with_name("broken.onnx").write_bytes(b"no model at all")
    yield client_for(PredictView.as_view(), route="<str:alias>/")
    predictors.reset()


def test_named_tensors_through_onnx(client: APIClient) -> None:
    rows = [[1, 2, 3], [-1.5, 0, 0.25]]
    response = client.post("/mlp/", {"inputs": {"x": rows}}, format="json")
    assert response.status_code == 200
    expected = np.maximum(np.array(rows, dtype=np.float32) @ WEIGHTS, 0)
    assert response.json() == {"outputs": {"y": expected.tolist()}}
    response = client.post("/mlp/", {"inputs": rows}, format="json")
    assert response.json() == {"outputs": {"y": expected.tolist()}}


def test_items_of_a_tensor_model_are_rows(client: APIClient) -> None:
    response = client.post("/mlp/", {"item": {"x": [1, 2, 3]}}, format="json")
    assert response.json() == {"result": {"y": [2.0, 6.0]}}
    response = client.post("/mlp/", {"items": [{"x": [1, 2, 3]}] * 40}, format="json")
    assert response.json() == {"results": [{"y": [2.0, 6.0]}] * 40}


def test_null_and_overflow_go_through_the_model_and_back(client: APIClient) -> None:
    response = client.post("/mlp/", {"inputs": {"x": [[None, 1, 1], [3e38, 3e38, 3e38]]}}, "json")
    (row, other) = response.json()["outputs"]["y"]
    assert row == [None, None]
    assert other[1] is None


@pytest.mark.parametrize(
    ("inputs", "mistakes"),
    [
        ({"x": [[1, 2]]}, {"x": ["Expected the shape [-1, 3], given [1, 2]."]}),
        ({"x": [["a", "b", "c"]]}, {"x": ["This input takes numbers (float32), not texts."]}),
        (
            {"xx": [[1, 2, 3]]},
            {
                "xx": ["The model has no input of this name (did you mean 'x'?)."],
                "x": ["This input is required: x float32 [-1, 3]."],
            },
        ),
        (
            {"x": [[1, 2, 3]], "speed": [[1]]},
            {"speed": ["The model has no input of this name."]},
        ),
        ({"x": [1, 2, 3]}, {"x": ["Expected the shape [-1, 3], given [3]."]}),
        ({"x": []}, {"x": ["Expected at least one row."]}),
        ([[]], {"x": ["Expected the shape [-1, 3], given [1, 0]."]}),
        ([[[1, 2, 3]]], {"x": ["Expected the shape [-1, 3], given [1, 1, 3]."]}),
    ],
    ids=repr,
)
def test_each_field_that_does_not_fit_the_signature_is_named(
    client: APIClient, inputs: Any, mistakes: Any
) -> None:
    response = client.post("/mlp/", {"inputs": inputs}, format="json")
    assert (response.status_code, response.json()) == (400, {"inputs": mistakes})


@pytest.mark.parametrize(
    "body",
    [
        {"item": {"x": [1, 2]}},
        {"item": {"z": 1}},
        {"item": None},
        {"item": "text"},
        {"item": {"b64": "AAAA"}},
        {"items": [{"x": [1, 2, 3]}, {"x": "abc"}]},
        {"items": [{"x": [1, [2], 3]}]},
        {"items": [[1, 2, 3, 4]]},
    ],
    ids=repr,
)
def test_what_does_not_fit_the_signature_is_400(client: APIClient, body: Any) -> None:
    response = client.post("/mlp/", body, format="json")
    assert response.status_code == 400, response.content
    assert response.json()["detail"]


def test_bytes_through_a_runtime_of_ones_own(client: APIClient) -> None:
    expected = {"length": 3, "mean": 2.0, "head": {"b64": "AQI="}, "seen": [1, 2, 3]}
    response = client.post("/lengths/", b"\1\2\3", content_type="application/octet-stream")
    assert response.json() == {"result": expected}
    upload = SimpleUploadedFile("a.bin", b"\1\2\3")
    assert client.post("/lengths/", {"f": upload}).json() == {"result": expected}
    uploads = [SimpleUploadedFile("a.bin", b"\1\2\3"), SimpleUploadedFile("b.bin", b"")]
    empty: dict[str, Any] = {"length": 0, "mean": None, "head": {"b64": ""}, "seen": []}
    assert client.post("/lengths/", {"f": uploads}).json() == {"results": [expected, empty]}
    body = {"item": {"b64": "AQID"}}
    assert client.post("/lengths/", body, format="json").json() == {"result": expected}
    response = client.post("/lengths/", {"items": [{"b64": ""}, "text"]}, format="json")
    assert response.status_code == 400
    assert "item 1: expected bytes, not str." in response.json()["detail"]


def test_a_function_as_a_model(client: APIClient) -> None:
    response = client.post("/shout/", {"items": ["a", "é"]}, format="json")
    assert response.json() == {"results": ["A", "É"]}
    response = client.post("/shout/", {"inputs": {"x": [1]}}, format="json")
    assert response.status_code == 400


def test_a_model_that_raises_is_500_and_tells_nothing(client: APIClient) -> None:
    response = client.post("/shout/", {"item": "bad"}, format="json")
    assert response.status_code == 500
    assert response.json() == {"detail": "The model failed on this input."}


def test_a_corrupt_model_is_503_with_retry_after_and_the_others_answer(client: APIClient) -> None:
    response = client.post("/broken/", {"inputs": {"x": [[1, 2, 3]]}}, format="json")
    assert response.status_code == 503
    assert int(response.headers["Retry-After"]) >= 1
    assert response.json() == {"detail": "The model could not be loaded. Try again later."}
    assert client.get("/broken/").json()["state"] == "FAILED"
    assert client.post("/shout/", {"item": "a"}, format="json").json() == {"result": "A"}


def test_get_shows_the_signature_once_it_is_known(client: APIClient) -> None:
    assert client.get("/mlp/").json()["state"] == "UNLOADED"
    client.post("/mlp/", {"item": {"x": [1, 2, 3]}}, format="json")
    assert client.get("/mlp/").json() == {
        "alias": "mlp",
        "state": "READY",
        "signature": {
            "inputs": [{"name": "x", "dtype": "float32", "shape": [-1, 3]}],
            "outputs": [{"name": "y", "dtype": "float32", "shape": [-1, 2]}],
        },
    }


def test_eight_threads_get_each_its_own_answer(client: APIClient) -> None:
    wrong: list[Any] = []

    def ask(number: int) -> None:
        for step in range(20):
            row = [number, step, 1]
            response = APIClient().post("/mlp/", {"inputs": {"x": [row]}}, format="json")
            expected = np.maximum(np.array([row], dtype=np.float32) @ WEIGHTS, 0).tolist()
            if response.json() != {"outputs": {"y": expected}}:
                wrong.append((row, response.json()))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_refused_request_touches_no_model(
    settings: Settings, mlp: Path, client_for: ClientFor
) -> None:
    cache.clear()
    basic = ["rest_framework.authentication.BasicAuthentication"]
    members = ["rest_framework.permissions.IsAuthenticated"]
    model = {"MODEL": mlp, "BACKEND": LOCAL}
    settings.INFERENCE = {
        "closed": model
        | {"REST": {"authentication_classes": basic, "permission_classes": members}},
        "small": model | {"REST": {"max_body_bytes": 20}},
        "few": model | {"REST": {"throttle": {"rows": "1/day"}}},
        "rare": model | {"REST": {"throttle": {"requests": "1/day"}}},
        "open": model,
    }
    client = client_for(PredictView.as_view(), route="<str:alias>/")
    rows: Any = {"inputs": {"x": [[1, 2, 3], [1, 2, 3]]}}
    assert client.post("/closed/", rows, format="json").status_code == 401
    wrong: Any = {"headers": {"Authorization": "Basic nonsense"}}
    assert client.post("/closed/", rows, format="json", **wrong).status_code == 401
    assert client.post("/small/", rows, format="json").status_code == 413
    assert client.post("/few/", rows, format="json").status_code == 429
    assert client.post("/rare/", b"{", content_type="application/json").status_code == 400
    assert client.post("/rare/", rows, format="json").status_code == 429
    assert client.put("/open/", rows, format="json").status_code == 405
    assert client.post("/open/", {"inputs": {"x": [[1], [2, 3]]}}, format="json").status_code == 400
    assert {predictors[alias].status().state for alias in predictors} == {State.UNLOADED}
    predictors.reset()
