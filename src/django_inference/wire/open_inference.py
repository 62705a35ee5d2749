"""What the Open Inference Protocol (version 2) says, whichever transport carries it.

`InferRequest` and `InferResponse` hold numpy arrays and are what servers and clients are
written against; the bodies that carry them over HTTP are in `open_inference_bodies`. The
other structs are bodies themselves: `msgspec.json` writes them as the protocol has them.
"""

from __future__ import annotations

from collections.abc import Container
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from django_inference.exceptions import InvalidInput

if TYPE_CHECKING:
    # Nothing here needs numpy, and a web worker that has not predicted yet is spared it.
    from django_inference.wire.datatypes import Array, Buffer

#: What a parameter may be.
Parameter: TypeAlias = str | int | float | bool | None
Parameters: TypeAlias = dict[str, Parameter]

# Named by other servers and clients, and not spoken here: better an error than another answer.
_UNSPOKEN = ("shared_memory_region", "classification")


class InferRequest(msgspec.Struct, kw_only=True):
    """One request for a prediction.

    Attributes:
        model: the alias of the predictor.
        version: that is asked for; empty for the one that serves.
        id: chosen by the client; the response repeats it.
        parameters: of the request, such as `priority` and `timeout`.
        inputs: arrays by name. The elements of BYTES are `bytes` objects.
        input_parameters: of the inputs that have some.
        outputs: names of those that are wanted; empty for all.
        raw: instead of `inputs`, the bytes of the model's only input.
    """

    model: str
    version: str = ""
    id: str = ""
    parameters: Parameters = {}
    inputs: dict[str, Array] = {}
    input_parameters: dict[str, Parameters] = {}
    outputs: tuple[str, ...] = ()
    raw: Buffer | None = None


class InferResponse(msgspec.Struct, kw_only=True):
    """The answer to a request.

    Attributes:
        model: the alias of the predictor.
        version: that answered; empty where it is not known.
        id: of the request.
        parameters: of the response.
        outputs: arrays by name.
    """

    model: str
    version: str = ""
    id: str = ""
    parameters: Parameters = {}
    outputs: dict[str, Array] = {}


class TensorMetadata(msgspec.Struct, kw_only=True):
    """One input or output of a model; -1 in its shape is any length."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(msgspec.Struct, kw_only=True):
    """What a model takes and gives."""

    name: str
    versions: list[str] = []
    platform: str = ""
    inputs: list[TensorMetadata] = []
    outputs: list[TensorMetadata] = []


class ServerMetadata(msgspec.Struct, kw_only=True):
    """What a server is, and which extensions of the protocol it knows."""

    name: str
    version: str
    extensions: list[str] = []


class ModelIndex(msgspec.Struct, kw_only=True):
    """One model of the repository.

    Attributes:
        name: the alias.
        version: that serves; empty where none does.
        state: `READY`, `LOADING`, `UNLOADING` or `UNAVAILABLE`.
        reason: why it is not ready, or an empty string.
    """

    name: str
    version: str = ""
    state: str = ""
    reason: str = ""


def check_spoken(parameters: Container[str], what: str) -> None:
    """Refuse parameters that would change what an answer means, and that nobody here reads.

    Args:
        parameters: by name.
        what: they belong to, for the message.

    Raises:
        InvalidInput: one of them is not supported.
    """
    for name in _UNSPOKEN:
        if name in parameters:
            raise InvalidInput(f"the parameter {name!r} of {what} is not supported here.")
