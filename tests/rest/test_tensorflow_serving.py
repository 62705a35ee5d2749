"""TensorFlow Serving's REST interface, on models that run in this process."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.urls import include, path
from hypothesis import HealthCheck, given
from hypothesis import settings as fuzz
from hypothesis import strategies as st
from pytest_django import Settings
from rest_framework.permissions import BasePermission
from rest_framework.test import APIClient

from django_inference import predictors
from django_inference.exceptions import ModelNotReady, Overloaded, PredictionTimeout
from django_inference.serving.tensorflow_rest import arespond, target_of
from django_inference.serving.tensorflow_versions import number_of

LOCAL = "django_inference.backends.local.LocalBackend"
DUMMY = "django_inference.backends.dummy.DummyBackend"
ROWS = [[1.0, 2.0, 3.0, 4.0], [-1.0, 0.5, 0.25, 0.0]]
WEIGHTS = np.array([[1, -1], [0.5, 2], [0, 1], [-1, 0.25]], dtype=np.float32)
EXPECTED = np.maximum(np.array(ROWS, dtype=np.float32) @ WEIGHTS, 0).tolist()

Ask = Callable[..., Any]


class Nobody(BasePermission):
    def has_permission(self, request: Any, view: Any) -> bool:
        return False


@pytest.fixture(params=["", "tfs/"], ids=["at the root", "at a prefix"])
def prefix(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def ask(settings: Settings, onnx_mlp: Path, prefix: str) -> Iterator[Ask]:
    """Asks as a client does, without a Content-Type; returns the status and the document."""
    settings.MIDDLEWARE = []
    settings.ROOT_URLCONF = (
        path(prefix, include("django_inference.rest.tensorflow_serving.urls")),
    )
    settings.INFERENCE = {
        "mlp": {"MODEL": onnx_mlp, "BACKEND": LOCAL},
        "shout": {"RUNTIME": "tests.rest.runtimes.shout", "BACKEND": LOCAL},
        "broken": {"MODEL": onnx_mlp.with_name("broken.onnx"), "BACKEND": LOCAL},
        "relieved": {
            "MODEL": onnx_mlp.with_name("broken.onnx"),
            "BACKEND": LOCAL,
            "OPTIONS": {"fallback": "mlp"},
        },
        "dummy": {"BACKEND": DUMMY},
        "closed": {
            "BACKEND": DUMMY,
            "REST": {"permission_classes": ["tests.rest.test_tensorflow_serving.Nobody"]},
        },
        "small": {"BACKEND": DUMMY, "REST": {"max_body_bytes": 40}},
        "seldom": {"BACKEND": DUMMY, "REST": {"throttle": {"rows": "3/min"}}},
    }
    onnx_mlp.with_name("broken.onnx").write_bytes(b"no model at all")
    client: Any = APIClient()

    def ask(path: str, body: Any = None, method: str = "") -> Any:
        raw = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        response = client.generic(
            method or ("GET" if raw is None else "POST"), f"/{prefix}{path}", raw or b"", ""
        )
        return response.status_code, json.loads(response.content or b"null")

    yield ask
    predictors.reset()


def test_rows_and_columns(ask: Ask) -> None:
    assert ask("v1/models/mlp:predict", {"instances": ROWS}) == (200, {"predictions": EXPECTED})
    assert ask("v1/models/mlp:predict", {"inputs": ROWS}) == (200, {"outputs": EXPECTED})
    rows = [{"x": row} for row in ROWS]
    body = {"signature_name": "serving_default", "instances": rows}
    assert ask("V1/Models/mlp:Predict", body) == (200, {"predictions": EXPECTED})


def test_nan_goes_through_the_model_and_back(ask: Ask) -> None:
    status, said = ask("v1/models/mlp:predict", b'{"instances": [[NaN, 0, 0, Infinity]]}')
    assert status == 200
    assert math.isnan(said["predictions"][0][0])


def test_items_are_rows_of_a_model_without_tensors(ask: Ask) -> None:
    body = {"instances": ["a", {"b64": base64.b64encode(b"b").decode()}]}
    status, said = ask("v1/models/shout:predict", {"instances": ["a", "b"]})
    assert (status, said) == (200, {"predictions": ["A", "B"]})
    predictors["dummy"].backend.returns(lambda items: [str(item) for item in items])  # type: ignore[attr-defined]
    assert ask("v1/models/dummy:predict", body) == (200, {"predictions": ["a", "b'b'"]})


def test_bytes_are_written_as_b64(ask: Ask) -> None:
    answer = {"image_bytes": np.array([b"\xff\xd8"], object), "label": np.array(["é"], object)}
    predictors["dummy"].backend.returns(answer)  # type: ignore[attr-defined]
    assert ask("v1/models/dummy:predict", {"instances": ["x"]}) == (
        200,
        {"predictions": [{"image_bytes": {"b64": "/9g="}, "label": "é"}]},
    )


def test_classes_and_values(ask: Ask) -> None:
    examples = {"examples": [{"x": row} for row in ROWS]}
    expected = [[["0", row[0]], ["1", row[1]]] for row in EXPECTED]
    assert ask("v1/models/mlp:classify", examples) == (200, {"results": expected})
    status, said = ask("v1/models/mlp:regress", examples)
    assert status == 400
    assert "does not regress" in said["error"]
    predictors["dummy"].backend.returns({"y": np.array([[0.5], [1.5]])})  # type: ignore[attr-defined]
    assert ask("v1/models/dummy:regress", examples) == (200, {"results": [0.5, 1.5]})


def test_status_and_metadata(ask: Ask) -> None:
    waiting = {
        "version": "0",
        "state": "START",
        "status": {"error_code": "OK", "error_message": ""},
    }
    assert ask("v1/models/mlp") == (200, {"model_version_status": [waiting]})
    status, said = ask("v1/models/mlp/metadata")
    assert status == 200
    version = str(number_of(predictors["mlp"].status().version))
    assert said["model_spec"] == {"name": "mlp", "signature_name": "", "version": version}
    signature = said["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["method_name"] == "tensorflow/serving/predict"
    assert signature["inputs"]["x"] == {
        "name": "x",
        "dtype": "DT_FLOAT",
        "tensor_shape": {
            "dim": [{"size": "-1", "name": ""}, {"size": "4", "name": ""}],
            "unknown_rank": False,
        },
    }
    assert list(signature["outputs"]) == ["y"]
    for tail in ("", f"/versions/{version}", "/labels/stable"):
        said = ask(f"v1/models/mlp{tail}")[1]
        assert [(each["version"], each["state"]) for each in said["model_version_status"]] == [
            (version, "AVAILABLE")
        ]
        assert ask(f"v1/models/mlp{tail}/metadata")[0] == 200
        assert ask(f"v1/models/mlp{tail}:predict", {"inputs": ROWS})[0] == 200


def test_a_failed_load_is_told_without_paths(ask: Ask) -> None:
    assert ask("v1/models/broken:predict", {"instances": [1]})[0] == 503
    (version,) = ask("v1/models/broken")[1]["model_version_status"]
    assert version["state"] == "END"
    assert version["status"]["error_code"] == "UNAVAILABLE"
    assert "broken.onnx" not in version["status"]["error_message"]


def test_a_fallback_answers_for_a_model_that_cannot(ask: Ask) -> None:
    # Before either is there, and after.
    for _ in range(2):
        assert ask("v1/models/relieved:predict", {"instances": ROWS}) == (
            200,
            {"predictions": EXPECTED},
        )


@pytest.mark.parametrize("prefix", [""], indirect=True)
@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("v1/models/none", None, 404),
        ("v1/models/none:predict", {"instances": [1]}, 404),
        ("v1/models/mlp/versions/1:predict", {"instances": [1]}, 404),
        ("v1/models/mlp/versions/1", None, 404),
        ("v1/models/mlp/labels/blue/metadata", None, 404),
        ("v1/models/mlp/labels/canary:predict", {"instances": [1]}, 404),
        ("v1/models/mlp/versions/99999999999999999999", None, 400),
        ("v1/models/mlp/versions/one", None, 400),
        ("v1/models/", None, 400),
        ("v1", None, 400),
        ("v1/models/mlp:guess", {"instances": [1]}, 400),
        ("v1/models/mlp:predict", {}, 400),
        ("v1/models/mlp:predict", b"{", 400),
        ("v1/models/mlp:predict", {"instances": [[1, 2]]}, 400),
        ("v1/models/mlp:predict", {"instances": [{"z": 1}]}, 400),
        ("v1/models/mlp:predict", {"signature_name": "other", "instances": ROWS}, 400),
        ("v1/models/mlp:classify", {"examples": [{}]}, 400),
        ("v1/models/mlp:predict", None, 405),
        ("v1/models/mlp", {}, 405),
        ("v1/models/closed:predict", {"instances": [1]}, 403),
        ("v1/models/closed", None, 403),
        ("v1/models/small:predict", {"instances": [1] * 40}, 413),
        ("v1/models/seldom:predict", {"instances": [1] * 4}, 429),
        ("v1/models/seldom:predict", {"inputs": {"x": [1] * 4}}, 429),
    ],
)
def test_refusals(ask: Ask, path: str, body: Any, status: int) -> None:
    answered, said = ask(path, body)
    assert (answered, list(said)) == (status, ["error"])
    for alias in ("closed", "small", "seldom"):
        assert not predictors[alias].backend.calls  # type: ignore[attr-defined]


def test_a_path_that_is_none_is_called_malformed(ask: Ask) -> None:
    assert ask("v1/guess")[1] == {"error": "Malformed request: GET /v1/guess"}


@pytest.mark.parametrize(
    ("error", "status"),
    [(Overloaded("full"), 429), (ModelNotReady("loading"), 503), (PredictionTimeout("late"), 504)],
    ids=["full", "loading", "late"],
)
def test_errors_of_models(ask: Ask, error: Exception, status: int) -> None:
    predictors["dummy"].backend.returns(error)  # type: ignore[attr-defined]
    assert ask("v1/models/dummy:predict", {"instances": [1]})[0] == status


async def test_the_same_in_a_task(ask: Ask) -> None:
    async def answer(path: str, body: Any = None) -> Any:
        target = target_of(path)
        assert target is not None
        return json.loads(await arespond(target, json.dumps(body).encode()))

    assert await answer("/v1/models/mlp:predict", {"instances": ROWS}) == {"predictions": EXPECTED}
    assert (await answer("/v1/models/mlp"))["model_version_status"][0]["state"] == "AVAILABLE"
    assert (await answer("/v1/models/mlp/metadata"))["model_spec"]["name"] == "mlp"


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["b64", "x", "y", ""]), inner, max_size=2)
    ),
    max_leaves=10,
)


@pytest.mark.parametrize("prefix", [""], indirect=True)
def test_no_rows_are_answered_as_the_reference_does(ask: Ask) -> None:
    status, said = ask("v1/models/mlp:predict", {"instances": []})
    assert status == 400
    assert "one or more" in said["error"]
    # A column of none has one axis, and the model takes two.
    status, said = ask("v1/models/mlp:predict", {"inputs": {"x": []}})
    assert status == 400
    assert "x float32 [-1, 4]" in said["error"]


keys = st.sampled_from(["instances", "inputs", "examples", "context", "signature_name"])


@pytest.mark.parametrize("prefix", [""], indirect=True)
@fuzz(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    body=st.dictionaries(keys, values, min_size=1, max_size=2).map(json.dumps).map(str.encode)
    | st.binary(max_size=30),
    verb=st.sampled_from(["predict", "classify", "regress"]),
    model=st.sampled_from(["mlp", "shout"]),
)
def test_no_body_is_the_fault_of_the_server(ask: Ask, body: bytes, verb: str, model: str) -> None:
    status, said = ask(f"v1/models/{model}:{verb}", body)
    # A function that is given what it was not made for raises, which is no news for a client.
    allowed = (200, 400) if model == "mlp" else (200, 400, 500)
    assert status in allowed, said
    assert status == 200 or list(said) == ["error"]


@given(st.text(alphabet="/v1modelsMLP:predictversions09labels-%é", max_size=40))
def test_no_path_is_the_fault_of_the_server(tail: str) -> None:
    target = target_of(f"/v1/models/{tail}")
    assert target is None or target.choice.model
