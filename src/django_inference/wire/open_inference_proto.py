"""The messages of the Open Inference Protocol, and the structures that servers are written for.

Source: the protocol's gRPC API. The tensors of a message lie either all in its raw contents or
each in typed contents of its own; an answer takes the form of its question.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django_inference.exceptions import InvalidInput
from django_inference.wire.datatypes import Array, datatype_of, from_bytes, to_bytes
from django_inference.wire.open_inference import (
    InferRequest,
    InferResponse,
    Parameter,
    Parameters,
    check_spoken,
)
from django_inference.wire.open_inference_tensors import ALL_BINARY
from django_inference.wire.protos.open_inference_pb2 import (
    InferParameter,
    ModelInferRequest,
    ModelInferResponse,
)
from django_inference.wire.typed_contents import FIELDS, from_contents, to_contents

_LARGEST = 2**63 - 1


def request_from_proto(message: ModelInferRequest) -> tuple[InferRequest, bool]:
    """Read a request.

    Returns:
        The request, and whether its answer shall have raw contents.

    Raises:
        InvalidInput: a tensor is wrong, is there twice, or asks for what is not spoken here.
    """
    parameters = _parameters(message.parameters, "the request")
    is_raw = bool(message.raw_input_contents) or parameters.pop(ALL_BINARY, False) is True
    inputs, of_inputs = _tensors(message.inputs, message.raw_input_contents, "input")
    outputs: dict[str, None] = {}
    for output in message.outputs:
        if output.name in outputs:
            raise InvalidInput(f"the output {output.name[:200]!r} is listed twice.")
        _parameters(output.parameters, f"the output {output.name[:200]!r}")
        outputs[output.name] = None
    request = InferRequest(
        model=message.model_name,
        version=message.model_version,
        id=message.id,
        parameters=parameters,
        inputs=inputs,
        input_parameters=of_inputs,
        outputs=tuple(outputs),
    )
    return request, is_raw


def request_to_proto(request: InferRequest) -> ModelInferRequest:
    """Write a request, with raw contents.

    Raises:
        ValueError: the protocol has no datatype for an array, or no form for a parameter.
    """
    message = ModelInferRequest(
        model_name=request.model, model_version=request.version, id=request.id
    )
    _write_parameters(message.parameters, request.parameters)
    for name, array in request.inputs.items():
        tensor = message.inputs.add(name=name, datatype=datatype_of(array.dtype), shape=array.shape)
        _write_parameters(tensor.parameters, request.input_parameters.get(name, {}))
        message.raw_input_contents.append(bytes(to_bytes(array)))
    for name in request.outputs:
        message.outputs.add(name=name)
    return message


def response_from_proto(message: ModelInferResponse) -> InferResponse:
    """Read an answer.

    Raises:
        InvalidInput: a tensor is wrong, or is there twice.
    """
    outputs, _ = _tensors(message.outputs, message.raw_output_contents, "output")
    return InferResponse(
        model=message.model_name,
        version=message.model_version,
        id=message.id,
        parameters=_parameters(message.parameters, "the response"),
        outputs=outputs,
    )


def response_to_proto(response: InferResponse, *, raw: bool = True) -> ModelInferResponse:
    """Write an answer.

    Args:
        response: to be written.
        raw: with raw contents; without, they are raw all the same where an output has no typed
            form.

    Raises:
        ValueError: the protocol has no datatype for an array, or no form for a parameter.
    """
    message = ModelInferResponse(
        model_name=response.model, model_version=response.version, id=response.id
    )
    _write_parameters(message.parameters, response.parameters)
    datatypes = {name: datatype_of(array.dtype) for name, array in response.outputs.items()}
    is_raw = raw or not FIELDS.keys() >= set(datatypes.values())
    for name, array in response.outputs.items():
        tensor = message.outputs.add(name=name, datatype=datatypes[name], shape=array.shape)
        if is_raw:
            message.raw_output_contents.append(bytes(to_bytes(array)))
        else:
            tensor.contents.CopyFrom(to_contents(array))
    return message


def _tensors(
    tensors: Any, raw: Sequence[bytes], kind: str
) -> tuple[dict[str, Array], dict[str, Parameters]]:
    if raw and len(raw) != len(tensors):
        raise InvalidInput(
            f"there are {len(raw)} raw contents for {len(tensors)} {kind}s: one for each, or none."
        )
    arrays: dict[str, Array] = {}
    of_tensors: dict[str, Parameters] = {}
    for index, tensor in enumerate(tensors):
        name = tensor.name
        if not 0 < len(name) <= 1024:
            raise InvalidInput(f"the name of the {kind} {index} has 1 to 1024 characters.")
        if name in arrays:
            raise InvalidInput(f"the {kind} {name!r} is there twice.")
        if parameters := _parameters(tensor.parameters, f"the {kind} {name!r}"):
            of_tensors[name] = parameters
        if not raw:
            arrays[name] = from_contents(tensor.contents, tensor.datatype, tensor.shape, name)
        elif tensor.HasField("contents") and tensor.contents.ListFields():
            raise InvalidInput(f"the {kind} {name!r} has both typed and raw contents.")
        else:
            arrays[name] = from_bytes(tensor.datatype, tensor.shape, raw[index], name)
    return arrays, of_tensors


def _parameters(said: Mapping[str, InferParameter], what: str) -> Parameters:
    check_spoken(said, what)
    parameters: Parameters = {}
    for name, parameter in said.items():
        choice = parameter.WhichOneof("parameter_choice")
        parameters[name] = getattr(parameter, choice) if choice else None
    return parameters


def _write_parameters(message: Mapping[str, InferParameter], parameters: Parameters) -> None:
    for name, value in parameters.items():
        if value is not None:
            setattr(message[name], _choice(name, value), value)


def _choice(name: str, value: Parameter) -> str:
    match value:
        case bool():
            return "bool_param"
        case int():
            return "int64_param" if value <= _LARGEST else "uint64_param"
        case float():
            return "double_param"
        case str():
            return "string_param"
    raise ValueError(f"the parameter {name!r} is of {type(value).__name__}, not of the protocol")
