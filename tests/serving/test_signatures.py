"""A SavedModel's signatures, as TensorFlow Serving's clients ask for them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.urls import include, path
from pytest_django import Settings
from rest_framework.test import APIClient

pytest.importorskip("grpc")
pytest.importorskip("tensorflow")

import grpc

from django_inference import InvalidInput, predictors
from django_inference.tensors import SIGNATURE_KEY
from django_inference.wire.protos import tensorflow_serving_pb2 as tfs
from django_inference.wire.protos.pool import methods
from tests.grpc.tensorflow_server import running

pytestmark = pytest.mark.heavy

LOCAL = "django_inference.backends.local.LocalBackend"


@pytest.fixture(scope="module")
def half_plus_two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As TensorFlow Serving's own example is made, with a placeholder without a rank."""
    import tensorflow as tf

    v1 = tf.compat.v1
    folder = tmp_path_factory.mktemp("models") / "half_plus_two"
    with v1.Graph().as_default(), v1.Session() as session:
        serialized = v1.placeholder(tf.string, name="tf_example")
        feature = v1.FixedLenFeature([1], tf.float32)
        x = tf.identity(v1.parse_example(serialized, {"x": feature})["x"], name="x")
        y = tf.add(tf.multiply(v1.Variable(0.5), x), v1.Variable(2.0), name="y")
        session.run(v1.global_variables_initializer())

        def signature(inputs: Any, outputs: Any, method: str) -> Any:
            make = tf.compat.v1.saved_model.build_tensor_info
            return v1.saved_model.build_signature_def(
                {name: make(each) for name, each in inputs.items()},
                {name: make(each) for name, each in outputs.items()},
                f"tensorflow/serving/{method}",
            )

        builder = v1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(
            session,
            ["serve"],
            signature_def_map={
                "serving_default": signature({"x": x}, {"y": y}, "predict"),
                "regress_x_to_y": signature({"inputs": serialized}, {"outputs": y}, "regress"),
                "classify_x_to_y": signature({"inputs": serialized}, {"scores": y}, "classify"),
            },
        )
        builder.save()
    return folder


@pytest.fixture
def site(settings: Settings, half_plus_two: Path) -> Iterator[None]:
    settings.MIDDLEWARE = []
    settings.ROOT_URLCONF = (path("", include("django_inference.rest.tensorflow_serving.urls")),)
    settings.INFERENCE = {
        "half": {"MODEL": half_plus_two, "BACKEND": LOCAL},
        "regress": {
            "MODEL": half_plus_two,
            "BACKEND": LOCAL,
            "RUNTIME_OPTIONS": {"signature": "regress_x_to_y"},
        },
        "session": {
            "MODEL": half_plus_two,
            "RUNTIME": "tensorflow1",
            "BACKEND": LOCAL,
            "RUNTIME_OPTIONS": {"signature": "regress_x_to_y"},
        },
    }
    yield
    predictors.reset()


def post(url: str, body: Any) -> Any:
    client: Any = APIClient()
    response = client.generic("POST" if body else "GET", url, json.dumps(body).encode(), "")
    return response.status_code, response.json()


EXAMPLES = [{"x": 4.0}, {"x": [6.0]}]


def test_signatures_are_addressed_by_name(site: None) -> None:
    assert post("/v1/models/half:predict", {"instances": [[4.0]]}) == (
        200,
        {"predictions": [[4.0]]},
    )
    for name in ("", "serving_default"):
        body: dict[str, Any] = {"signature_name": name, "instances": [[4.0]]}
        assert post("/v1/models/half:predict", body) == (200, {"predictions": [[4.0]]})
    body = {"signature_name": "regress_x_to_y", "examples": EXAMPLES}
    assert post("/v1/models/half:regress", body) == (200, {"results": [4.0, 5.0]})
    body = {"signature_name": "classify_x_to_y", "examples": EXAMPLES}
    assert post("/v1/models/half:classify", body) == (
        200,
        {"results": [[["0", 4.0]], [["0", 5.0]]]},
    )


