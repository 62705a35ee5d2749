"""What the OpenAPI document says of tensors, bodies, answers and errors."""

from __future__ import annotations

from typing import Any

from django_inference.specs import State
from django_inference.tensors import Signature, TensorSpec

_B64 = {
    "type": "object",
    "properties": {"b64": {"type": "string", "format": "byte"}},
    "required": ["b64"],
    "additionalProperties": False,
    "description": "Bytes in base64; for a tensor, those of a .npy file.",
}
_ANY: dict[str, Any] = {"description": "What the model's runtime takes or gives."}

ERROR = {
    "type": "object",
    "properties": {
        "detail": {"type": "string"},
        "item": {"type": "integer", "description": "Of a batch: which item it was, from 0."},
    },
    "required": ["detail"],
}
FIELD_ERRORS = {
    "type": "object",
    "description": "Messages by the name of the field; those of tensors within `inputs`.",
    "not": {"required": ["detail"]},
    "additionalProperties": {
        "oneOf": [
            {"type": "array", "items": {"type": "string"}},
            {"type": "object", "additionalProperties": {}},
        ]
    },
}
_TENSOR = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "dtype": {"type": "string"},
        "shape": {"type": "array", "items": {"type": "integer"}},
    },
}
_TENSORS = {"type": "array", "items": _TENSOR}
STATUS = {
    "type": "object",
    "properties": {
        "alias": {"type": "string"},
        "state": {"type": "string", "enum": [str(state) for state in State]},
        "signature": {
            "type": "object",
            "nullable": True,
            "properties": {"inputs": _TENSORS, "outputs": _TENSORS},
        },
    },
    "required": ["alias", "state", "signature"],
}
_ADDRESS = {"type": "string", "format": "uri"}
INDEX = {
    "type": "object",
    "properties": {
        "predictors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "alias": {"type": "string"},
                    "url": _ADDRESS,
                    "batch": _ADDRESS,
                    "stream": _ADDRESS,
                },
            },
        }
    },
    "required": ["predictors"],
}
#: One event; what a stream holds is as many as the model makes.
EVENT = {
    "type": "object",
    "properties": {
        "event": {"type": "string", "enum": ["chunk", "end", "failure"]},
        "data": {"type": "string", "description": "JSON."},
    },
    "required": ["event", "data"],
}
EVENTS = 'event: chunk\ndata: "a piece"\n\nevent: end\ndata: null\n\n'
RETRY_AFTER = {
    "Retry-After": {"description": "In whole seconds.", "schema": {"type": "integer"}},
}

INDEX_REFUSALS = {
    401: "Nobody is logged in, or the token is wrong.",
    403: "The caller may not see this.",
    404: "There is no such form of the answer.",
    406: "The answer cannot be given in a form that the client accepts.",
    413: "The body is too large.",
    429: "Too many requests of this caller.",
}
_DESCRIBE = INDEX_REFUSALS | {
    404: "There is no such predictor.",
    411: "The body comes without its length.",
    500: "The model host cannot be asked.",
    503: "The model host does not answer.",
}
_PREDICT = _DESCRIBE | {
    400: "The body is malformed, or does not fit the model.",
    415: "A body of this type is not read.",
    429: "Too many predictions wait, or too many requests or rows of this caller.",
    500: "The model failed on this input.",
    502: "The model's server did not answer as it should.",
    503: "The model is not loaded yet, or its load failed.",
    504: "There was no answer in time.",
}


def refusals(what: str) -> dict[int, str]:
    """The statuses that an endpoint may answer beside 200, and why."""
    return _DESCRIBE if what == "describe" else dict(sorted(_PREDICT.items()))


def body(mode: str, signature: Signature | None, *, plain: bool) -> dict[str, Any]:
    """The JSON that an endpoint reads.

    Args:
        mode: `predict`, `batch` or `stream`.
        signature: of the model; None where it is not known.
        plain: items are rows of the tensors.
    """
    item = _named(signature.inputs, rows=False) if plain and signature is not None else _ANY
    items = {"type": "array", "items": item}
    one = _only("item", item)
    if mode == "stream":
        return one
    every = [one, _only("items", items)]
    tensors = _ANY if signature is None else _named(signature.inputs, rows=True)
    if signature is not None or plain:
        every.insert(0, _only("inputs", tensors))
    if mode == "batch":
        every.append(items)
    return {"oneOf": every}


def answer(mode: str, signature: Signature | None) -> dict[str, Any]:
    """The JSON that an endpoint answers with."""
    outputs: dict[str, Any] = {"type": "object", "additionalProperties": {}}
    if signature is not None and signature.outputs:
        outputs["properties"] = {spec.name: _ANY for spec in signature.outputs}
    results = _only("results", {"type": "array", "items": _ANY})
    every = [_only("outputs", _ANY if signature is None else outputs), results]
    return {"oneOf": every if mode == "batch" else [*every, _only("result", _ANY)]}


def tensor(spec: TensorSpec, *, rows: bool) -> dict[str, Any]:
    """Nested lists of one tensor, or of one row of it."""
    schema = _element(spec.dtype)
    for length in reversed(spec.batch_shape[1:] if rows else spec.row_shape):
        bounds = {} if length < 0 else {"minItems": length, "maxItems": length}
        schema = {"type": "array", "items": schema, **bounds}
    if not rows:
        return schema
    if spec.shape:
        schema = {"type": "array", "items": schema, "minItems": 1}
    return {"oneOf": [schema, _B64], "description": str(spec)}


def _named(specs: tuple[TensorSpec, ...], *, rows: bool) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {spec.name: tensor(spec, rows=rows) for spec in specs},
        "required": [spec.name for spec in specs],
        "additionalProperties": False,
    }


def _element(dtype: str) -> dict[str, Any]:
    if dtype == "bool":
        return {"type": "boolean"}
    if dtype == "str":
        return {"type": "string"}
    if dtype == "bytes":
        return _B64
    if "int" not in dtype:
        return {"type": "number"}
    bits = int(dtype.rpartition("int")[2])
    if dtype.startswith("u"):
        return {"type": "integer", "minimum": 0, "maximum": 2**bits - 1}
    return {"type": "integer", "minimum": -(2 ** (bits - 1)), "maximum": 2 ** (bits - 1) - 1}


def _only(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {name: schema},
        "required": [name],
        "additionalProperties": False,
    }
