"""The descriptors of both protocols, in a pool of their own.

A name can be in a pool once, and the default pool is everybody's: tritonclient, TensorFlow and
KServe put their own copies of the same names there. So ours go into another one, and each of
them can be imported in the same process, before or after.

A message of `google.protobuf` (`Any`, `Int64Value`) is in both pools, as two classes that take
nothing of each other but bytes. Fill such a field by its own fields (`spec.version.value = 3`).
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any, NamedTuple

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper
from google.protobuf.message import Message

#: What the compiler is given, and so how a descriptor names its file.
FOLDER = "django_inference/wire/protos"


def _filled() -> descriptor_pool.DescriptorPool:
    made = descriptor_pool.DescriptorPool()
    content = files(__package__).joinpath("descriptors.binpb").read_bytes()
    for file in descriptor_pb2.FileDescriptorSet.FromString(content).file:
        made.AddSerializedFile(file.SerializeToString())
    return made


POOL = _filled()


class Method(NamedTuple):
    """One method of a service, with what a client and a server need to know of it.

    Attributes:
        path: as it goes over the wire, `/package.Service/Method`.
        request: the class of what is asked.
        response: the class of what is answered.
        client_streams: any number of requests go into one call.
        server_streams: any number of responses come out of it.
    """

    path: str
    request: type[Message]
    response: type[Message]
    client_streams: bool
    server_streams: bool


def symbols(name: str) -> dict[str, Any]:
    """What a `…_pb2` module holds: the messages, enums and values of enums of one file.

    Args:
        name: of the `.proto` file.
    """
    file = POOL.FindFileByName(f"{FOLDER}/{name}")
    found: dict[str, Any] = {"DESCRIPTOR": file}
    for message in file.message_types_by_name.values():
        found[message.name] = message_factory.GetMessageClass(message)
    for enum in file.enum_types_by_name.values():
        found[enum.name] = EnumTypeWrapper(enum)
        found |= {value.name: value.number for value in enum.values}
    return found


def methods(service: str) -> dict[str, Method]:
    """The methods of a service by their names.

    Args:
        service: its full name, as in `inference.GRPCInferenceService`.

    Raises:
        KeyError: there is none of that name.
    """
    return {
        method.name: Method(
            path=f"/{service}/{method.name}",
            request=message_factory.GetMessageClass(method.input_type),
            response=message_factory.GetMessageClass(method.output_type),
            client_streams=method.client_streaming,
            server_streams=method.server_streaming,
        )
        for method in POOL.FindServiceByName(service).methods
    }
