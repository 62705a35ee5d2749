"""TensorFlow Serving's services, asked with this project's own messages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pytest_django import Settings

pytest.importorskip("grpc")

import grpc

from django_inference import predictors
from django_inference.wire.protos import tensorflow_pb2 as tf
from django_inference.wire.protos import tensorflow_serving_pb2 as tfs
from django_inference.wire.protos.pool import methods
from django_inference.wire.tensor_proto import from_proto, to_proto
from tests.grpc.tensorflow_server import running

LOCAL = "django_inference.backends.local.LocalBackend"
ROWS = np.array([[1, 2, 3, 4], [-1, 0.5, 0.25, 0]], dtype=np.float32)
WEIGHTS = np.array([[1, -1], [0.5, 2], [0, 1], [-1, 0.25]], dtype=np.float32)
EXPECTED = np.maximum(ROWS @ WEIGHTS, 0)

#: A byte, where a float has four.
SHORT = tf.TensorProto(dtype=tf.DT_FLOAT, tensor_content=b"1")

Ask = Callable[..., Any]


def value_of(inputs: Any) -> Any:
    """A model that regresses: the sum of each row."""
    return {"y": np.sum(inputs["x"], axis=1, keepdims=True)}


@pytest.fixture
def ask(settings: Settings, onnx_mlp: Path) -> Iterator[Ask]:
    """Calls a method with a message, and returns the answer."""
    settings.INFERENCE = {
        "mlp": {"MODEL": onnx_mlp, "BACKEND": LOCAL},
        "sum": {"BACKEND": "django_inference.backends.dummy.DummyBackend"},
        "shout": {"RUNTIME": "tests.rest.runtimes.shout", "BACKEND": LOCAL},
    }
    predictors["sum"].backend.returns(value_of)  # type: ignore[attr-defined]
    with running() as address, grpc.insecure_channel(address) as channel:

        def ask(service: str, name: str, request: Any) -> Any:
            method = methods(f"tensorflow.serving.{service}")[name]
            call = channel.unary_unary(
                method.path,
                request_serializer=method.request.SerializeToString,
                response_deserializer=method.response.FromString,
            )
            return call(request, timeout=30)

        yield ask
    predictors.reset()


def spec(name: str = "mlp", **said: Any) -> tfs.ModelSpec:
    return tfs.ModelSpec(name=name, **said)


def examples(*rows: Any) -> tfs.Input:
    asked = tfs.Input()
    for row in rows:
        example = asked.example_list.examples.add()
        example.features.feature["x"].float_list.value.extend(row)
    return asked


def test_predict_and_multi_inference(ask: Ask) -> None:
    request = tfs.PredictRequest(model_spec=spec(), output_filter=["y"])
    request.inputs["x"].MergeFrom(to_proto(ROWS, "x"))
    answer = ask("PredictionService", "Predict", request)
    assert len(answer.outputs["y"].float_val) == EXPECTED.size
    np.testing.assert_allclose(from_proto(answer.outputs["y"], "y"), EXPECTED)
    tasks = [
        tfs.InferenceTask(model_spec=spec("sum"), method_name="tensorflow/serving/regress"),
        tfs.InferenceTask(model_spec=spec("sum"), method_name="tensorflow/serving/classify"),
    ]
    both = tfs.MultiInferenceRequest(tasks=tasks, input=examples(*ROWS.tolist()))
    regressed, classified = ask("PredictionService", "MultiInference", both).results
    sums = ROWS.sum(axis=1).tolist()
    assert [each.value for each in regressed.regression_result.regressions] == sums
    found = classified.classification_result.classifications
    assert [(each.classes[0].label, each.classes[0].score) for each in found] == [
        ("0", each) for each in sums
    ]
    calls = predictors["sum"].backend.calls  # type: ignore[attr-defined]
    assert len(calls) == 1


def test_context_is_shared_by_the_examples(ask: Ask) -> None:
    asked = tfs.Input()
    asked.example_list_with_context.context.features.feature["x"].float_list.value.extend([1] * 4)
    asked.example_list_with_context.examples.add()
    other = asked.example_list_with_context.examples.add()
    other.features.feature["x"].int64_list.value.extend([2] * 4)
    answer = ask(
        "PredictionService", "Classify", tfs.ClassificationRequest(model_spec=spec(), input=asked)
    )
    scores = [[each.score for each in row.classes] for row in answer.result.classifications]
    expected = np.maximum(np.array([[1.0] * 4, [2.0] * 4]) @ WEIGHTS, 0)
    np.testing.assert_allclose(scores, expected)


def predict(inputs: Any = None, **said: Any) -> tuple[str, str, Any]:
    request = tfs.PredictRequest(model_spec=spec(**said))
    for name, value in (inputs or {"x": ROWS}).items():
        request.inputs[name].MergeFrom(
            value if isinstance(value, tf.TensorProto) else to_proto(value, name)
        )
    return "PredictionService", "Predict", request


def task(method: str) -> tfs.MultiInferenceRequest:
    made = tfs.InferenceTask(model_spec=spec(), method_name=method)
    return tfs.MultiInferenceRequest(tasks=[made], input=examples([1, 2, 3, 4]))


@pytest.mark.parametrize(
    ("service", "method", "request_", "code"),
    [
        (*predict(name="none"), "NOT_FOUND"),
        (*predict(name=""), "INVALID_ARGUMENT"),
        (*predict(version_label="canary"), "NOT_FOUND"),
        (*predict(version={"value": 1}), "NOT_FOUND"),
        (*predict(signature_name="other"), "INVALID_ARGUMENT"),
        (*predict({"z": ROWS}), "INVALID_ARGUMENT"),
        (*predict({"x": ROWS[:, :2]}), "INVALID_ARGUMENT"),
        (
            *predict({"x": tf.TensorProto(dtype=tf.DT_FLOAT, tensor_content=b"1")}),
            "INVALID_ARGUMENT",
        ),
        (*predict(name="shout"), "INVALID_ARGUMENT"),
        (
            "PredictionService",
            "Predict",
            tfs.PredictRequest(model_spec=spec(), output_filter=["z"]),
            "INVALID_ARGUMENT",
        ),
        (
            "PredictionService",
            "Classify",
            tfs.ClassificationRequest(model_spec=spec()),
            "INVALID_ARGUMENT",
        ),
        (
            "PredictionService",
            "Regress",
            tfs.RegressionRequest(model_spec=spec(), input=examples([1, 2, 3, 4])),
            "INVALID_ARGUMENT",
        ),
        (
            "PredictionService",
            "MultiInference",
            task("tensorflow/serving/predict"),
            "UNIMPLEMENTED",
        ),
        ("PredictionService", "MultiInference", tfs.MultiInferenceRequest(), "INVALID_ARGUMENT"),
        (
            "PredictionService",
            "GetModelMetadata",
            tfs.GetModelMetadataRequest(model_spec=spec()),
            "INVALID_ARGUMENT",
        ),
        (
            "ModelService",
            "GetModelStatus",
            tfs.GetModelStatusRequest(model_spec=spec("none")),
            "NOT_FOUND",
        ),
        ("ModelService", "HandleReloadConfigRequest", tfs.ReloadConfigRequest(), "UNIMPLEMENTED"),
    ],
)
def test_refusals(ask: Ask, service: str, method: str, request_: Any, code: str) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        ask(service, method, request_)
    assert refused.value.code().name == code
    assert refused.value.details()
