"""Examples, which are features by name, as the tensors of a model; and answers in classes.

TensorFlow Serving's Classify and Regress take examples. Here each feature is the model's input
of the same name, an example a row of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, TypeAlias

import msgspec
import numpy as np

from django_inference.exceptions import InvalidInput
from django_inference.tensors import TensorSpec
from django_inference.wire.bodies import load
from django_inference.wire.nesting import Array, dtype_named, guessed, numbers
from django_inference.wire.texts import read_text, read_texts

#: What a feature may be; and the features of one example by name.
Values: TypeAlias = list[Any]
Features: TypeAlias = dict[str, Values]

#: The scores of one example, with what each is of.
Classes: TypeAlias = list[tuple[str, float]]

_CLASSES, _SCORES, _REGRESSED = "classes", "scores", "outputs"


class Examples(msgspec.Struct):
    """What Classify and Regress are asked with.

    Attributes:
        examples: the features of each; one or more.
        context: features of every example that has none of that name.
    """

    examples: list[Features]
    context: Features = {}


class _Document(msgspec.Struct, kw_only=True):
    signature_name: str = ""
    context: dict[str, Any] = {}
    examples: list[dict[str, Any]]


def decode_examples(body: bytes | memoryview) -> tuple[str, Examples]:
    """Read the JSON of a request to classify or to regress.

    Returns:
        The name of the signature, empty for the default one; and the examples.

    Raises:
        InvalidInput: it is not JSON, or has no `examples`.
    """
    document: _Document = load(body, _Document)
    if not document.examples:
        raise InvalidInput("'examples' has to be a list of one example or more.")
    examples = [_features(example) for example in document.examples]
    return document.signature_name, Examples(examples, _features(document.context))


def columns_of(asked: Examples, specs: Sequence[TensorSpec] = ()) -> dict[str, Array]:
    """The inputs of a model: a row for each example.

    Args:
        asked: features that the model has no input for are passed over.
        specs: of the model's inputs; without them every feature becomes an input with as many
            columns as it has values.

    Raises:
        InvalidInput: a feature is missing, or its values do not fit.
    """
    if not asked.examples:
        raise InvalidInput("there are no examples.")
    if specs:
        return {spec.name: _column(asked, spec.name, spec) for spec in specs}
    names = {**asked.context, **asked.examples[0]}
    return {name: _column(asked, name, None) for name in names}


def classes_of(outputs: Mapping[str, Array]) -> list[Classes]:
    """What a model that classifies has answered, best known by its outputs' names.

    Outputs named `classes` and `scores` are both taken as they are, one alone likewise.
    Otherwise there has to be one output of floats with two axes: the scores, whose classes go
    by their numbers.

    Raises:
        InvalidInput: the outputs are others; the model does not classify.
    """
    classes, scores = outputs.get(_CLASSES), outputs.get(_SCORES)
    if classes is None and scores is None:
        found = [value for value in outputs.values() if value.dtype.kind == "f" and value.ndim == 2]
        if len(found) != 1:
            raise _not_fit("classify", "'classes' and 'scores', or one of floats, a column a class")
        scores = found[0]
    rows = [_matrix(each) for each in (classes, scores) if each is not None]
    if any(each.shape != rows[0].shape for each in rows):
        raise _not_fit("classify", "'classes' and 'scores' of one shape")
    labels = _labels(rows[0].shape if classes is None else rows[0])
    values = np.zeros(rows[0].shape) if scores is None else rows[-1].astype(np.float64)
    return [
        list(zip(row, numbers, strict=True))
        for row, numbers in zip(labels, values.tolist(), strict=True)
    ]


def values_of(outputs: Mapping[str, Array]) -> list[float]:
    """What a model that regresses has answered: `outputs`, or its only output of floats.

    Raises:
        InvalidInput: there is none with one number for each example.
    """
    value = outputs.get(_REGRESSED)
    if value is None:
        found = [each for each in outputs.values() if each.dtype.kind == "f"]
        value = found[0] if len(found) == 1 else None
    if value is None or value.ndim == 0 or value.dtype.kind not in "fiu":
        raise _not_fit("regress", "'outputs', or one of floats")
    if math.prod(value.shape[1:]) != 1:
        raise _not_fit("regress", "one number for each example")
    numbers: list[float] = value.reshape(-1).astype(np.float64).tolist()
    return numbers


def _features(said: Mapping[str, Any]) -> Features:
    return {
        name: [_value(each, name) for each in (value if isinstance(value, list) else [value])]
        for name, value in said.items()
    }


def _value(value: Any, name: str) -> Any:
    return read_text(value, name) if isinstance(value, str | dict) else value


def _column(asked: Examples, name: str, spec: TensorSpec | None) -> Array:
    shared = asked.context.get(name)
    rows = [example.get(name, shared) for example in asked.examples]
    for index, row in enumerate(rows):
        if row is None:
            raise InvalidInput(f"the example {index} has no feature {name!r}, which is an input.")
    lengths = {len(row) for row in rows if row is not None}
    if len(lengths) > 1:
        raise InvalidInput(
            f"the feature {name!r} has from {min(lengths)} to {max(lengths)} values; every "
            "example has to have as many."
        )
    flat = list(chain.from_iterable(row for row in rows if row is not None))
    return _typed(flat, name, spec).reshape(_shape(len(rows), lengths.pop(), name, spec))


def _typed(flat: Values, name: str, spec: TensorSpec | None) -> Array:
    dtype = dtype_named(spec.dtype) if spec else None
    if dtype is not None:
        return numbers(flat, dtype, name)
    if (spec is not None and spec.dtype in ("str", "bytes")) or {str, bytes} & set(map(type, flat)):
        return _texts(flat, name, spec.dtype if spec else "str")
    return guessed(flat, name)


def _texts(flat: Values, name: str, dtype: str) -> Array:
    if not set(map(type, flat)) <= {str, bytes}:
        return read_texts(flat, name, dtype)  # which says what else is there
    texts = np.empty(len(flat), dtype=object)
    texts[:] = flat
    return texts


def _shape(rows: int, values: int, name: str, spec: TensorSpec | None) -> tuple[int, ...]:
    if spec is None:
        return (rows, values)
    tail = spec.shape[1:]
    known = math.prod(axis for axis in tail if axis >= 0)
    unknown = tail.count(-1)
    if (unknown == 0 and values == known) or (unknown == 1 and known and values % known == 0):
        return (rows, *(values // known if axis < 0 else axis for axis in tail))
    raise InvalidInput(f"the feature {name!r} has {values} values; the input is {spec}.")


def _matrix(value: Array) -> Array:
    if value.ndim not in (1, 2):
        raise _not_fit("classify", "'classes' and 'scores' of one or two axes")
    return value if value.ndim == 2 else value[:, np.newaxis]


def _labels(classes: Array | tuple[int, ...]) -> list[list[str]]:
    if isinstance(classes, tuple):
        rows, columns = classes
        return [[str(column) for column in range(columns)]] * rows
    return [
        [each.decode("utf-8", "replace") if isinstance(each, bytes) else str(each) for each in row]
        for row in classes.tolist()
    ]


def _not_fit(verb: str, expected: str) -> InvalidInput:
    return InvalidInput(f"the model does not {verb}: expected the outputs {expected}.")
