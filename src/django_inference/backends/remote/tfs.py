"""The questions of TensorFlow Serving."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import msgspec

from django_inference.backends.remote.failures import Failure
from django_inference.backends.remote.protocols import Described, Predicted, Protocol
from django_inference.backends.remote.questions import GrpcAsk, HttpAsk, HttpReply, Question
from django_inference.exceptions import InferenceError, InvalidInput, RemoteError
from django_inference.tensors import Signature, Tensors, TensorSpec
from django_inference.wire.protos.pool import methods
from django_inference.wire.protos.tensorflow_serving_pb2 import ModelVersionStatus, SignatureDefMap
from django_inference.wire.tensor_proto import dtype_of, from_proto, to_proto
from django_inference.wire.tensorflow_serving import read_response, write_request
from django_inference.wire.tensorflow_types import DATA_TYPES

_PREDICTIONS = methods("tensorflow.serving.PredictionService")
_MODELS = methods("tensorflow.serving.ModelService")
_JSON = {"content-type": "application/json"}
_DTYPES = {name: dtype for dtype, name in DATA_TYPES.items()} | {
    "DT_STRING": "bytes",
    # numpy has no such type; it is read as float32, which holds every value of it.
    "DT_BFLOAT16": "float32",
}


class TensorFlowServing(Protocol):
    """The questions about one signature of one model.

    Args:
        model: its name at the servers.
        version: a number; empty leaves it to the servers.
        label: of a version; empty for none.
        signature_name: of the model's signature.
        outputs: names of those that are wanted; empty for all.
    """

    def __init__(
        self, model: str, version: str, label: str, signature_name: str, outputs: tuple[str, ...]
    ) -> None:
        self.model = model
        self.version = version
        self.label = label
        self.signature_name = signature_name
        self.outputs = outputs
        self.path = f"/v1/models/{quote(model, safe='')}"
        if version:
            self.path += f"/versions/{quote(version, safe='')}"
        elif label:
            self.path += f"/labels/{quote(label, safe='')}"

    def ready(self) -> Question:
        """GetModelStatus."""
        return _Ready(self)

    def metadata(self) -> Question:
        """GetModelMetadata."""
        return _Metadata(self)

    def infer(self, inputs: Tensors, described: Described, priority: int) -> Question:
        """Predict."""
        return _Predict(self, inputs, described)

    def choose(self, spec: Any) -> None:
        """Fill a ModelSpec."""
        spec.name = self.model
        if self.version:
            spec.version.value = int(self.version)
        elif self.label:
            spec.version_label = self.label


class _About(Question):
    """A question about one model."""

    def __init__(self, protocol: TensorFlowServing) -> None:
        self.protocol = protocol
        self.model = protocol.model


class _VersionStatus(msgspec.Struct):
    state: str = ""


class _ModelStatus(msgspec.Struct):
    model_version_status: list[_VersionStatus] = []


class _Ready(_About):
    def http(self, left: float, facts: dict[str, Any]) -> HttpAsk:
        return HttpAsk("GET", self.protocol.path)

    def of_http(self, reply: HttpReply, facts: dict[str, Any]) -> bool:
        said = msgspec.json.decode(reply.body, type=_ModelStatus)
        return any(version.state == "AVAILABLE" for version in said.model_version_status)

    def grpc(self, left: float) -> GrpcAsk:
        method = _MODELS["GetModelStatus"]
        message: Any = method.request()
        self.protocol.choose(message.model_spec)
        return GrpcAsk(method.path, message, method.response)

    def of_grpc(self, message: Any) -> bool:
        available = ModelVersionStatus.AVAILABLE
        return any(version.state == available for version in message.model_version_status)


class _Dim(msgspec.Struct, frozen=True):
    size: int | str = -1


class _Shape(msgspec.Struct, frozen=True):
    dim: list[_Dim] = []
    unknown_rank: bool = False


class _TensorInfo(msgspec.Struct):
    dtype: str
    tensor_shape: _Shape = _Shape()


class _SignatureDef(msgspec.Struct):
    inputs: dict[str, _TensorInfo] = {}
    outputs: dict[str, _TensorInfo] = {}


class _SignatureDefMap(msgspec.Struct):
    signature_def: dict[str, _SignatureDef]


class _Fields(msgspec.Struct):
    signature_def: _SignatureDefMap


class _Spec(msgspec.Struct, frozen=True):
    version: str | int = ""


class _ModelMetadata(msgspec.Struct):
    metadata: _Fields
    model_spec: _Spec = _Spec()


class _Metadata(_About):
    def http(self, left: float, facts: dict[str, Any]) -> HttpAsk:
        return HttpAsk("GET", f"{self.protocol.path}/metadata")

    def of_http(self, reply: HttpReply, facts: dict[str, Any]) -> Described:
        said = msgspec.json.decode(reply.body, type=_ModelMetadata)
        found = self._chosen(said.metadata.signature_def.signature_def)
        return _described(found, str(said.model_spec.version), lambda info: _DTYPES[info.dtype])

    def grpc(self, left: float) -> GrpcAsk:
        method = _PREDICTIONS["GetModelMetadata"]
        message: Any = method.request(metadata_field=["signature_def"])
        self.protocol.choose(message.model_spec)
        return GrpcAsk(method.path, message, method.response)

    def of_grpc(self, message: Any) -> Described:
        said: Any = SignatureDefMap.FromString(message.metadata["signature_def"].value)
        version = str(message.model_spec.version.value or "")
        return _described(self._chosen(said.signature_def), version, _dtype_of)

    def _chosen(self, signatures: Any) -> Any:
        name = self.protocol.signature_name
        if name not in signatures:
            there = ", ".join(sorted(signatures)) or "none"
            raise Failure(
                RemoteError(f"the model {self.model!r} has no signature {name!r}; it has {there}.")
            )
        return signatures[name]


class _Predict(_About):
    def __init__(self, protocol: TensorFlowServing, inputs: Tensors, described: Described) -> None:
        super().__init__(protocol)
        self._inputs = inputs
        self._outputs = described.signature.outputs if described.signature is not None else ()

    def http(self, left: float, facts: dict[str, Any]) -> HttpAsk:
        try:
            body = write_request(self._inputs, signature_name=self.protocol.signature_name)
        except InferenceError as error:
            raise Failure(InvalidInput(error.message)) from error
        return HttpAsk("POST", f"{self.protocol.path}:predict", (body,), _JSON)

    def of_http(self, reply: HttpReply, facts: dict[str, Any]) -> Predicted:
        outputs = read_response(reply.body, self._outputs)
        if wanted := self.protocol.outputs:
            # There is no word for this in the protocol's JSON.
            if missing := set(wanted) - outputs.keys():
                raise ValueError(f"it has not the outputs {', '.join(sorted(missing))}")
            outputs = {name: outputs[name] for name in wanted}
        return Predicted.own(outputs, "")

    def grpc(self, left: float) -> GrpcAsk:
        method = _PREDICTIONS["Predict"]
        message: Any = method.request(output_filter=self.protocol.outputs)
        self.protocol.choose(message.model_spec)
        message.model_spec.signature_name = self.protocol.signature_name
        try:
            for name, array in self._inputs.items():
                message.inputs[name].CopyFrom(to_proto(array, name))
        except InferenceError as error:
            raise Failure(InvalidInput(error.message)) from error
        return GrpcAsk(method.path, message, method.response)

    def of_grpc(self, message: Any) -> Predicted:
        outputs = {name: from_proto(proto, name) for name, proto in message.outputs.items()}
        return Predicted.own(outputs, str(message.model_spec.version.value or ""))


def _dtype_of(info: Any) -> str:
    dtype = dtype_of(info.dtype)
    if not dtype:
        raise ValueError(f"the metadata has the type {info.dtype}, which is not known")
    return "bytes" if dtype == "str" else dtype


def _described(found: Any, version: str, dtype_of_info: Any) -> Described:
    """Of either wire: the names are the same."""

    def specs(infos: Any) -> tuple[TensorSpec, ...]:
        return tuple(
            TensorSpec(
                name,
                dtype_of_info(infos[name]),
                tuple(int(dim.size) for dim in infos[name].tensor_shape.dim),
            )
            for name in sorted(infos)
        )

    if any(info.tensor_shape.unknown_rank for info in found.inputs.values()):
        # Nothing can be held against a shape that has not even a number of axes.
        return Described(None, version)
    return Described(Signature(specs(found.inputs), specs(found.outputs)), version)
