from __future__ import annotations

import pytest

from django_inference.words import nearest, suggestion

NAMES = ("onnx", "tensorflow", "TIMEOUT")


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("tensorflw", "tensorflow"),
        ("timeout", "TIMEOUT"),
        ("ONNX", "onnx"),
        ("jax", ""),
        ("", ""),
        (7, ""),
    ],
)
def test_the_nearest_name_is_found_whatever_the_case(word: object, meant: str) -> None:
    assert nearest(word, NAMES) == meant


def test_a_suggestion_goes_on_a_sentence_or_is_nothing() -> None:
    assert suggestion("tensorflw", iter(NAMES)) == " (did you mean 'tensorflow'?)"
    assert suggestion("jax", NAMES) == ""
    assert suggestion("jax", ()) == ""
