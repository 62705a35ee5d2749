from __future__ import annotations

import datetime
import decimal
import enum
import json
import math
import pathlib
import uuid
from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import pytest
from django.utils.functional import lazystr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from django_inference.plain.values import to_plain
from tests.rest.calls import count_calls

NAN, INF = math.nan, math.inf


class Colour(enum.Enum):
    RED = np.int64(1)


class Level(int):
    """A number with a name of its own."""


@dataclass
class Box:
    corner: tuple[int, int]
    score: np.float32


class Face(msgspec.Struct):
    box: Any


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (None, None),
        (True, True),
        (3, 3),
        (Level(3), 3),
        (1.5, 1.5),
        ("é", "é"),
        (lazystr("later"), "later"),
        (b"\x00\xff", {"b64": "AP8="}),
        (bytearray(b"ab"), {"b64": "YWI="}),
        (memoryview(b"abcd")[::2], {"b64": "YWM="}),
        ((1, (2, 3)), [1, [2, 3]]),
        (deque([1, 2.5]), [1, 2.5]),
        (iter([1, "a"]), [1, "a"]),
        ({3, 1, 2}, [1, 2, 3]),
        (frozenset({"b", "a"}), ["a", "b"]),
        (range(3), [0, 1, 2]),
        (OrderedDict(a=(1,)), {"a": [1]}),
        (1 + 2j, {"real": 1.0, "imag": 2.0}),
        (decimal.Decimal("1.5"), 1.5),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (pathlib.PurePosixPath("a/b"), "a/b"),
        (datetime.date(2026, 1, 2), "2026-01-02"),
        (datetime.datetime(2026, 1, 2, 3, 4, tzinfo=datetime.UTC), "2026-01-02T03:04:00Z"),
        (datetime.datetime(2026, 1, 2, 3, 4), "2026-01-02T03:04:00"),
        (datetime.time(3, 4), "03:04:00"),
        (datetime.timedelta(minutes=1.5), 90.0),
        (Colour.RED, 1),
        (Box((1, 2), np.float32(0.5)), {"corner": [1, 2], "score": 0.5}),
        (Face([np.uint8(7)]), {"box": [7]}),
    ],
)
def test_python_values(value: Any, plain: Any) -> None:
    assert to_plain(value) == plain
    assert type(to_plain(value)) is type(plain)


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (np.float32(0.5), 0.5),
        (np.float16(0.5), 0.5),
        (np.longdouble(0.5), 0.5),
        (np.float64(0.5), 0.5),
        (np.int8(-1), -1),
        (np.uint64(2**64 - 1), 2**64 - 1),
        (np.bool_(True), True),
        (np.str_("a"), "a"),
        (np.bytes_(b"a"), {"b64": "YQ=="}),
        (np.complex64(1 + 2j), {"real": 1.0, "imag": 2.0}),
        (np.datetime64("2026-01-02"), "2026-01-02"),
        (np.datetime64("2026-01-02T03:04:05.123456789"), "2026-01-02T03:04:05.123456789"),
        (np.datetime64("NaT", "s"), None),
        (np.timedelta64(1500, "ms"), 1.5),
        (np.timedelta64("NaT", "s"), None),
    ],
)
def test_numpy_scalars(value: Any, plain: Any) -> None:
    assert to_plain(value) == plain
    assert type(to_plain(value)) is type(plain)


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (np.arange(6, dtype=np.uint8).reshape(2, 3), [[0, 1, 2], [3, 4, 5]]),
        (np.array(2.5, dtype=np.float32), 2.5),
        (np.zeros((2, 0)), [[], []]),
        (np.array([1.5, 2.5], dtype=np.longdouble), [1.5, 2.5]),
        (np.array([True, False]), [True, False]),
        (np.array(["a", "é"]), ["a", "é"]),
        (np.array([b"a"]), [{"b64": "YQ=="}]),
        (np.array([b"\xff", None, 1.5, "é"], dtype=object), [{"b64": "/w=="}, None, 1.5, "é"]),
        (np.array([1 + 2j, 3]), {"real": [1.0, 3.0], "imag": [2.0, 0.0]}),
        (np.array(["2026-01-02", "NaT"], dtype="M8[D]"), ["2026-01-02", None]),
        (np.array([1, 2], dtype="m8[m]"), [60.0, 120.0]),
        (
            np.array([(1, 0.5)], dtype=[("id", "i4"), ("score", "f4")]),
            {"id": [1], "score": [0.5]},
        ),
        (np.ma.masked_array([1.0, 2.0], mask=[True, False]), [None, 2.0]),
        (np.zeros(1, dtype="V2"), [{"b64": "AAA="}]),
    ],
    ids=repr,
)
def test_numpy_arrays(value: Any, plain: Any) -> None:
    assert to_plain(value) == plain


