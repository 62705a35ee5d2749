"""The HTTP bodies of the Open Inference Protocol: JSON, and blobs behind it.

Source: the protocol's REST endpoints, and its binary tensor data extension. A tensor whose
parameters have `binary_data_size` has its data behind the JSON, in the order of the tensors;
the header `Inference-Header-Content-Length` says where the JSON ends.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from typing import Any, Generic

import msgspec

from django_inference.exceptions import InvalidInput
from django_inference.wire.datatypes import Buffer
from django_inference.wire.json_tensors import FLOATS
from django_inference.wire.open_inference import InferRequest, InferResponse, Parameters
from django_inference.wire.open_inference_tensors import (
    ALL_BINARY,
    BINARY,
    Data,
    Name,
    Tensor,
    Wanted,
    flag,
    read_parameters,
    read_tensors,
    write_tensors,
)

#: The header with the bytes of JSON at the beginning of a body.
JSON_LENGTH = "Inference-Header-Content-Length"


class Body(msgspec.Struct, frozen=True):
    """A body to be sent.

    Attributes:
        parts: to be sent one behind the other.
        json_length: bytes of JSON, for `JSON_LENGTH`; None where all of it is JSON.
    """

    parts: list[Buffer]
    json_length: int | None = None

    def joined(self) -> bytes:
        """The body in one piece."""
        first = self.parts[0]
        if len(self.parts) == 1 and isinstance(first, bytes):
            return first
        return b"".join(self.parts)


class _Output(msgspec.Struct):
    name: Name
    parameters: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class _Request(msgspec.Struct, Generic[Data]):
    inputs: list[Tensor[Data]]
    id: str | None = None
    parameters: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    outputs: list[_Output] | None = None


class _OfRepository(msgspec.Struct):
    ready: bool | None = None
    parameters: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class _Response(msgspec.Struct):
    outputs: list[Tensor[msgspec.Raw]]
    model_name: str | None = None
    model_version: str | None = None
    id: str | None = None
    parameters: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


#: Bytes of the shortest and the longest body that are worth, and bear, to be read as lists.
_QUICK = (1 << 10, 1 << 20)
_DEEPEST = 8
_DATA = re.compile(rb'"data"\s*:\s*((?:\[\s*)+)')

_requests = msgspec.json.Decoder(_Request[msgspec.Raw])
_responses = msgspec.json.Decoder(_Response)
_of_repository = msgspec.json.Decoder(_OfRepository)
_encode = msgspec.json.Encoder().encode


def read_request(
    body: Buffer, model: str, version: str = "", *, json_length: int | None = None
) -> tuple[InferRequest, Wanted]:
    """Read the body of a request for a prediction.

    Args:
        body: all of it.
        model: from the URL.
        version: from the URL.
        json_length: what the header says, None where there is none. With 0 the body is the
            bytes of the model's only input.

    Raises:
        InvalidInput: it is none; the message names tensor, field and what was expected.
    """
    if json_length == 0:
        return InferRequest(model=model, version=version, raw=body), Wanted(binary=True)
    said = _quickly(body) if json_length is None else None
    blobs = memoryview(b"")
    if said is None:
        said, blobs = _split(_requests, body, json_length)
    parameters = read_parameters(said.parameters, "the request")
    outputs = {output.name: output for output in said.outputs or ()}
    if len(outputs) != len(said.outputs or ()):
        raise InvalidInput(f"the output {_twice(said.outputs or ())!r} is listed twice.")
    wanted = Wanted(
        flag(parameters, ALL_BINARY, "the request"), dict(_binary_outputs(outputs.values()))
    )
    inputs, of_inputs = read_tensors(said.inputs, blobs, "input")
    request = InferRequest(
        model=model,
        version=version,
        id=said.id or "",
        parameters={key: value for key, value in parameters.items() if key != ALL_BINARY},
        inputs=inputs,
        input_parameters=of_inputs,
        outputs=tuple(outputs),
    )
    return request, wanted


def read_response(body: Buffer, *, json_length: int | None = None) -> InferResponse:
    """Read the body of an answer.

    Raises:
        InvalidInput: it is none.
    """
    said, blobs = _split(_responses, body, json_length)
    outputs, _ = read_tensors(said.outputs, blobs, "output")
    return InferResponse(
        model=said.model_name or "",
        version=said.model_version or "",
        id=said.id or "",
        parameters=read_parameters(said.parameters, "the response"),
        outputs=outputs,
    )


def json_length(said: str | None) -> int | None:
    """What the header `JSON_LENGTH` says; None where it is not there.

    Raises:
        InvalidInput: it is no number of bytes.
    """
    if said is None:
        return None
    if not (said.isascii() and said.isdigit() and len(said) < 20):
        raise InvalidInput(f"{JSON_LENGTH} is a number of bytes, not {said[:40]!r}.")
    return int(said)


def read_repository_request(body: Buffer) -> tuple[bool, Parameters]:
    """Read the body of a request to the repository, which may be empty.

    Returns:
        Whether only models that are ready are to be listed, and the parameters.

    Raises:
        InvalidInput: it is none.
    """
    if not body:
        return False, {}
    said, _ = _split(_of_repository, body, None)
    return said.ready is True, read_parameters(said.parameters, "the request")


def write_request(request: InferRequest, *, binary: bool = True) -> Body:
    """Write the body of a request, its tensors as blobs or as JSON, and ask for the same.

    Raises:
        ValueError: the protocol has no datatype for an array.
    """
    tensors, blobs = write_tensors(request.inputs, Wanted(binary), request.input_parameters)
    said: dict[str, Any] = {"inputs": tensors}
    if request.id:
        said["id"] = request.id
    if request.outputs:
        said["outputs"] = [
            {"name": name, "parameters": {BINARY: binary}} for name in request.outputs
        ]
    said["parameters"] = {**request.parameters, ALL_BINARY: binary}
    return _body(said, blobs)


def write_response(response: InferResponse, wanted: Wanted) -> Body:
    """Write the body of an answer.

    Raises:
        ValueError: the protocol has no datatype for an array.
    """
    tensors, blobs = write_tensors(response.outputs, wanted, {})
    said: dict[str, Any] = {"model_name": response.model}
    if response.version:
        said["model_version"] = response.version
    said["id"] = response.id
    if response.parameters:
        said["parameters"] = response.parameters
    said["outputs"] = tensors
    return _body(said, blobs)


def _quickly(body: Buffer) -> Any:
    """Decode a body of middling length whose tensors are all lists of floats, in one pass.

    What is long would need many times its length as lists, and is read in pieces instead.

    Returns:
        None for every other body, and for whatever is wrong.
    """
    if not _QUICK[0] <= len(body) <= _QUICK[1]:
        return None
    found = _DATA.search(body)
    if found is None or (depth := found[1].count(b"[")) > _DEEPEST:
        return None
    try:
        said = _requests_of_floats(depth).decode(body)
    except msgspec.MsgspecError:
        return None
    return said if all(tensor.datatype in FLOATS for tensor in said.inputs) else None


@cache
def _requests_of_floats(depth: int) -> msgspec.json.Decoder[Any]:
    kind: Any = float
    for _ in range(depth):
        kind = list[kind]
    return msgspec.json.Decoder(_Request[kind])


def _split(
    decoder: msgspec.json.Decoder[Any], body: Buffer, json_length: int | None
) -> tuple[Any, memoryview]:
    view = memoryview(body)
    length = len(view) if json_length is None else json_length
    if not 0 <= length <= len(view):
        raise InvalidInput(f"{JSON_LENGTH} is {length}, and the body has {len(view)} bytes.")
    try:
        return decoder.decode(view[:length]), view[length:]
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidInput(f"the body is not as the protocol has it: {error}.") from error
    except RecursionError as error:
        raise InvalidInput("the JSON of the body is nested too deeply.") from error


def _body(said: dict[str, Any], blobs: list[Buffer]) -> Body:
    encoded = _encode(said)
    return Body([encoded, *blobs], len(encoded) if blobs else None)


def _binary_outputs(outputs: Iterable[_Output]) -> Iterable[tuple[str, bool]]:
    for output in outputs:
        what = f"the output {output.name!r}"
        parameters = read_parameters(output.parameters, what)
        if BINARY in parameters:
            yield output.name, flag(parameters, BINARY, what)


def _twice(outputs: Iterable[_Output]) -> str:
    seen: set[str] = set()
    for output in outputs:
        if output.name in seen:
            return output.name
        seen.add(output.name)
    return ""
