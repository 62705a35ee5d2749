"""Say what a file of protocol buffers declares, and what those declare that it imports.

Run by other interpreters, which have protobuf and their own project and nothing of this one:
`python describe.py MODULE…` prints JSON.
"""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any

from google.protobuf import descriptor_pb2

#: Numbers of `FieldDescriptorProto.Type`.
REFERENCES = (11, 14)


def describe(file: Any) -> dict[str, Any]:
    """Every message, enum and service of a file by its full name; each field by its name."""
    proto = descriptor_pb2.FileDescriptorProto()
    file.CopyToProto(proto)
    found: dict[str, Any] = {}
    for message in proto.message_type:
        _describe_message(proto.package, message, found)
    for enum in proto.enum_type:
        _describe_enum(proto.package, enum, found)
    for service in proto.service:
        found[f"{proto.package}.{service.name}"] = {"kind": "service"} | {
            method.name: [
                *(method.input_type, method.output_type),
                *(method.client_streaming, method.server_streaming),
            ]
            for method in service.method
        }
    return found


def _describe_message(scope: str, message: Any, found: dict[str, Any]) -> None:
    full_name = f"{scope}.{message.name}"
    found[full_name] = {"kind": "message"} | {
        field.name: {
            "number": field.number,
            "type": field.type,
            "of": field.type_name if field.type in REFERENCES else "",
            "label": field.label,
            "oneof": message.oneof_decl[field.oneof_index].name
            if field.HasField("oneof_index")
            else "",
            # The compiler writes it; some build their descriptors without.
            "json": field.json_name or _camel(field.name),
        }
        for field in message.field
    }
    for nested in message.nested_type:
        _describe_message(full_name, nested, found)
    for enum in message.enum_type:
        _describe_enum(full_name, enum, found)


def _describe_enum(scope: str, enum: Any, found: dict[str, Any]) -> None:
    values = {value.name: value.number for value in enum.value}
    found[f"{scope}.{enum.name}"] = {"kind": "enum"} | values


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part[:1].upper() + part[1:] for part in rest)


def _with_imports(file: Any, seen: dict[str, Any]) -> None:
    if file.name not in seen:
        seen[file.name] = file
        for imported in file.dependencies:
            _with_imports(imported, seen)


if __name__ == "__main__":
    files: dict[str, Any] = {}
    for name in sys.argv[1:]:
        _with_imports(importlib.import_module(name).DESCRIPTOR, files)
    described: dict[str, Any] = {}
    for file in files.values():
        described |= describe(file)
    print(json.dumps(described))
