"""The stubs that TensorFlow Serving publishes, as they are, and TensorFlow's own tensors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from pytest_django import Settings

pytest.importorskip("grpc")

import grpc

from django_inference import predictors
from tests.grpc.tensorflow_server import running

pytestmark = pytest.mark.heavy

LOCAL = "django_inference.backends.local.LocalBackend"
ROWS = np.array([[1, 2, 3, 4], [-1, 0.5, 0.25, 0]], dtype=np.float32)
WEIGHTS = np.array([[1, -1], [0.5, 2], [0, 1], [-1, 0.25]], dtype=np.float32)
EXPECTED = np.maximum(ROWS @ WEIGHTS, 0)


@pytest.fixture(scope="module")
def saved_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SavedModel that measures texts: bytes in, their lengths and themselves out."""
    pytest.importorskip("tensorflow")
    import tensorflow as tf

    class Lengths(tf.Module):  # type: ignore[misc]
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])  # type: ignore[untyped-decorator]
        def __call__(self, text: Any) -> Any:
            lengths = tf.cast(tf.strings.length(text), tf.float32)
            return {"outputs": tf.expand_dims(lengths, 1), "same_bytes": text}

    folder = tmp_path_factory.mktemp("saved") / "lengths"
    model = Lengths()
    tf.saved_model.save(model, str(folder), signatures=model.__call__)
    return folder