def test_a_signature_that_there_is_not(site: None) -> None:
    body = {"signature_name": "regress_x_to_z", "instances": [[4.0]]}
    status, said = post("/v1/models/half:predict", body)
    assert status == 400
    assert said["error"] == (
        "there is no signature 'regress_x_to_z' (did you mean 'regress_x_to_y'?); "
        "there are serving_default, classify_x_to_y, regress_x_to_y."
    )
    with pytest.raises(InvalidInput, match="no signature 'other'"):
        predictors["half"].predict({"x": [[4.0]], SIGNATURE_KEY: "other"})


def test_the_metadata_names_them_all(site: None) -> None:
    _, said = post("/v1/models/half/metadata", None)
    defs = said["metadata"]["signature_def"]["signature_def"]
    assert list(defs) == ["serving_default", "classify_x_to_y", "regress_x_to_y"]
    info = defs["regress_x_to_y"]["inputs"]["inputs"]
    assert info["dtype"] == "DT_STRING"
    assert info["tensor_shape"]["dim"] == [{"size": "-1", "name": ""}]


@pytest.mark.parametrize("alias", ["regress", "session"])
def test_examples_for_a_placeholder_without_a_rank(site: None, alias: str) -> None:
    answer = post(f"/v1/models/{alias}:regress", {"examples": EXAMPLES})
    assert answer == (200, {"results": [4.0, 5.0]})
    # What is no Example, or lacks a feature, is the client's mistake.
    for body in ({"inputs": [{"b64": "/w=="}]}, {"instances": [""]}, {"instances": [None]}):
        status, said = post(f"/v1/models/{alias}:predict", body)
        assert status == 400, said
    assert predictors[alias].status().replicas[0].statistics.failures == 0


def test_by_grpc(site: None) -> None:
    def asked(task: Any, name: str, method: str = "") -> Any:
        task.model_spec.name, task.model_spec.signature_name = "half", name
        if method:
            task.method_name = f"tensorflow/serving/{method}"
        return task

    def examples(request: Any) -> Any:
        for value in (4.0, 6.0):
            example = request.input.example_list.examples.add()
            example.features.feature["x"].float_list.value.append(value)
        return request

    with running() as address, grpc.insecure_channel(address) as channel:

        def ask(name: str, request: Any) -> Any:
            method = methods("tensorflow.serving.PredictionService")[name]
            call = channel.unary_unary(
                method.path,
                request_serializer=method.request.SerializeToString,
                response_deserializer=method.response.FromString,
            )
            return call(request, timeout=60)

        answer = ask("Regress", asked(examples(tfs.RegressionRequest()), "regress_x_to_y"))
        assert [each.value for each in answer.result.regressions] == [4.0, 5.0]
        assert answer.model_spec.signature_name == "regress_x_to_y"
        many = examples(tfs.MultiInferenceRequest())
        asked(many.tasks.add(), "regress_x_to_y", "regress")
        asked(many.tasks.add(), "classify_x_to_y", "classify")
        first, second = ask("MultiInference", many).results
        assert [each.value for each in first.regression_result.regressions] == [4.0, 5.0]
        scores = [each.classes[0].score for each in second.classification_result.classifications]
        assert scores == [4.0, 5.0]
        with pytest.raises(grpc.RpcError) as refused:
            ask("Regress", asked(examples(tfs.RegressionRequest()), "other"))
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "regress_x_to_y" in (refused.value.details() or "")


def test_calls_for_several_signatures_at_once_are_kept_apart(site: None) -> None:
    from concurrent.futures import ThreadPoolExecutor

    def call(number: int) -> bool:
        if number % 2:
            answer = predictors["half"].predict({"x": np.full((2, 1), number, np.float32)})
            return bool(np.array_equal(answer["y"], np.full((2, 1), number / 2 + 2)))
        body = {"signature_name": "regress_x_to_y", "examples": [{"x": float(number)}]}
        return bool(post("/v1/models/half:regress", body) == (200, {"results": [number / 2 + 2]}))

    with ThreadPoolExecutor(6) as threads:
        assert all(threads.map(call, range(60)))
