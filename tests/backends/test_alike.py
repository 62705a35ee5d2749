"""The same values through `LocalBackend` and `HostBackend`: one answer, or one refusal."""

from __future__ import annotations

import array
import dataclasses
import datetime
import decimal
import enum
import fractions
import types
import uuid
from collections import OrderedDict, UserDict, deque, namedtuple
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import msgspec
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from django.test import override_settings
from django.utils.functional import lazystr
from django.utils.safestring import mark_safe
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from PIL import Image

from django_inference import predictors
from django_inference.exceptions import InferenceError
from tests.host.test_codec import payloads, same
from tests.hosts import PATIENCE, Host

LOCAL = "django_inference.backends.local.LocalBackend"
HOST = "django_inference.backends.host.HostBackend"
MODELS: dict[str, dict[str, Any]] = {
    "items": {"RUNTIME": "tests.backends.identity.Items"},
    "any": {"RUNTIME": "tests.backends.identity.Tensor"},
    "float32": {
        "RUNTIME": "tests.backends.identity.Tensor",
        "RUNTIME_OPTIONS": {"dtype": "float32"},
    },
    "str": {"RUNTIME": "tests.backends.identity.Tensor", "RUNTIME_OPTIONS": {"dtype": "str"}},
}


@pytest.fixture(scope="module", autouse=True)
def both() -> Iterator[None]:
    """Every model at both places."""
    host = Host()
    declared = {
        f"{place} {name}": model | {"BACKEND": backend, "OPTIONS": {"timeout": PATIENCE}}
        for name, model in MODELS.items()
        for place, backend in (("local", LOCAL), ("host", HOST))
    }
    folder = {"RUNTIME_DIR": host.settings.runtime_dir}
    with override_settings(INFERENCE=declared, INFERENCE_HOST=folder):
        yield
        predictors.reset()
        host.clean_up()


def outcome(alias: str, payload: Any) -> Any:
    try:
        return predictors[alias].predict(payload)
    except InferenceError as error:
        return {"class": type(error).__name__, "message": error.message}


def assert_alike(model: str, payload: Any) -> Any:
    """Both places answer alike; return the answer."""
    local, host = outcome(f"local {model}", payload), outcome(f"host {model}", payload)
    assert same(local, host), (local, host)
    if "class" in host:
        # A model that is given what it does not understand may fail; but never the way there.
        assert "cannot be read" not in host["message"]
    return host


class Colour(enum.Enum):
    RED = "red"


class Mixed(enum.Enum):
    ONE = (1, 2)


class Level(enum.IntEnum):
    HIGH = 3


@dataclasses.dataclass
class Point:
    x: float
    y: Any = None


class Record(msgspec.Struct):
    name: str
    row: Any = None


Pair = namedtuple("Pair", "a b")  # noqa: PYI024
RECURSIVE: list[Any] = []
RECURSIVE.append(RECURSIVE)
DEEP: Any = 1
for _ in range(5_000):
    DEEP = [DEEP]
MOMENT = datetime.datetime(2024, 2, 3, 4, 5, 6, 7)
STRUCTURED = np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f4")])

