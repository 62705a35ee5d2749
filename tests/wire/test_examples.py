"""Examples as the inputs of a model, and its outputs as classes and values."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from django_inference.exceptions import InvalidInput
from django_inference.tensors import TensorSpec
from django_inference.wire.examples import classes_of, columns_of, decode_examples, values_of

SPECS = (TensorSpec("x", "float32", (-1, 2, 2)), TensorSpec("t", "str", (-1,)))


def read(document: Any, *specs: TensorSpec) -> Any:
    return columns_of(decode_examples(json.dumps(document).encode())[1], specs)


def test_features_are_inputs() -> None:
    columns = read(
        {
            "context": {"t": "all", "unused": 1},
            "examples": [{"x": [1, 2, 3, 4.5]}, {"x": [5, 6, 7, 8], "t": {"b64": "aGk="}}],
        },
        *SPECS,
    )
    assert columns["x"].dtype == np.float32
    assert columns["x"].tolist() == [[[1, 2], [3, 4.5]], [[5, 6], [7, 8]]]
    assert columns["t"].tolist() == ["all", b"hi"]


def test_features_of_a_model_that_declares_none() -> None:
    columns = read({"examples": [{"a": 1, "b": [1.5, 2]}, {"a": [2], "b": [3, 4]}]})
    assert columns["a"].tolist() == [[1], [2]]
    assert columns["b"].tolist() == [[1.5, 2], [3, 4]]


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"examples": []}, "one example or more"),
        ({}, "examples"),
        ({"examples": [{"t": "a"}]}, "example 0 has no feature 'x'"),
        ({"examples": [{"x": [1, 2, 3], "t": "a"}]}, "3 values"),
        ({"examples": [{"x": [1] * 4, "t": "a"}, {"x": [1], "t": "a"}]}, "from 1 to 4 values"),
        ({"examples": [{"x": [[1, 2]] * 2, "t": "a"}]}, "2 values|not lists"),
        ({"examples": [{"x": ["a"] * 4, "t": "a"}]}, "not texts"),
        ({"examples": [{"x": [1] * 4, "t": 5}]}, "takes texts"),
        ({"examples": [1]}, "cannot be read"),
    ],
    ids=lambda value: "",
)
def test_features_that_do_not_fit(document: Any, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        read(document, *SPECS)


def test_classes_by_the_names_of_outputs() -> None:
    scores = np.array([[0.25, 0.75]], dtype=np.float32)
    named = {"classes": np.array([[b"cat", "dog"]], object), "scores": scores}
    assert classes_of(named) == [[("cat", 0.25), ("dog", 0.75)]]
    assert classes_of({"scores": scores, "other": scores}) == [[("0", 0.25), ("1", 0.75)]]
    assert classes_of({"probabilities": scores, "label": np.array([1])}) == [
        [("0", 0.25), ("1", 0.75)]
    ]
    assert classes_of({"classes": np.array(["cat", "dog"])}) == [[("cat", 0.0)], [("dog", 0.0)]]


@pytest.mark.parametrize(
    "outputs",
    [
        {"a": np.zeros((1, 2)), "b": np.zeros((1, 2))},
        {"a": np.zeros(1)},
        {"classes": np.zeros((1, 2)), "scores": np.zeros((1, 3))},
        {"scores": np.zeros((1, 2, 3))},
    ],
    ids=["two", "one axis", "shapes", "three axes"],
)
def test_models_that_do_not_classify(outputs: Any) -> None:
    with pytest.raises(InvalidInput, match="does not classify"):
        classes_of(outputs)


def test_values_of_a_regression() -> None:
    assert values_of({"y": np.array([[1.5], [2]])}) == [1.5, 2]
    assert values_of({"outputs": np.array([1, 2]), "y": np.zeros(2)}) == [1, 2]
    for outputs in ({"y": np.zeros((1, 2))}, {"a": np.zeros(1), "b": np.zeros(1)}, {}):
        with pytest.raises(InvalidInput, match="does not regress"):
            values_of(outputs)
