"""The tensors of an HTTP body of the Open Inference Protocol, and parameters in it.

Source: the protocol's JSON tensors, and its binary tensor data extension.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Generic, Literal, TypeAlias, TypeVar

import msgspec

from django_inference.exceptions import InvalidInput
from django_inference.wire.datatypes import Array, Buffer, datatype_of, from_bytes, to_bytes
from django_inference.wire.json_tensors import (
    BASE64,
    CONTENT_TYPE,
    from_floats,
    from_json,
    to_json,
)
from django_inference.wire.open_inference import Parameters, check_spoken

BINARY_SIZE, BINARY, ALL_BINARY = "binary_data_size", "binary_data", "binary_data_output"

#: Bytes of a shape, or of the parameters of one tensor or request, as JSON.
_MOST_OF_SMALL = 16_384


class Wanted(msgspec.Struct, frozen=True):
    """How the outputs of a response are to be written.

    Attributes:
        binary: whether as blobs, unless `by_name` says otherwise.
        by_name: whether each output that is named here is a blob.
    """

    binary: bool = False
    by_name: dict[str, bool] = {}

    def is_binary(self, name: str) -> bool:
        """Whether an output is a blob."""
        return self.by_name.get(name, self.binary)


#: Names stand in messages, which shall not become as long as a body.
Name: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]


#: What the data of tensors is decoded as: text yet to be read, or lists of floats.
Data = TypeVar("Data")


class Tensor(msgspec.Struct, Generic[Data]):
    """A tensor in JSON."""

    name: Name
    shape: msgspec.Raw
    datatype: Annotated[str, msgspec.Meta(max_length=64)]
    parameters: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    data: Data | msgspec.UnsetType = msgspec.UNSET


_shapes = msgspec.json.Decoder(list[int])
_parameters = msgspec.json.Decoder(dict[str, Any] | None)


def read_tensors(
    tensors: list[Tensor[Any]], blobs: memoryview, kind: Literal["input", "output"]
) -> tuple[dict[str, Array], dict[str, Parameters]]:
    """Read the tensors of a body.

    Args:
        tensors: from its JSON.
        blobs: what stands behind the JSON.
        kind: for errors.

    Returns:
        Arrays by name, and the parameters of the tensors that have some.

    Raises:
        InvalidInput: a tensor is wrong, is there twice, or the blobs are not theirs.
    """
    arrays: dict[str, Array] = {}
    of_tensors: dict[str, Parameters] = {}
    start = 0
    for tensor in tensors:
        name = tensor.name
        if name in arrays:
            raise InvalidInput(f"the {kind} {name!r} is there twice.")
        shape = _small(_shapes, tensor.shape, f"the shape of the tensor {name!r}")
        parameters = read_parameters(tensor.parameters, f"the tensor {name!r}")
        size = parameters.pop(BINARY_SIZE, None)
        if size is not None:
            end = start + _length(size, name, len(blobs) - start)
            if tensor.data is not msgspec.UNSET:
                raise InvalidInput(f"the tensor {name!r} has both data and {BINARY_SIZE}.")
            arrays[name] = from_bytes(tensor.datatype, shape, blobs[start:end], name)
            start = end
        elif isinstance(tensor.data, list):
            arrays[name] = from_floats(tensor.datatype, shape, tensor.data, name)
        elif isinstance(tensor.data, msgspec.Raw):
            is_base64 = parameters.get(CONTENT_TYPE) == BASE64
            data = bytes(tensor.data)
            arrays[name] = from_json(tensor.datatype, shape, data, name, is_base64=is_base64)
        else:
            raise InvalidInput(f"the tensor {name!r} has neither data nor {BINARY_SIZE}.")
        if parameters:
            of_tensors[name] = parameters
    if start != len(blobs):
        raise InvalidInput(
            f"the body has {len(blobs) - start} bytes behind the last of its tensors."
        )
    return arrays, of_tensors


def write_tensors(
    arrays: Mapping[str, Array], wanted: Wanted, parameters: Mapping[str, Parameters]
) -> tuple[list[dict[str, Any]], list[Buffer]]:
    """Write tensors.

    Args:
        arrays: by name.
        wanted: which of them become blobs.
        parameters: of tensors, to be sent along.

    Returns:
        What stands in the JSON, and the blobs behind it.

    Raises:
        ValueError: the protocol has no datatype for an array.
    """
    tensors: list[dict[str, Any]] = []
    blobs: list[Buffer] = []
    for name, array in arrays.items():
        tensor: dict[str, Any] = {
            "name": name,
            "shape": array.shape,
            "datatype": datatype_of(array.dtype),
        }
        said: dict[str, Any] = dict(parameters.get(name, ()))
        if wanted.is_binary(name):
            blob = to_bytes(array)
            said[BINARY_SIZE] = len(blob)
            blobs.append(blob)
        else:
            tensor["data"], how = to_json(array)
            said |= how
        if said:
            tensor["parameters"] = said
        tensors.append(tensor)
    return tensors, blobs


def read_parameters(raw: msgspec.Raw | msgspec.UnsetType, what: str) -> Parameters:
    """Read parameters.

    Args:
        raw: an object, null, or unset.
        what: it belongs to, for errors.

    Raises:
        InvalidInput: they are none, or ask for what is not spoken here.
    """
    if not isinstance(raw, msgspec.Raw):
        return {}
    parameters: Parameters = _small(_parameters, raw, f"the parameters of {what}") or {}
    check_spoken(parameters, what)
    return parameters


def _small(decoder: msgspec.json.Decoder[Any], raw: msgspec.Raw, what: str) -> Any:
    view = memoryview(raw)
    if len(view) > _MOST_OF_SMALL:
        raise InvalidInput(f"{what} take {len(view)} bytes, more than {_MOST_OF_SMALL}.")
    try:
        return decoder.decode(view)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise InvalidInput(f"{what} cannot be read: {error}.") from error


def flag(parameters: Parameters, name: str, what: str) -> bool:
    """A parameter that is true or false; false where it is left out.

    Raises:
        InvalidInput: it is neither.
    """
    value = parameters.get(name, False)
    if not isinstance(value, bool):
        raise InvalidInput(f"the parameter {name!r} of {what} is neither true nor false.")
    return value


def _length(size: Any, name: str, left: int) -> int:
    if type(size) is not int or size < 0:
        raise InvalidInput(f"{BINARY_SIZE} of the tensor {name!r} is a number of bytes.")
    if size > left:
        raise InvalidInput(
            f"{BINARY_SIZE} of the tensor {name!r} is {size}, and {left} bytes are left."
        )
    return size
