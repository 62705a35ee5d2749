from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from django_inference.engine.fitting import Fitting, as_array
from django_inference.exceptions import InvalidInput
from django_inference.tensors import Signature, TensorSpec
from django_inference.words import dtype_said


def one(dtype: str, *tail: int) -> Fitting:
    """Of a model with one input `x` of this dtype, whose rows have this shape."""
    return Fitting(Signature((TensorSpec("x", dtype, (-1, *tail)),)))


TWO = Fitting(
    Signature((TensorSpec("image", "uint8", (-1, 2, 2)), TensorSpec("size", "int64", (-1,))))
)


def refusal(fitting: Fitting, payload: Any) -> str:
    """What the model says to an input that it does not take."""
    with pytest.raises(InvalidInput) as caught:
        fitting.fit(payload)
    return str(caught.value)


def test_a_fitting_array_is_taken_as_it_is() -> None:
    x = np.ones((3, 4), np.float32)
    assert one("float32", 4).fit({"x": x})["x"] is x


def test_an_array_alone_is_the_only_input() -> None:
    assert one("float32", 4).fit(np.ones((3, 4), np.float32)).keys() == {"x"}


@pytest.mark.parametrize(
    ("dtype", "values", "fits"),
    [
        ("uint8", [0, 255], True),
        ("uint8", [0, 256], False),
        ("uint8", [-1, 0], False),
        ("int8", [-128, 127], True),
        ("int8", [-129, 0], False),
        ("int32", [2**31 - 1], True),
        ("int32", [2**31], False),
        ("uint64", [2**64 - 1], True),
        ("uint64", [-1], False),
        ("int64", [-(2**63), 2**63 - 1], True),
        ("int64", [2**63], False),
        ("uint8", [True, False], True),
        ("float32", [1, 2], True),
        ("float32", [0.1, 1e30], True),
        ("float16", [0.5], True),
        ("float64", [0.1], True),
        ("float32", [True], True),
        ("complex64", [0.5], True),
        ("bool", [True], True),
        ("bool", [1], False),
        ("int64", [1.0], False),
        ("uint8", [0.5], False),
        ("float32", [1j], False),
        ("float32", ["1.5"], False),
        ("int32", ["1"], False),
        ("float32", [None], False),
        ("int64", [2**70], False),
        ("str", ["a", "bc"], True),
        ("str", [1, 2], False),
        ("str", [1.5], False),
        ("bytes", [b"a"], True),
        ("bytes", [1.5], False),
    ],
)
def test_lists_from_json_are_cast_where_no_value_is_lost(
    dtype: str, values: list[Any], fits: bool
) -> None:
    fitting = one(dtype)
    if not fits:
        said = refusal(fitting, {"x": values})
        assert said.startswith(f"the input 'x' takes {dtype_said(dtype)}")
        return
    x = fitting.fit({"x": values})["x"]
    if dtype in ("str", "bytes"):
        assert x.tolist() == values
    else:
        assert x.dtype == np.dtype(dtype)
        assert x.tolist() == np.array(values, dtype).tolist()


@given(
    values=npst.arrays(npst.integer_dtypes(), st.integers(1, 20)),
    dtype=st.sampled_from(["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64"]),
)
def test_integers_arrive_with_their_values_or_not_at_all(values: Any, dtype: str) -> None:
    limits = np.iinfo(dtype)
    fits = all(limits.min <= value <= limits.max for value in values.tolist())
    if fits:
        assert one(dtype).fit(values)["x"].tolist() == values.tolist()
    else:
        assert dtype in refusal(one(dtype), values)


def test_the_message_says_which_values_were_out_of_range() -> None:
    said = refusal(one("uint8", 2), {"x": [[1, 2], [3, 300]]})
    assert said == (
        "the input 'x' takes whole numbers (uint8) from 0 to 255; the numbers given are from 1 to "
        "300."
    )


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        ({"y": [[0] * 4]}, ["x float32 [-1, 4]", "given: y"]),
        ({}, ["x float32 [-1, 4]", "given: nothing"]),
        ({"x": [[0] * 4], "z": 1}, ["x float32 [-1, 4]", "given: x, z"]),
        ({1: [[0] * 4]}, ["x float32 [-1, 4]", "given: 1"]),
        ({"x": np.zeros((3, 5))}, ["x float32 [-1, 4]", "[3, 5]"]),
        ({"x": np.zeros(4)}, ["x float32 [-1, 4]", "[4]"]),
        ({"x": np.zeros((2, 3, 4))}, ["x float32 [-1, 4]", "[2, 3, 4]"]),
        ({"x": 1.0}, ["x float32 [-1, 4]", "[]"]),
        ({"x": [[1, 2], [3]]}, ["'x'", "different lengths"]),
        ({"x": [["a"] * 4]}, ["'x' takes numbers (float32), not texts"]),
        ({"x": {"nested": 1}}, ["'x' takes numbers (float32), not objects"]),
        ({"x": [[1, 2, 3, None]]}, ["'x' takes numbers (float32), not null"]),
        ({"x": [[1, 2, 3, b"a"]]}, ["'x' takes numbers (float32), not bytes"]),
        ({"x": [[1, 2, 3, 2**70]]}, ["'x' takes numbers (float32), not numbers of more than 64"]),
        ({"x": []}, ["x float32 [-1, 4]", "[0]"]),
    ],
)
def test_a_refusal_names_the_input_and_what_was_expected(
    payload: dict[Any, Any], words: list[str]
) -> None:
    said = refusal(one("float32", 4), payload)
    assert all(word in said for word in words), said