def test_types_that_numpy_learns_from_an_extension_become_numbers() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    array = np.array([1.5, NAN], dtype=ml_dtypes.bfloat16)
    assert to_plain(array) == [1.5, None]
    assert to_plain(np.array([1.5], dtype=ml_dtypes.float8_e4m3fn)) == [1.5]


def test_whatever_has_an_array_interface_of_numpy_becomes_lists() -> None:
    class Tensor:
        def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
            return np.array([1.0, INF])

    assert to_plain({"boxes": Tensor()}) == {"boxes": [1.0, None]}


@pytest.mark.parametrize(
    "values",
    [
        [1.0, NAN, INF, -INF],
        (1, NAN, INF, -INF),
        [1.0, np.float32(NAN), decimal.Decimal("Infinity"), -INF],
        np.array([1.0, NAN, INF, -INF], dtype=np.float16),
        np.array([1.0, NAN, INF, -INF], dtype=np.longdouble),
        np.array([1.0, NAN, INF, -INF], dtype=object),
    ],
    ids=repr,
)
def test_nan_and_infinities_become_null_or_texts(values: Any) -> None:
    assert to_plain(values) == [1, None, None, None]
    assert to_plain(values, non_finite="string") == [1, "NaN", "Infinity", "-Infinity"]


def test_nan_is_found_at_any_depth() -> None:
    value = {"a": [{"b": np.float32(NAN)}], "c": complex(NAN, 1), "d": np.array([complex(1, INF)])}
    assert to_plain(value) == {
        "a": [{"b": None}],
        "c": {"real": None, "imag": 1.0},
        "d": {"real": [1.0], "imag": [None]},
    }
    assert to_plain(np.float32(INF), non_finite="string") == "Infinity"


def test_a_number_too_large_for_a_double_is_an_infinity() -> None:
    if np.finfo(np.longdouble).max <= np.finfo(np.float64).max:
        pytest.skip("longdouble is a double here")
    assert to_plain(np.array([np.finfo(np.longdouble).max])) == [None]


def test_keys_become_texts() -> None:
    value = {
        3: "int",
        np.int64(2): "numpy",
        2.5: "float",
        None: "none",
        False: "bool",
        (0, 1): "tuple",
        b"k": "bytes",
        Colour.RED: {Colour.RED: 0},
    }
    assert to_plain(value) == {
        "3": "int",
        "2": "numpy",
        "2.5": "float",
        "null": "none",
        "false": "bool",
        "(0, 1)": "tuple",
        "k": "bytes",
        "1": {"1": 0},
    }


def test_two_keys_with_the_same_text_are_refused_rather_than_lost() -> None:
    with pytest.raises(ValueError, match="both '1'"):
        to_plain({1: "a", "1": "b"})


def test_half_a_surrogate_pair_does_not_break_the_response() -> None:
    plain = to_plain({"\ud800": ["a\udfff", "😀"]})
    assert plain == {"?": ["a?", "😀"]}
    json.dumps(plain, ensure_ascii=False).encode()


def test_an_unknown_type_is_named() -> None:
    with pytest.raises(TypeError, match=r"of the type .*Unknown cannot be written"):
        to_plain({"image": [type("Unknown", (), {})()]})


def test_a_result_that_contains_itself_is_refused() -> None:
    value: list[Any] = []
    value.append({"again": value})
    with pytest.raises(ValueError, match="contains itself"):
        to_plain(value)


def test_a_large_array_takes_no_step_for_each_element() -> None:
    array = np.random.default_rng(0).random((1000, 1000), dtype=np.float32)
    lists = array.tolist()
    assert count_calls(lambda: to_plain(lists)) == (lists, pytest.approx(0, abs=20_000))
    array[0, 0] = NAN
    lists[0][0] = None
    assert count_calls(lambda: to_plain(array)) == (lists, pytest.approx(0, abs=100))


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary()
    | st.datetimes()
    | st.timedeltas()
    | st.complex_numbers()
    | arrays.arrays(
        st.sampled_from([np.float16, np.float32, np.int32, np.uint8, np.bool_, np.complex64]),
        arrays.array_shapes(min_dims=0, min_side=0, max_side=3),
    )
    | arrays.arrays(
        arrays.datetime64_dtypes() | arrays.timedelta64_dtypes(max_period="s", min_period="ns"),
        arrays.array_shapes(max_side=2),
    ),
    lambda children: (
        st.lists(children)
        | st.tuples(children, children)
        | st.dictionaries(st.text() | st.integers(), children)
        | st.frozensets(st.integers() | st.text())
    ),
    max_leaves=10,
)


@given(json_values, st.sampled_from(["null", "string"]))
def test_whatever_comes_out_is_strict_json(value: Any, non_finite: Any) -> None:
    try:
        plain = to_plain(value, non_finite=non_finite)
    except ValueError as error:
        assert "Two keys" in str(error)
        return
    text = json.dumps(plain, allow_nan=False, ensure_ascii=False)
    assert json.loads(text.encode()) == plain
