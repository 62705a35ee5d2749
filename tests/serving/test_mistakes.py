"""A client's mistake is answered as one, whichever protocol it comes by, and counted as one."""

from __future__ import annotations

import base64
import json
import logging
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
from rest_framework.test import APIClient

pytest.importorskip("grpc")
pytest.importorskip("onnx")

import grpc
import onnx
from onnx import TensorProto, helper, numpy_helper

from django_inference import predictors
from django_inference.wire.datatypes import DATATYPES, datatype_of
from django_inference.wire.open_inference import InferRequest
from django_inference.wire.open_inference_proto import request_to_proto
from django_inference.wire.protos import tensorflow_serving_pb2 as tfs
from django_inference.wire.protos.pool import methods
from django_inference.wire.tensor_proto import to_proto
from tests.grpc.tensorflow_server import running

LOCAL = "django_inference.backends.local.LocalBackend"

#: Asks a model for what becomes of its input `x`; returns whether it was refused, and why.
Ask = Callable[[str, Any], tuple[bool, str]]


def saved(file: Path, op: str, takes: int, gives: int, shape: Any, *before: str) -> Path:
    table = numpy_helper.from_array(np.arange(10, dtype=np.float32).reshape(5, 2), "table")
    graph = helper.make_graph(
        [helper.make_node(op, [*before, "x"], ["y"])],
        "graph",
        [helper.make_tensor_value_info("x", takes, shape)],
        [helper.make_tensor_value_info("y", gives, None)],
        [table] if before else [],
    )
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), file)
    return file


@pytest.fixture
def models(settings: Settings, tmp_path: Path) -> Iterator[None]:
    torch = pytest.importorskip("torch")
    weights = torch.nn.Linear(2, 1).state_dict()
    torch.save(weights, tmp_path / "linear.pt")
    texts, floats, ids = TensorProto.STRING, TensorProto.FLOAT, TensorProto.INT64
    settings.MIDDLEWARE = []
    settings.ROOT_URLCONF = (
        path("api/", include("django_inference.rest.urls")),
        path("", include("django_inference.rest.open_inference.urls")),
        path("", include("django_inference.rest.tensorflow_serving.urls")),
    )
    settings.INFERENCE = {
        "words": {
            "MODEL": saved(tmp_path / "words.onnx", "Identity", texts, texts, ["n"]),
            "BACKEND": LOCAL,
        },
        "table": {
            "MODEL": saved(tmp_path / "table.onnx", "Gather", ids, floats, ["n", 1], "table"),
            "BACKEND": LOCAL,
        },
        "linear": {
            "MODEL": tmp_path / "linear.pt",
            "RUNTIME_OPTIONS": {
                "model": "torch.nn.Linear",
                "model_options": {"in_features": 2, "out_features": 1},
            },
            "BACKEND": LOCAL,
        },
    }
    yield
    predictors.reset()


def post(url: str, body: Any) -> tuple[bool, str]:
    client: Any = APIClient()
    response = client.generic("POST", url, json.dumps(body).encode(), "application/json")
    assert response.status_code in (200, 400), response.content
    return response.status_code == 400, response.content.decode()


def by_predict_view(model: str, x: Any) -> tuple[bool, str]:
    return post(f"/api/{model}/", {"inputs": {"input" if model == "linear" else "x": plain(x)}})


def by_open_inference(model: str, x: Any) -> tuple[bool, str]:
    x = np.asarray(x)
    tensor = {
        "name": "input" if model == "linear" else "x",
        "shape": x.shape,
        "datatype": datatype_of(x.dtype),
    }
    if x.dtype.kind == "O" and isinstance(x.flat[0], bytes):
        tensor["parameters"] = {"content_type": "base64"}
        tensor["data"] = [base64.b64encode(each).decode() for each in x.flat]
    else:
        tensor["data"] = x.tolist()
    return post(f"/v2/models/{model}/infer", {"inputs": [tensor]})


def by_tensorflow_serving(model: str, x: Any) -> tuple[bool, str]:
    body = {"inputs": {"input" if model == "linear" else "x": plain(x)}}
    return post(f"/v1/models/{model}:predict", body)


def plain(x: Any) -> Any:
    x = np.asarray(x)
    if x.dtype.kind == "O":
        return [
            {"b64": base64.b64encode(each).decode()} if isinstance(each, bytes) else each
            for each in x.tolist()
        ]
    return x.tolist()


