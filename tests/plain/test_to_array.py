from __future__ import annotations

import re
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from django_inference.plain.arrays import to_array
from tests.rest.calls import count_calls


@pytest.mark.parametrize(
    ("value", "dtype", "expected"),
    [
        ([[1, 2], [3, 4]], "int64", [[1, 2], [3, 4]]),
        ([1, 2.5], "float64", [1.0, 2.5]),
        ([True, False], "bool", [True, False]),
        ([True, 2], "int64", [1, 2]),
        ([[True, 2.5]], "float64", [[1.0, 2.5]]),
        (["a", "bc"], "object", ["a", "bc"]),
        ([[b"\x00"]], "object", [[b"\x00"]]),
        ([-(2**63), 2**63 - 1], "int64", [-(2**63), 2**63 - 1]),
        ([2**70, 0.5], "float64", [2.0**70, 0.5]),
        ([], "float64", []),
        ([[], []], "float64", [[], []]),
    ],
)
def test_nested_lists_become_an_array(value: Any, dtype: str, expected: Any) -> None:
    array = to_array(value)
    assert array.dtype == dtype
    assert array.tolist() == expected
    assert array.shape == np.array(expected, dtype=dtype).shape


def test_null_among_numbers_is_nan() -> None:
    array = to_array([[1, None], [None, None]])
    assert array.dtype == np.float64
    assert np.array_equal(array, [[1, np.nan], [np.nan, np.nan]], equal_nan=True)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (5, "Expected a list"),
        ("text", "Expected a list"),
        ({"a": 1}, "Expected a list"),
        ([[1, 2], [3]], "The lists differ in length: 1 at [1], 2 at [0]."),
        ([[[1], [2]], [[3], [4, 5]]], "The lists differ in length: 2 at [1][1], 1 at [0][0]."),
        ([1, [2]], "side by side, found: lists, numbers."),
        ([[1, "a"]], "side by side, found: numbers, texts."),
        ([{"a": 1}], "side by side, found: objects."),
        ([None, "a"], "side by side, found: null, texts."),
        ([2**63], "more than 64 bits"),
        ([10**400, 0.5], "more than 64 bits"),
    ],
)
def test_what_is_no_array_is_refused_with_the_reason(value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        to_array(value)


def test_a_deep_nesting_costs_no_stack() -> None:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(ValueError, match="deeper than 32"):
        to_array(value)
    while value:  # taken apart by hand: freeing it is deep as well
        value = value.pop()


def test_one_long_text_does_not_make_room_for_a_long_text_everywhere() -> None:
    value = ["x" * 100_000, *["y"] * 10_000]  # 4 GB as an array of numpy's own text type
    tracemalloc.start()
    try:
        assert to_array(value).shape == (10_001,)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


def test_a_large_array_takes_no_step_for_each_element() -> None:
    value = np.random.default_rng(0).random((1000, 1000)).tolist()
    array, calls = count_calls(lambda: to_array(value))
    assert calls < 100
    assert np.array_equal(array, value)


@given(
    arrays.arrays(
        st.sampled_from([np.int64, np.float64, np.bool_]),
        arrays.array_shapes(max_dims=4, max_side=4),
        elements={"allow_nan": False},
    )
)
def test_what_an_array_becomes_comes_back_equal(array: Any) -> None:
    assert np.array_equal(to_array(array.tolist()), array)