PYTHON: list[Any] = [
    *(None, True, False, 0, -1, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 10**40),
    *(1.5, float("nan"), float("inf"), -0.0, 1j, 1e400),
    *("", "text", "a\0b", "a\0", "\0", "\ud800", "\ud83d\ude00", "ä€😀", mark_safe("<b>")),
    *(b"", b"a\0", b"\0\0", bytearray(b"ab\0"), memoryview(b"abc"), memoryview(b"abcd")[::2]),
    *(array.array("d", [1.5]), memoryview(array.array("d", [1.5]))),
    *([], {}, (), [[]], [{}], [[], [1]], (1, (2, [3])), Pair(1, "b"), range(3), deque([1])),
    *({1}, {"a"}, frozenset({2}), {1: "a"}, {None: 1}, {1.5: 2}, {b"k": 1}, {(1, 2): 3}),
    *({True: 1}, {"\ud800": 1}, {Colour.RED: 1}, {Level.HIGH: 1}, {np.float64(2.0): 1}),
    *(OrderedDict(b=1, a=2), UserDict(a=1), types.MappingProxyType({"a": 1})),
    *(decimal.Decimal("1.10"), fractions.Fraction(1, 3), uuid.UUID(int=5), Path("a")),
    *(MOMENT, MOMENT.replace(tzinfo=datetime.UTC), MOMENT.date(), MOMENT.time()),
    MOMENT.replace(tzinfo=datetime.timezone(datetime.timedelta(hours=5))),
    *(datetime.timedelta(days=1, seconds=2), Colour.RED, Mixed.ONE, Level.HIGH),
    *(Point(1.5, np.arange(2)), Record("a", np.arange(2)), Point, object(), len, lazystr("a")),
    *([True, 1], [1, 1.5], [1, "a"], [1, None], ["a", None], ["a", b"a"], [2**63, -1]),
    *([2**64 - 1, 1], [1, 2**64], [None], ["a\0", "b"], [b"a\0", b"b"], [["a", "b"], ["c"]]),
    *(RECURSIVE, DEEP, [Point(1, 2)], [MOMENT], [decimal.Decimal(1)], Ellipsis, NotImplemented),
]
NUMPY: list[Any] = [
    *(np.float16(1.5), np.float32(0.1), np.float64(0.1), np.longdouble(0.1), np.int8(-3)),
    *(np.uint64(2**64 - 1), np.bool_(True), np.str_("a"), np.bytes_(b"a"), np.complex64(1j)),
    *(np.datetime64("2024-01-01"), np.datetime64(5, "ns"), np.timedelta64(3, "h")),
    *(np.datetime64("NaT"), STRUCTURED, STRUCTURED[0], STRUCTURED.view(np.recarray), np.void(b"a")),
    *(np.array(3), np.array("a"), np.array(None), np.array(object()), np.arange(6).reshape(2, 3)),
    *(np.arange(6).reshape(2, 3).T, np.asfortranarray(np.eye(2, 3)), np.arange(9)[::-2]),
    *(np.arange(3, dtype=">f4"), np.arange(3, dtype=">i8"), np.array(["ab"], dtype=">U2")),
    *(np.arange(3, dtype=np.longdouble), np.arange(2, dtype=np.complex128), np.ones(2, np.float16)),
    *(np.zeros((0, 3)), np.zeros((3, 0), np.int8), np.broadcast_to(np.float32(1), (2, 2))),
    *(np.array(["a\0", "b"]), np.array([b"a\0", b"b"]), np.ndarray(2, "U0"), np.ndarray(2, "V0")),
    *(np.array(["a", None, 1], object), np.array([[1], [1, 2], None], object)[:2]),
    *(np.array(["2024-01-01", "NaT"], "M8[ns]"), np.array([1, 2], "m8[s]"), np.zeros(1, "M8")),
    *(np.ma.array([1.0, 2.0], mask=[False, True]), np.ma.array([1.0, 2.0], mask=False)),
    np.ma.masked,
    *(np.ma.array([1, 2]), np.array([[1, 2]]).view(np.matrix)),
    np.array(["a"], np.dtypes.StringDType()),
    *(np.array([True, False]), np.zeros(1, "V4"), np.array(["\ud800"])),
    np.array(["\ud800"], "O"),
    *(np.ones(2, dtype) for name in dir(ml_dtypes) if name.startswith(("float", "bfl", "int", "ui"))
      for dtype in [getattr(ml_dtypes, name)]),
    *(ml_dtypes.bfloat16(1.5), ml_dtypes.int4(3), [ml_dtypes.bfloat16(1.5)]),
    *([np.arange(2), np.arange(3)], [np.arange(2), np.arange(2)], [np.float32(1), np.float32(2)]),
]  # fmt: skip
LIBRARIES: list[Any] = [
    *(pd.Series([1, None], dtype="Int64"), pd.Series([1, 2], dtype="Int64"), pd.NA, pd.NaT),
    *(pd.Series([1.5, None], dtype="Float64"), pd.Series([True, None], dtype="boolean")),
    *(pd.Series(["a", None], dtype="string"), pd.Series(["a", "b"], dtype="category")),
    *(pd.Series(["a", None]), pd.Series([1, 2], dtype="category"), pd.Index([1, 2])),
    *(pd.Timestamp("2024-01-01 02:03"), pd.Timestamp(5), pd.Timedelta("1h"), pd.Timedelta(5)),
    *(pd.Timestamp("2024-01-01", tz="Asia/Tokyo"), pd.Period("2024-01"), pd.Interval(1, 2)),
    *(pd.Series(pd.to_datetime(["2024-01-01", None])), pd.date_range("2024", periods=2)),
    pd.Series(pd.date_range("2024", periods=2, tz="UTC")),
    *(pd.DataFrame({"a": [1, 2], "b": [3.0, 4.0]}), pd.array([1, None], dtype="Int64")),
    *(scipy.sparse.eye(2).tocsr(), scipy.sparse.csr_array(np.eye(2))),
    *(torch.ones(2), torch.ones(2, requires_grad=True), torch.ones(2, dtype=torch.bfloat16)),
    *(torch.ones(2, dtype=torch.float8_e4m3fn), torch.ones(2, dtype=torch.complex64).conj()),
    *(torch.ones(2, 2).to_sparse(), torch.tensor(1.5), torch.ones(2, device="meta")),
    *(torch.nn.Parameter(torch.ones(2)), torch.ones(3, dtype=torch.int32)[::2], torch.float32),
    *(Image.new("RGB", (2, 3)), Image.new("L", (2, 3), 7), Image.new("F", (2, 3), 7.0)),
]
EVERY = [*PYTHON, *NUMPY, *LIBRARIES]


@pytest.mark.parametrize("model", MODELS)
def test_every_type_is_answered_or_refused_alike(model: str) -> None:
    for value in EVERY:
        if model == "items":
            assert_alike(model, [value])
            assert_alike(model, [{"deep": [value, (value,)]}])
        else:
            assert_alike(model, {"x": value})
            assert_alike(model, {"x": [value]})
            assert_alike(model, [{"x": value}])
            assert_alike(model, value)


