"""TensorFlow Serving's own stubs and TensorFlow's own tensors on the other side of the wire."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from django_inference import InvalidInput, RemoteError
from tests.backends.remote.conftest import Remote

pytestmark = pytest.mark.heavy

BACKEND = "django_inference.backends.tensorflow_serving.TensorFlowServingBackend"
X = np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A server of the model `double`, version 7; it answers in the typed fields of tensors."""
    pytest.importorskip("tensorflow_serving")
    import grpc
    import tensorflow as tf
    from tensorflow_serving import apis
    from tensorflow_serving.apis import (
        get_model_metadata_pb2,
        get_model_status_pb2,
        model_service_pb2_grpc,
        predict_pb2,
        prediction_service_pb2_grpc,
    )

    assert apis is not None

    class Predictions(prediction_service_pb2_grpc.PredictionServiceServicer):  # type: ignore[misc]
        def Predict(self, request: Any, context: Any) -> Any:
            self._check(request, context)
            x = tf.make_ndarray(request.inputs["x"])
            label = tf.make_ndarray(request.inputs["label"])
            answer = predict_pb2.PredictResponse()
            answer.model_spec.version.value = 7
            outputs = {"y": (x * 2).ravel().tolist(), "label": label.tolist()}
            shapes = {"y": x.shape, "label": label.shape}
            for name in request.output_filter or outputs:
                kind = tf.string if name == "label" else tf.float32
                proto = tf.make_tensor_proto(outputs[name], kind, shapes[name])
                answer.outputs[name].CopyFrom(proto)
            return answer

        def GetModelMetadata(self, request: Any, context: Any) -> Any:
            self._check(request, context)
            answer = get_model_metadata_pb2.GetModelMetadataResponse()
            answer.model_spec.version.value = 7
            said = get_model_metadata_pb2.SignatureDefMap()
            signature = said.signature_def["serving_default"]
            for infos, names in (
                (signature.inputs, ("x", "label")),
                (signature.outputs, ("y", "label")),
            ):
                for name in names:
                    kind = tf.string if name == "label" else tf.float32
                    infos[name].dtype = kind.as_datatype_enum
                    for _ in range(1 if name == "label" else 2):
                        infos[name].tensor_shape.dim.add(size=-1)
            answer.metadata["signature_def"].Pack(said)
            return answer

        def _check(self, request: Any, context: Any) -> None:
            if request.model_spec.name != "double":
                context.abort(grpc.StatusCode.NOT_FOUND, "Servable not found for request")

    class Models(model_service_pb2_grpc.ModelServiceServicer):  # type: ignore[misc]
        def GetModelStatus(self, request: Any, context: Any) -> Any:
            answer = get_model_status_pb2.GetModelStatusResponse()
            answer.model_version_status.add(
                version=7, state=get_model_status_pb2.ModelVersionStatus.AVAILABLE
            )
            return answer

    with ThreadPoolExecutor(4) as pool:
        made = grpc.server(pool)
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Predictions(), made)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(Models(), made)
        port = made.add_insecure_port("127.0.0.1:0")
        made.start()
        yield f"grpc://127.0.0.1:{port}"
        made.stop(0).wait(10)


async def test_the_official_stubs(server: str, remote: Remote) -> None:
    predictor = remote(server, backend=BACKEND)
    inputs = {"x": X, "label": ["ä", "b"]}
    for answer in (predictor.predict(inputs), await predictor.apredict(inputs)):
        assert np.array_equal(answer["y"], X * 2)
        assert [text.decode() for text in answer["label"]] == ["ä", "b"]
    assert predictor.predict_one({"x": X[0], "label": "c"})["label"] == b"c"
    status = predictor.status()
    assert status.version == "7"
    assert status.endpoints[0].healthy
    filtered = remote(server, backend=BACKEND, outputs=["label"])
    assert filtered.predict(inputs).keys() == {"label"}


def test_mistakes(server: str, remote: Remote) -> None:
    with pytest.raises(RemoteError, match="has no model 'nope'"):
        remote(server, backend=BACKEND, model="nope").predict({"x": X})
    with pytest.raises(RemoteError, match="has no signature 'other'; it has serving_default"):
        remote(server, backend=BACKEND, signature_name="other").predict({"x": X})
    with pytest.raises(InvalidInput, match="the inputs are"):
        remote(server, backend=BACKEND).predict({"x": X})