@pytest.fixture(scope="module")
def estimator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SavedModel as estimators are exported: it parses examples, and names its classes."""
    pytest.importorskip("tensorflow")
    import tensorflow as tf

    class Compare(tf.Module):  # type: ignore[misc]
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])  # type: ignore[untyped-decorator]
        def __call__(self, inputs: Any) -> Any:
            features = {"x": tf.io.FixedLenFeature([2], tf.float32)}
            scores = tf.nn.softmax(tf.io.parse_example(inputs, features)["x"])
            classes = tf.tile([["first", "second"]], [tf.shape(inputs)[0], 1])
            return {"classes": classes, "scores": scores}

    folder = tmp_path_factory.mktemp("saved") / "estimator"
    model = Compare()
    tf.saved_model.save(model, str(folder), signatures=model.__call__)
    return folder


@pytest.fixture
def served(settings: Settings, onnx_mlp: Path, saved_model: Path, estimator: Path) -> Iterator[Any]:
    """The stubs, their messages, and TensorFlow."""
    pytest.importorskip("tensorflow_serving")
    import tensorflow as tf
    from tensorflow_serving import apis
    from tensorflow_serving.apis import (
        classification_pb2,
        get_model_metadata_pb2,
        get_model_status_pb2,
        model_service_pb2_grpc,
        predict_pb2,
        prediction_service_pb2_grpc,
        regression_pb2,
    )

    settings.INFERENCE = {
        "mlp": {"MODEL": onnx_mlp, "BACKEND": LOCAL},
        "estimator": {"MODEL": estimator, "BACKEND": LOCAL, "OPTIONS": {"timeout": 60}},
        "lengths": {"MODEL": saved_model, "BACKEND": LOCAL, "OPTIONS": {"timeout": 60}},
    }
    assert apis
    with running() as address, grpc.insecure_channel(address) as channel:
        yield SimpleNamespace(
            tf=tf,
            predict=predict_pb2,
            classify=classification_pb2,
            regress=regression_pb2,
            metadata=get_model_metadata_pb2,
            status=get_model_status_pb2,
            predictions=prediction_service_pb2_grpc.PredictionServiceStub(channel),
            models=model_service_pb2_grpc.ModelServiceStub(channel),
        )
    predictors.reset()


def test_every_call(served: Any) -> None:
    tf = served.tf
    request = served.predict.PredictRequest()
    request.model_spec.name = "mlp"
    # A large array goes as tensor_content, a list as typed fields.
    content = tf.make_tensor_proto(ROWS)
    typed = tf.make_tensor_proto(ROWS.tolist(), dtype=tf.float32)
    typed.ClearField("tensor_content")
    typed.float_val.extend(ROWS.ravel().tolist())
    assert content.tensor_content
    for tensor in (content, typed):
        request.inputs["x"].CopyFrom(tensor)
        answer = served.predictions.Predict(request, timeout=60)
        assert list(answer.outputs["y"].float_val) == pytest.approx(EXPECTED.ravel().tolist())
        np.testing.assert_allclose(tf.make_ndarray(answer.outputs["y"]), EXPECTED)
        assert answer.model_spec.signature_name == "serving_default"
    version = answer.model_spec.version.value
    assert version > 0

    status = served.status.GetModelStatusRequest()
    status.model_spec.name = "mlp"
    status.model_spec.version.value = version
    (found,) = served.models.GetModelStatus(status, timeout=60).model_version_status
    assert (found.version, found.state) == (version, found.AVAILABLE)

    metadata = served.metadata.GetModelMetadataRequest(metadata_field=["signature_def"])
    metadata.model_spec.name = "mlp"
    answer = served.predictions.GetModelMetadata(metadata, timeout=60)
    signatures = served.metadata.SignatureDefMap()
    assert answer.metadata["signature_def"].Unpack(signatures)
    signature = signatures.signature_def["serving_default"]
    assert signature.method_name == "tensorflow/serving/predict"
    assert signature.inputs["x"].dtype == tf.float32.as_datatype_enum
    assert [axis.size for axis in signature.inputs["x"].tensor_shape.dim] == [-1, 4]

    classify = served.classify.ClassificationRequest()
    classify.model_spec.name = "mlp"
    for row in ROWS.tolist():
        example = classify.input.example_list.examples.add()
        example.features.feature["x"].float_list.value.extend(row)
    answer = served.predictions.Classify(classify, timeout=60)
    for found, row in zip(answer.result.classifications, EXPECTED.tolist(), strict=True):
        assert [each.label for each in found.classes] == ["0", "1"]
        assert [each.score for each in found.classes] == pytest.approx(row)


def test_texts_and_bytes_through_tensorflow(served: Any) -> None:
    tf = served.tf
    request = served.predict.PredictRequest()
    request.model_spec.name = "lengths"
    request.inputs["text"].CopyFrom(tf.make_tensor_proto([b"\xff\xd8", b"abc"]))
    answer = served.predictions.Predict(request, timeout=60)
    assert tf.make_ndarray(answer.outputs["outputs"]).tolist() == [[2], [3]]
    assert list(answer.outputs["same_bytes"].string_val) == [b"\xff\xd8", b"abc"]

    regress = served.regress.RegressionRequest()
    regress.model_spec.name = "lengths"
    for text in (b"a", b"four"):
        example = regress.input.example_list.examples.add()
        example.features.feature["text"].bytes_list.value.append(text)
    answer = served.predictions.Regress(regress, timeout=60)
    assert [each.value for each in answer.result.regressions] == [1, 4]

    request.inputs["text"].CopyFrom(tf.make_tensor_proto([1.5]))
    with pytest.raises(grpc.RpcError) as refused:
        served.predictions.Predict(request, timeout=60)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_a_graph_that_parses_examples_itself(served: Any) -> None:
    classify = served.classify.ClassificationRequest()
    classify.model_spec.name = "estimator"
    for row in ([0.0, 0.0], [0.0, 50.0]):
        example = classify.input.example_list.examples.add()
        example.features.feature["x"].float_list.value.extend(row)
    answer = served.predictions.Classify(classify, timeout=60)
    found = [
        [(each.label, each.score) for each in row.classes] for row in answer.result.classifications
    ]
    assert found == [
        [("first", 0.5), ("second", 0.5)],
        [("first", pytest.approx(0)), ("second", 1)],
    ]
    del classify.input.example_list.examples[1].features.feature["x"]
    with pytest.raises(grpc.RpcError) as refused:
        served.predictions.Classify(classify, timeout=60)
    assert refused.value.code() is not grpc.StatusCode.OK


@pytest.mark.parametrize(
    "dtype",
    [
        "float16",
        "float32",
        "float64",
        "int8",
        "int16",
        "int32",
        "int64",
        "uint8",
        "uint16",
        "uint32",
        "uint64",
        "bool",
        "complex64",
    ],
)
def test_tensors_are_tensorflows(dtype: str) -> None:
    tf = pytest.importorskip("tensorflow")
    from django_inference.wire.protos import tensorflow_pb2
    from django_inference.wire.tensor_proto import from_proto, to_proto

    value = np.arange(6).reshape(2, 3).astype(dtype)
    theirs = tf.make_tensor_proto(value).SerializeToString()
    read = from_proto(tensorflow_pb2.TensorProto.FromString(theirs), "x")
    np.testing.assert_array_equal(read, value, strict=True)
    # One value that stands for all of them.
    one = value.ravel()[1]  # of the type itself
    same = tf.make_tensor_proto(one, dtype=dtype, shape=[2, 3]).SerializeToString()
    read = from_proto(tensorflow_pb2.TensorProto.FromString(same), "x")
    np.testing.assert_array_equal(read, np.ones((2, 3), dtype), strict=True)
    for typed in (False, True):
        ours = tf.make_tensor_proto(0)
        ours.ParseFromString(to_proto(value, "x", typed=typed).SerializeToString())
        np.testing.assert_array_equal(tf.make_ndarray(ours), value, strict=True)