def test_what_is_no_value_any_more_is_alike() -> None:
    for value in ((n for n in "ab"), map(int, "12"), iter([1])):
        assert assert_alike("items", [value])["class"] == "InvalidInput"


wider = st.recursive(
    payloads | st.decimals() | st.uuids() | st.datetimes() | st.timedeltas()
    | st.sets(st.integers()) | st.text(st.characters(codec=None), max_size=3)
    | st.integers() | st.complex_numbers(),
    lambda inner: st.lists(inner, max_size=3)
    | st.tuples(inner, inner)
    | st.dictionaries(st.text(max_size=3) | st.integers() | st.none() | st.binary(), inner,
                      max_size=3),
    max_leaves=6,
)  # fmt: skip


@settings(max_examples=60)
@given(value=wider)
def test_made_up_items_are_alike(value: Any) -> None:
    assert_alike("items", [value])


@settings(max_examples=60)
@given(
    value=st.lists(st.floats() | st.integers() | st.none() | st.text() | st.booleans(), min_size=1)
    | npst.arrays(npst.scalar_dtypes(), npst.array_shapes(max_dims=2)),
    model=st.sampled_from([name for name in MODELS if name != "items"]),
)
def test_made_up_tensors_are_alike(value: Any, model: str) -> None:
    assert_alike(model, {"x": value})


@pytest.mark.parametrize(
    ("value", "arrives"),
    [
        ((1, Pair(2, 3)), [1, [2, 3]]),
        (Colour.RED, "red"),
        (pd.NA, None),
        (pd.NaT, None),
        (Point(1.5), {"x": 1.5, "y": None}),
        (UserDict(a=1), {"a": 1}),
        (pd.Timestamp(MOMENT, tz="UTC"), MOMENT.replace(tzinfo=datetime.UTC)),
        ("a\0", "a\0"),
        (bytearray(b"a\0"), b"a\0"),
    ],
)  # fmt: skip
def test_what_plain_values_arrive_as(value: Any, arrives: Any) -> None:
    assert same(assert_alike("items", [value])[0][0], arrives)


@pytest.mark.parametrize(
    ("value", "arrives"),
    [
        (torch.ones(2, requires_grad=True), np.ones(2, np.float32)),
        (torch.ones(2, dtype=torch.bfloat16), np.ones(2, np.float32)),
        (np.ones(2, ml_dtypes.bfloat16), np.ones(2, np.float32)),
        (np.ones(2, ml_dtypes.float8_e5m2), np.ones(2, np.float32)),
        (np.ones(2, ml_dtypes.int4), np.ones(2, np.int8)),
        (np.ones(2, ml_dtypes.uint2), np.ones(2, np.uint8)),
        (np.datetime64(5, "ns"), np.array(5, "M8[ns]")),
        (np.ma.array([1.0, 2.0], mask=[False, False]), np.array([1.0, 2.0])),
        (Image.new("L", (2, 1), 7), np.full((1, 2, 3), 7, np.uint8)),
        (["a\0", "b"], np.array(["a\0", "b"], object)),
        ([b"a\0"], np.array([b"a\0"], object)),
        (["a", 1], np.array(["a", 1], object)),
        (np.ma.array([1.0, 2.0], mask=[False, True]), np.array([1.0, np.nan])),
    ],
)
def test_what_arrays_arrive_as(value: Any, arrives: Any) -> None:
    model = "any" if isinstance(value, list) else "items"
    answer = assert_alike(model, {"x": value} if model == "any" else [value])
    assert same(answer["x"] if model == "any" else answer[0][0], arrives)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([np.ma.array([1.0, 2.0], mask=[False, True])], "masked"),
        (scipy.sparse.eye(2).tocsr(), "toarray"),
        (STRUCTURED, "dtype"),
        (10**40, "64 bits"),
        ("\ud800", "surrogate"),
        (torch.ones(2, 2).to_sparse(), "to_dense"),
        (RECURSIVE, "contains itself"),
        (pd.Timestamp(5), "nanoseconds"),
        (Image.new("F", (2, 3)), "white"),
    ],
)
def test_what_is_refused_and_why(value: Any, said: str) -> None:
    answer = assert_alike("items", [value])
    assert answer["class"] == "InvalidInput"
    assert said in answer["message"]


def test_nothing_shares_memory_with_what_a_caller_holds() -> None:
    for model in ("any", "float32"):
        given = np.arange(4, dtype=np.float32)
        kept = predictors[f"local {model}"].predict({"x": given})["x"]
        assert given.tolist() == kept.tolist() == [0, 1, 2, 3]
        assert not np.shares_memory(given, kept)
    given = np.arange(4, dtype=np.float32)
    (kept, _), (again, _) = predictors["local items"].predict([given, given])
    assert not np.shares_memory(kept, given)
    assert not np.shares_memory(kept, again)
