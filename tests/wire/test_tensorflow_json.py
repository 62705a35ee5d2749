"""TensorFlow Serving's JSON and numpy arrays."""

from __future__ import annotations

import json
import math
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from django_inference.exceptions import InvalidInput, PredictionFailed
from django_inference.tensors import TensorSpec
from django_inference.wire.json_shapes import shape_of
from django_inference.wire.tensorflow_documents import decode_predict, tensors_of
from django_inference.wire.tensorflow_serving import (
    read_response,
    write_request,
    write_response,
)

#: Which way is the same for all the examples.
both_ways = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])

X = TensorSpec("x", "float32", (-1, 2))
TEXT = TensorSpec("text", "str", (-1,))


@pytest.fixture(params=[0, 1 << 30], ids=["piece by piece", "as lists"], autouse=True)
def long(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever its length, a body is read in both ways."""
    for module in ("tensorflow_documents", "tensorflow_serving"):
        monkeypatch.setattr(f"django_inference.wire.{module}.LONG", request.param)


def read(body: Any, *specs: TensorSpec) -> Any:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return tensors_of(decode_predict(raw), specs)


def test_rows_and_columns_of_one_unnamed_input() -> None:
    for body in ({"instances": [[1, 2.5], [3, 4]]}, {"inputs": [[1, 2.5], [3, 4]]}):
        tensors = read(body, X)
        assert list(tensors) == ["x"]
        assert tensors["x"].dtype == np.float32
        assert tensors["x"].tolist() == [[1.0, 2.5], [3.0, 4.0]]


def test_rows_and_columns_of_named_inputs() -> None:
    specs = (TensorSpec("n", "uint8", (-1,)), TEXT)
    rows = {"instances": [{"n": 1, "text": "a"}, {"n": 255, "text": {"b64": "/w=="}}]}
    columns = {"inputs": {"n": [1, 255], "text": ["a", {"b64": "/w=="}]}}
    for body in (rows, columns):
        tensors = read(body, *specs)
        assert tensors["n"].dtype == np.uint8
        assert tensors["n"].tolist() == [1, 255]
        assert tensors["text"].tolist() == ["a", b"\xff"]


def test_a_row_that_is_binary_is_no_object_of_names() -> None:
    assert read({"instances": [{"b64": "aGk="}]}, TEXT)["text"].tolist() == [b"hi"]
    assert read({"inputs": {"b64": "aGk="}}).tolist() == b"hi"


def test_bytes_are_made_of_texts_where_the_model_takes_bytes() -> None:
    spec = TensorSpec("raw", "bytes", (-1,))
    assert read({"instances": ["é"]}, spec)["raw"].tolist() == ["é".encode()]


def test_bare_words_are_read_and_written() -> None:
    tensors = read(b'{"instances": [[NaN, -Infinity], [Infinity, 1]]}', X)
    assert math.isnan(tensors["x"][0, 0])
    assert tensors["x"].ravel()[1:].tolist() == [-math.inf, math.inf, 1.0]
    written = write_response(tensors, by_rows=True)
    assert written == b'{"predictions":[[NaN,-Infinity],[Infinity,1.0]]}'


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("[1]", (1,)),
        ("[ 1, -2.5e3 ,3 ]", (3,)),
        ("[[1, 2], [3, 4], [5, 6]]", (3, 2)),
        ("[[[1]],[[2]]]", (2, 1, 1)),
        ("[[[1,2,3],[4,5,6]]]", (1, 2, 3)),
        ("[]", None),
        ("[[ ], [ ]]", None),
        ("1", None),
        ('["1"]', None),
        ('[{"b64": ""}]', None),
        ("[true]", None),
        ("[null]", None),
        ("[[1, 2, 3], [4]]", None),
    ],
)
def test_shapes_are_told_without_reading(text: str, shape: Any) -> None:
    assert shape_of(text.encode()) == shape


@both_ways
@given(arrays.arrays(np.int8, arrays.array_shapes(min_dims=1, max_dims=5, max_side=5)))
def test_every_regular_shape_is_told(value: Any) -> None:
    assert shape_of(json.dumps(value.tolist(), indent=0).encode()) == value.shape


@both_ways
@given(
    st.recursive(st.just(1), lambda inner: st.lists(inner, max_size=3), max_leaves=8).filter(
        lambda value: isinstance(value, list)
    )
)
def test_irregular_lists_are_told_apart_by_both_ways(value: Any) -> None:
    spec = TensorSpec("x", "int64", (-1,))
    try:
        expected = np.array(value, dtype=np.int64)
    except (ValueError, TypeError):
        with pytest.raises(InvalidInput):
            read({"inputs": value}, spec)
    else:
        np.testing.assert_array_equal(read({"inputs": value}, spec)["x"], expected, strict=True)


def test_types_without_a_signature() -> None:
    assert read({"inputs": {"a": [1, 2]}})["a"].dtype == np.int64
    assert read({"inputs": {"a": [1, 2.5]}})["a"].dtype == np.float64
    assert read({"inputs": {"a": [True, False]}})["a"].dtype == np.bool_
    assert read({"inputs": {"a": [2**63]}})["a"].dtype == np.uint64
    assert read({"inputs": {"a": ["t"]}})["a"].tolist() == ["t"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "exactly one of"),
        ({"instances": [1], "inputs": [1]}, "exactly one of"),
        ({"instances": []}, "a list of one or more"),
        ({"instances": {"x": 1}}, "a list of one or more"),
        ({"instances": [[1, 2], [3]]}, "ragged"),
        ({"instances": [[1, 2], 3]}, "side by side"),
        ({"instances": [["1", "2"]]}, "takes numbers .float32., not texts"),
        ({"instances": [[None, 2]]}, "not null"),
        ({"instances": [{"x": 1}, {"y": 1}]}, "row 1 has not the same names"),
        ({"instances": [{"x": 1}, 5]}, "row 1 has not the same names"),
        ([1], "cannot be read"),
        (b"{", "cannot be read"),
        (b"\xff\xfe", "cannot be read"),
        (b'{"instances": [NaN', "cannot be read"),
        (b'{"instances": ["\\ud800"]}', "cannot be read"),
        (b'{"instances": ' + b"[" * 100_000, "nested too deeply"),
        (b'{"instances": [NaN, ' + b"[" * 100_000, "cannot be read|nested too deeply"),
        (b'{"instances": ' + b"[" * 40 + b"1" + b"]" * 40 + b"}", "deeper than 32"),
        (b'{"instances": [[1e400, 1]]}', "cannot be read"),
    ],
    ids=lambda value: "",
)
def test_what_cannot_be_read(body: Any, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        read(body, X)


@pytest.mark.parametrize(
    ("dtype", "value", "said"),
    [
        ("uint8", 256, "out of the range of uint8"),
        ("uint64", -1, "out of the range of uint64"),
        ("int64", 2**64, "out of the range of int64"),
        ("int32", 1.5, "whole numbers .int32., not decimal numbers"),
        ("bool", 1, "takes booleans, not whole numbers"),
        ("str", 1, "takes texts"),
        ("str", {"b64": "%"}, "not base64"),
        ("str", {"b64": 1}, "takes texts"),
        ("complex64", 1, "which JSON has no form for"),
    ],
)
def test_values_that_the_model_does_not_take(dtype: str, value: Any, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        read({"instances": [value]}, TensorSpec("x", dtype, (-1,)))


def test_a_crowd_of_lists_takes_no_memory() -> None:
    raw = b'{"instances": [' + b"[]," * (1 << 23) + b"[]]}"
    tracemalloc.start()
    try:
        with pytest.raises(InvalidInput, match="lists"):
            read(raw, X)
        # As Python's lists it would be half a gigabyte.
        assert tracemalloc.get_traced_memory()[1] < 3 * len(raw)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("long", [0], indirect=True)
def test_many_lists_of_numbers_are_no_crowd() -> None:
    raw = b'{"instances": [' + b"[1,2]," * (1 << 22) + b"[1,2]]}"
    assert read(raw, TensorSpec("x", "int8", (-1, 2)))["x"].shape == ((1 << 22) + 1, 2)


@pytest.mark.parametrize(
    "said", ["/9j/", "/9\\nj\\r\\n/", " /9j/ ", "/9j/4A", "/9j/4A==", "/9j/4\\nA"]
)
def test_base64_is_taken_as_tensorflow_serving_takes_it(said: str) -> None:
    raw = f'{{"instances": [{{"b64": "{said}"}}]}}'.encode()
    (found,) = read(raw, TensorSpec("x", "bytes", (-1,)))["x"]
    assert found in (b"\xff\xd8\xff", b"\xff\xd8\xff\xe0")


@pytest.mark.parametrize("said", ["a", "aGk=a", "a===", "aGk", "é", "-_-_"])
def test_what_is_no_base64(said: str) -> None:
    raw = f'{{"instances": [{{"b64": "{said}"}}]}}'.encode()
    if said == "aGk":
        assert read(raw, TensorSpec("x", "bytes", (-1,)))["x"].tolist() == [b"hi"]
        return
    with pytest.raises(InvalidInput, match="not base64"):
        read(raw, TensorSpec("x", "bytes", (-1,)))


def test_an_unnamed_input_of_a_model_with_two() -> None:
    with pytest.raises(InvalidInput, match=r"by name: x float32 \[-1, 2\], text str \[-1\]"):
        read({"instances": [1]}, X, TEXT)


def test_several_outputs_by_rows_and_by_columns() -> None:
    outputs = {"p": np.array([[1, 2], [3, 4]]), "n": np.array([5, 6])}
    assert json.loads(write_response(outputs, by_rows=True)) == {
        "predictions": [{"p": [1, 2], "n": 5}, {"p": [3, 4], "n": 6}]
    }
    assert json.loads(write_response(outputs, by_rows=False)) == {
        "outputs": {"p": [[1, 2], [3, 4]], "n": [5, 6]}
    }


def test_texts_and_bytes_of_outputs() -> None:
    value = np.array([b"hi", "é"], dtype=object)
    assert json.loads(write_response({"label": value}, by_rows=True)) == {
        "predictions": ["hi", "é"]
    }
    assert json.loads(write_response({"image_bytes": value}, by_rows=True)) == {
        "predictions": [{"b64": "aGk="}, {"b64": "w6k="}]
    }
    assert json.loads(write_response({"label": np.array([b"\xff"], object)}, by_rows=True)) == {
        "predictions": [{"b64": "/w=="}]
    }


def test_outputs_without_rows_have_no_rows() -> None:
    for outputs in ({"a": np.array(1)}, {"a": np.zeros(1), "b": np.zeros(2)}):
        with pytest.raises(InvalidInput, match="by rows .*ask with 'inputs'"):
            write_response(outputs, by_rows=True)
        assert write_response(outputs, by_rows=False)
    with pytest.raises(PredictionFailed, match="complex64"):
        write_response({"a": np.zeros(1, np.complex64)}, by_rows=False)


DTYPES = ["float16", "float32", "float64", "int8", "int64", "uint8", "uint64", "bool"]


@both_ways
@given(data=st.data(), dtype=st.sampled_from(DTYPES), by_rows=st.booleans())
def test_what_one_side_writes_the_other_reads(data: Any, dtype: str, by_rows: bool) -> None:
    shape = data.draw(arrays.array_shapes(min_dims=1, max_dims=4, max_side=4))
    value = data.draw(arrays.arrays(np.dtype(dtype), shape))
    spec = TensorSpec("x", dtype, tuple(-1 for _ in shape))
    asked = write_request({"x": value}, signature_name="s", by_rows=by_rows)
    np.testing.assert_array_equal(read(asked, spec)["x"], value, strict=True)
    answered = write_response({"x": value}, by_rows=by_rows)
    np.testing.assert_array_equal(read_response(answered, [spec])["x"], value, strict=True)


def test_answers_that_are_none() -> None:
    for body in (
        b"{}",
        b'{"error": "x"}',
        b'{"predictions": 1}',
        b'{"predictions":[],"outputs":1}',
    ):
        with pytest.raises(InvalidInput):
            read_response(body)
    assert read_response(b'{"outputs": [1]}')["outputs"].tolist() == [1]


@both_ways
@given(st.binary(max_size=60) | st.text(alphabet='{}[]",:b64instaceupu01.eNf-', max_size=60))
def test_no_body_is_more_than_invalid(body: bytes | str) -> None:
    raw = body if isinstance(body, bytes) else ('{"instances":[' + body + "]}").encode()
    try:
        read(raw, X)
    except InvalidInput:
        return
    assert json.loads(raw.decode())["instances"]
