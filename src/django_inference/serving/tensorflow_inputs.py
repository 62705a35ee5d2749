"""From what a TensorFlow Serving client sends to what a predictor takes."""

from __future__ import annotations

from typing import Any

import numpy as np

from django_inference.exceptions import InvalidInput
from django_inference.serving.payloads import payload_of
from django_inference.serving.tensorflow_serving import Read
from django_inference.serving.tensorflow_versions import Unsupported
from django_inference.tensors import Signature, TensorSpec
from django_inference.wire.examples import Examples, columns_of
from django_inference.wire.nesting import Array
from django_inference.wire.tensorflow_documents import PredictDocument, tensors_of
from django_inference.wire.texts import is_binary, read_text


def from_document(document: PredictDocument) -> Read:
    """How the JSON of a request to predict is read.

    Rows for a model that declares no tensors are its items, with `{"b64": …}` as bytes.
    """

    def read(signature: Signature | None) -> Any:
        if signature is None and document.by_rows and document.lists is not None:
            return _items(document.lists.read())
        tensors = tensors_of(document, signature.inputs if signature else ())
        return payload_of(tensors, signature) if isinstance(tensors, dict) else tensors

    return read


def from_examples(examples: Examples) -> Read:
    """How examples are read: each feature is an input, each example a row of it.

    A model with nothing but an input of texts, which no example has a feature for, is one that
    parses examples itself, and is given them whole.
    """

    def read(signature: Signature | None) -> Any:
        specs = signature.inputs if signature else ()
        if len(specs) == 1 and _parses_examples(specs[0], examples):
            return {specs[0].name: _whole(examples)}
        return payload_of(columns_of(examples, specs), signature)

    return read


def _parses_examples(spec: TensorSpec, examples: Examples) -> bool:
    every = (examples.context, *examples.examples)
    is_text = spec.dtype in ("str", "bytes") and len(spec.shape) == 1
    return is_text and not any(spec.name in features for features in every)


def _whole(examples: Examples) -> Array:
    try:
        # Needed here only, and not by those who serve by REST alone.
        from django_inference.wire.example_protos import serialised
    except ImportError as error:
        raise Unsupported("a model that parses examples itself needs protobuf here.") from error
    messages = serialised(examples)
    found = np.empty(len(messages), dtype=object)
    found[:] = messages
    return found


def _items(rows: list[Any]) -> list[Any]:
    try:
        return [_item(row) for row in rows]
    except RecursionError:
        raise InvalidInput("the body is nested too deeply.") from None


def _item(value: Any) -> Any:
    if isinstance(value, list):
        return [_item(each) for each in value]
    if is_binary(value):
        return read_text(value, "instances")
    if isinstance(value, dict):
        return {name: _item(each) for name, each in value.items()}
    return value