def call(channel: Any, service: str, name: str, request: Any) -> tuple[bool, str]:
    method = methods(service)[name]
    ask = channel.unary_unary(
        method.path,
        request_serializer=method.request.SerializeToString,
        response_deserializer=method.response.FromString,
    )
    try:
        return False, str(ask(request, timeout=30))
    except grpc.RpcError as error:
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT, error.details()
        return True, error.details() or ""


@pytest.fixture(params=["predict view", "v2", "v1", "v2 by gRPC", "v1 by gRPC"])
def ask(request: pytest.FixtureRequest, models: None) -> Iterator[Ask]:
    rest = {"predict view": by_predict_view, "v2": by_open_inference, "v1": by_tensorflow_serving}
    if request.param in rest:
        yield rest[request.param]
        return

    def by_open_inference_rpc(model: str, x: Any) -> tuple[bool, str]:
        name = "input" if model == "linear" else "x"
        asked = InferRequest(model=model, inputs={name: np.asarray(x)})
        service = "inference.GRPCInferenceService"
        return call(channel, service, "ModelInfer", request_to_proto(asked))

    def by_tensorflow_rpc(model: str, x: Any) -> tuple[bool, str]:
        name = "input" if model == "linear" else "x"
        asked = tfs.PredictRequest(model_spec=tfs.ModelSpec(name=model))
        asked.inputs[name].MergeFrom(to_proto(np.asarray(x), name))
        return call(channel, "tensorflow.serving.PredictionService", "Predict", asked)

    with running() as address, grpc.insecure_channel(address) as channel:
        yield by_open_inference_rpc if request.param == "v2 by gRPC" else by_tensorflow_rpc


def test_mistakes_are_the_clients_everywhere(ask: Ask, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    text = np.array(["a", b"\xff"], dtype=object)
    text[0] = b"a"
    for model, good, bad, said in (
        ("table", [[4]], [[5]], "idx=5"),
        ("table", [[4]], [[1.5]], "whole numbers"),
        ("words", np.array([b"a"], object), text, "UTF-8"),
        ("linear", [[1.0, 2.0]], [[1, 2]], "whole numbers of the shape [1, 2]"),
        ("linear", [[1.0, 2.0]], [[1.0, 2.0, 3.0]], "cannot be multiplied"),
    ):
        refused, message = ask(model, bad)
        assert refused, (model, message)
        assert said in message, message
        for word in ("<U", "|S", "object values", "Traceback", "float64"):
            assert word not in message
        assert ask(model, good)[0] is False, model
    for alias in ("table", "words", "linear"):
        status = predictors[alias].status()
        (replica,) = status.replicas
        assert replica.statistics.failures == 0
        assert status.error is None
    assert predictors["linear"].status().replicas[0].statistics.invalid == 2
    assert not [each for each in caplog.records if each.name.startswith("django_inference")]


scalars = (
    st.none()
    | st.booleans()
    | st.sampled_from([0, 4, 5, -1, -6, 2**31, 2**63, 2**64, 1.0, 0.5, 1e300])
    | st.sampled_from(["", "a", "\ud800", "é", "\0", {"b64": "/w=="}, {"b64": "/w\n"}, {"b64": 1}])
    | st.floats()
)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3), max_leaves=8)
names = st.sampled_from(["x", "input", "@signature"])


@fuzz(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    model=st.sampled_from(["words", "table"]),
    value=values,
    name=names,
    shape=st.lists(st.sampled_from([0, 1, 2, 3]), max_size=3),
    datatype=st.sampled_from(DATATYPES),
)
def test_no_value_is_the_fault_of_the_server(
    models: None, model: str, value: Any, name: str, shape: list[int], datatype: str
) -> None:
    tensor = {"name": name, "shape": shape, "datatype": datatype, "data": value}
    post(f"/api/{model}/", {"inputs": {name: value}})
    post(f"/api/{model}/", {"items": [{name: value}]})
    post(f"/api/{model}/", {"item": value})
    post(f"/v2/models/{model}/infer", {"inputs": [tensor]})
    post(f"/v1/models/{model}:predict", {"inputs": {name: value}})
    post(f"/v1/models/{model}:predict", {"instances": [{name: value}]})
    post(f"/v1/models/{model}:predict", {"instances": value})
    post(f"/v1/models/{model}:regress", {"examples": [{name: value}]})
