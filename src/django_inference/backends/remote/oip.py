"""The questions of the Open Inference Protocol."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import msgspec

from django_inference.backends.remote.failures import Failure
from django_inference.backends.remote.protocols import Described, Predicted, Protocol
from django_inference.backends.remote.questions import GrpcAsk, HttpAsk, HttpReply, Question
from django_inference.exceptions import InvalidInput
from django_inference.specs import NORMAL
from django_inference.tensors import Signature, Tensors, TensorSpec
from django_inference.wire.datatypes import BF16, BYTES, DTYPES
from django_inference.wire.open_inference import InferRequest, ModelMetadata, ServerMetadata
from django_inference.wire.open_inference_bodies import JSON_LENGTH, read_response, write_request
from django_inference.wire.open_inference_proto import request_to_proto, response_from_proto
from django_inference.wire.protos.pool import methods

#: How servers name the extension for tensors as blobs: Triton, and others after it.
BINARY_EXTENSIONS = {"binary_tensor_data", "binary_data"}

_METHODS = methods("inference.GRPCInferenceService")
_JSON = {"content-type": "application/json"}


class OpenInference(Protocol):
    """The questions about one model.

    Args:
        model: its name at the servers.
        version: that is asked for; empty leaves it to the servers.
        outputs: names of those that are wanted; empty for all.
        binary: whether tensors go as blobs over HTTP; None asks the server.
    """

    def __init__(
        self, model: str, version: str, outputs: tuple[str, ...], binary: bool | None
    ) -> None:
        self.model = model
        self.version = version
        self.outputs = outputs
        self.binary = binary
        self.path = f"/v2/models/{quote(model, safe='')}"
        self.order_path = f"/v2/repository/models/{quote(model, safe='')}"
        if version:
            self.path += f"/versions/{quote(version, safe='')}"

    def ready(self) -> Question:
        """ModelReady."""
        return _Ready(self)

    def metadata(self) -> Question:
        """ModelMetadata."""
        return _Metadata(self)

    def infer(self, inputs: Tensors, described: Described, priority: int) -> Question:
        """ModelInfer."""
        return _Infer(self, inputs, priority)

    def stream(self, inputs: Tensors, described: Described, priority: int) -> Question:
        """ModelStreamInfer."""
        return _StreamInfer(self, inputs, priority)

    def load(self) -> Question:
        """RepositoryModelLoad."""
        return _Order(self, "load")

    def unload(self) -> Question:
        """RepositoryModelUnload."""
        return _Order(self, "unload")


class _About(Question):
    """A question about one model."""

    def __init__(self, protocol: OpenInference) -> None:
        self.protocol = protocol
        self.model = protocol.model

    def asked(self, name: str, /, **fields: Any) -> GrpcAsk:
        method = _METHODS[name]
        return GrpcAsk(method.path, method.request(**fields), method.response)

    def of_model(self, name: str) -> GrpcAsk:
        return self.asked(name, name=self.model, version=self.protocol.version)


class _Ready(_About):
    def http(self, left: float, facts: dict[str, Any]) -> HttpAsk:
        return HttpAsk("GET", f"{self.protocol.path}/ready")

    def of_http(self, reply: HttpReply, facts: dict[str, Any]) -> bool:
        # Triton says it by the status alone.
        if not reply.body.strip():
            return True
        said = msgspec.json.decode(reply.body, type=dict[str, Any])
        return bool(said.get("ready", True))

    def grpc(self, left: float) -> GrpcAsk:
        return self.of_model("ModelReady")

    def of_grpc(self, message: Any) -> bool:
        return bool(message.ready)


class _Metadata(_About):
    def http(self, left: float, facts: dict[str, Any]) -> HttpAsk:
        return HttpAsk("GET", self.protocol.path)

    def of_http(self, reply: HttpReply, facts: dict[str, Any]) -> Described:
        return self._described(msgspec.json.decode(reply.body, type=ModelMetadata))

    def grpc(self, left: float) -> GrpcAsk:
        return self.of_model("ModelMetadata")

    def of_grpc(self, message: Any) -> Described:
        return self._described(message)

    def _described(self, said: Any) -> Described:
        """Of either wire: the names are the same."""
        inputs, outputs = _specs(said.inputs), _specs(said.outputs)
        signature = Signature(inputs, outputs) if inputs else None
        versions = sorted(said.versions, key=lambda version: (len(version), version))
        return Described(signature, self.protocol.version or (versions[-1] if versions else ""))


class _Server(_About):
    """Which extensions a server has."""

    def http(self, left: float, facts: dict[str, Any]) -> HttpAsk:
        return HttpAsk("GET", "/v2")

    def of_http(self, reply: HttpReply, facts: dict[str, Any]) -> None:
        said = msgspec.json.decode(reply.body, type=ServerMetadata)
        facts["binary"] = bool(BINARY_EXTENSIONS & set(said.extensions))

    def unanswered(self, facts: dict[str, Any]) -> None:
        facts["binary"] = False

    def grpc(self, left: float) -> GrpcAsk:
        return self.asked("ServerMetadata")

    def of_grpc(self, message: Any) -> None:
        return None


class _Infer(_About):
    def __init__(self, protocol: OpenInference, inputs: Tensors, priority: int) -> None:
        super().__init__(protocol)
        self._inputs = inputs
        self._priority = priority

    def first(self, facts: dict[str, Any]) -> Question | None:
        known = self.protocol.binary is not None or "binary" in facts
        return None if known else _Server(self.protocol)

    def http(self, left: float, facts: dict[str, Any]) -> HttpAsk:
        binary = self.protocol.binary
        binary = facts.get("binary", False) if binary is None else binary
        try:
            body = write_request(self._request(left), binary=binary)
        except ValueError as error:
            raise Failure(InvalidInput(f"{error}.")) from error
        headers = _JSON
        if body.json_length is not None:
            headers = {
                "content-type": "application/octet-stream",
                JSON_LENGTH: str(body.json_length),
            }
        return HttpAsk("POST", f"{self.protocol.path}/infer", tuple(body.parts), headers)

    def of_http(self, reply: HttpReply, facts: dict[str, Any]) -> Predicted:
        length = reply.headers.get(JSON_LENGTH.lower())
        said = read_response(reply.body, json_length=None if length is None else int(length))
        return Predicted.own(said.outputs, said.version)

    def grpc(self, left: float) -> GrpcAsk:
        method = _METHODS["ModelInfer"]
        try:
            message = request_to_proto(self._request(left))
        except ValueError as error:
            raise Failure(InvalidInput(f"{error}.")) from error
        return GrpcAsk(method.path, message, method.response)

    def of_grpc(self, message: Any) -> Predicted:
        said = response_from_proto(message)
        return Predicted.own(said.outputs, said.version)

    def _request(self, left: float) -> InferRequest:
        parameters: dict[str, Any] = {"timeout": max(1, int(left * 1e6))}
        if self._priority != NORMAL:
            # 1 is the highest.
            parameters["priority"] = self._priority + 1
        return InferRequest(
            model=self.model,
            version=self.protocol.version,
            parameters=parameters,
            inputs=self._inputs,
            outputs=self.protocol.outputs,
        )


class _StreamInfer(_Infer):
    def first(self, facts: dict[str, Any]) -> Question | None:
        return None

    def http(self, left: float, facts: dict[str, Any]) -> HttpAsk:
        said = "remote models stream over gRPC only: add an endpoint that begins with grpc://."
        raise Failure(InvalidInput(said), elsewhere=True)

    def grpc(self, left: float) -> GrpcAsk:
        method = _METHODS["ModelStreamInfer"]
        return super().grpc(left)._replace(method=method.path, answer=method.response, streams=True)

    def of_grpc(self, message: Any) -> Predicted:
        if message.error_message:
            raise ValueError(message.error_message)
        return super().of_grpc(message.infer_response)


class _Order(_About):
    def __init__(self, protocol: OpenInference, verb: str) -> None:
        super().__init__(protocol)
        self._verb = verb

    def http(self, left: float, facts: dict[str, Any]) -> HttpAsk:
        return HttpAsk("POST", f"{self.protocol.order_path}/{self._verb}", (b"{}",), _JSON)

    def of_http(self, reply: HttpReply, facts: dict[str, Any]) -> None:
        return None

    def grpc(self, left: float) -> GrpcAsk:
        return self.asked(f"RepositoryModel{self._verb.capitalize()}", model_name=self.model)

    def of_grpc(self, message: Any) -> None:
        return None


def _specs(tensors: Any) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(tensor.name, _dtype(tensor.datatype), tuple(map(int, tensor.shape)))
        for tensor in tensors
    )


def _dtype(datatype: str) -> str:
    if datatype == BYTES:
        return "bytes"
    if datatype == BF16:
        return "float32"
    if datatype not in DTYPES:
        raise ValueError(f"the metadata has the datatype {datatype!r}, which the protocol has not")
    return DTYPES[datatype].name