def test_an_array_alone_cannot_stand_for_several_inputs() -> None:
    said = refusal(TWO, np.zeros((3, 2, 2), np.uint8))
    assert "by name" in said
    assert "image uint8 [-1, 2, 2], size int64 [-1]" in said


def test_a_model_without_a_signature_takes_any_named_arrays() -> None:
    fitting = Fitting(None)
    tensors = fitting.fit({"a": [[1, 2]], "b": ["x"]})
    assert tensors["a"].tolist() == [[1, 2]]
    assert fitting.lengths(tensors) == {1}
    assert "by name" in refusal(fitting, np.zeros(3))


def test_parameters_of_a_call_have_no_rows() -> None:
    signature = Signature(
        (
            TensorSpec("x", "float32", (-1, 4)),
            TensorSpec("scales", "float32", (3,), None),
            TensorSpec("rate", "int64", ()),
        )
    )
    fitting = Fitting(signature)
    given = {"x": np.zeros((5, 4)), "scales": [1.0, 2, 3], "rate": 16_000}
    tensors = fitting.fit(given)
    assert fitting.lengths(tensors) == {5}
    assert fitting.key(tensors) == fitting.key(fitting.fit(given | {"x": np.ones((2, 4))}))
    assert fitting.key(tensors) != fitting.key(fitting.fit(given | {"rate": 8_000}))
    assert fitting.key(tensors) != fitting.key(fitting.fit(given | {"scales": [1.0, 2, 4]}))
    assert "scales" in refusal(fitting, given | {"scales": [1.0, 2]})


def test_rows_lie_along_the_batch_axis() -> None:
    signature = Signature((TensorSpec("x", "float32", (-1, -1, 2), 1),))
    fitting = Fitting(signature)
    three, one_more = (fitting.fit(np.zeros((7, rows, 2))) for rows in (3, 1))
    assert fitting.lengths(three) == {3}
    assert fitting.key(three) == fitting.key(one_more)
    assert fitting.key(three) != fitting.key(fitting.fit(np.zeros((3, 7, 2))))
    assert fitting.fit_one({"x": np.zeros((7, 2))})["x"].shape == (7, 1, 2)


def test_an_axis_that_may_vary_takes_any_length_and_keeps_rows_apart() -> None:
    fitting = one("float32", -1, 3)
    short = fitting.fit(np.zeros((2, 5, 3), np.float32))
    long = fitting.fit(np.zeros((2, 7, 3), np.float32))
    assert fitting.key(short) != fitting.key(long)
    assert fitting.key(short) == fitting.key(fitting.fit(np.zeros((9, 5, 3))))
    assert "[2, 5, 4]" in refusal(fitting, np.zeros((2, 5, 4)))


def test_rows_of_one_shape_can_always_be_joined() -> None:
    fitting = one("float32", 4)
    assert fitting.key(fitting.fit(np.zeros((2, 4)))) == fitting.key(fitting.fit([[1, 2, 3, 4]]))


def test_without_a_signature_only_equal_dtypes_and_shapes_are_joined() -> None:
    fitting = Fitting(None)
    keys = {
        fitting.key(fitting.fit({"a": array}))
        for array in (np.zeros((2, 3)), np.zeros((9, 3)), np.zeros((2, 4)), np.zeros((2, 3), "f4"))
    }
    assert len(keys) == 3


def test_texts_of_different_lengths_are_not_joined_blindly() -> None:
    # Their dtypes differ, and concatenating would have to copy both anyway.
    fitting = one("str")
    assert fitting.key(fitting.fit(["a"])) != fitting.key(fitting.fit(["abc"]))


def test_a_numpy_array_of_floats_is_no_text() -> None:
    said = refusal(one("str"), np.array([1.5]))
    assert said == "the input 'x' takes texts, not decimal numbers."


def test_arrays_of_other_libraries_are_taken() -> None:
    class Tensor:
        def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
            return np.ones((1, 4), np.float32)

    assert one("float32", 4).fit({"x": Tensor()})["x"].tolist() == [[1, 1, 1, 1]]


def test_a_float_too_large_for_the_model_becomes_infinite_without_a_warning() -> None:
    assert one("float32").fit([1e300])["x"].tolist() == [float("inf")]


@pytest.mark.parametrize(
    "given",
    [["a\0", "b"], [b"a\0", b"\0"], ["a", 1], ["a", None], ["a", float("inf")], [["a\0"], ["b"]]],
)
def test_texts_keep_their_zeros_and_other_values_their_types(given: Any) -> None:
    assert as_array("x", given).tolist() == given


def test_empty_lists_are_told_to_be_empty_whatever_they_are_lists_of() -> None:
    specs = (TensorSpec("s", "str", (-1,)), TensorSpec("i", "int32", (-1,)))
    fitted = Fitting(Signature(specs)).fit({"s": [], "i": []})
    assert fitted["s"].dtype == object
    assert fitted["i"].dtype == np.int32
