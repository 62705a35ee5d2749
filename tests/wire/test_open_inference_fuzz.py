"""Bodies as no client should send them: refused with a reason, in bounded memory.

A hundred of each kind by default; `--fuzz 100` tries a hundred times as many.
"""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from django_inference.exceptions import InvalidInput
from django_inference.wire.datatypes import DATATYPES
from django_inference.wire.open_inference import InferRequest
from django_inference.wire.open_inference_bodies import read_request


def read(body: bytes, json_length: int | None = None) -> InferRequest | None:
    """None for what is refused; whatever else is raised fails the test."""
    try:
        return read_request(body, "m", json_length=json_length)[0]
    except InvalidInput as error:
        assert error.message and len(error.message) < 2_000
        return None


lengths = st.integers(-2, 5) | st.sampled_from([2**31, 2**32, 2**62, 2**63, 2**64, 10**40])
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-3, 300)
    | st.sampled_from([2**63, 2**64, -(2**63) - 1, 1e308, 0.5])
    | st.floats()
    | st.text(max_size=3)
)
data = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4), max_leaves=10)
parameters = st.dictionaries(
    st.sampled_from(["binary_data_size", "binary_data", "binary_data_output", "content_type", ""]),
    scalars | lengths,
    max_size=2,
)
tensors = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["x", "y", "x", ""]) | scalars,
        "shape": st.lists(lengths, max_size=4) | data,
        "datatype": st.sampled_from([*DATATYPES, "", "FP128"]) | scalars,
    },
    optional={"data": data, "parameters": parameters | data},
)
requests = st.fixed_dictionaries(
    {"inputs": st.lists(tensors, max_size=3) | data},
    optional={
        "id": scalars,
        "parameters": parameters | data,
        "outputs": st.lists(st.fixed_dictionaries({"name": scalars}), max_size=2) | data,
    },
)


@given(request=requests)
@example(request={"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [None]}]})
def test_any_json(request: Any) -> None:
    read(json.dumps(request).encode("utf-8", "surrogatepass"))


@given(request=requests, blobs=st.binary(max_size=40), off=st.integers(-50, 50))
def test_any_blobs_behind_any_json(request: Any, blobs: bytes, off: int) -> None:
    said = json.dumps(request).encode("utf-8", "surrogatepass")
    read(said + blobs, len(said))
    read(said + blobs, len(said) + off)


@given(
    datatype=st.sampled_from(DATATYPES),
    shape=st.lists(st.integers(0, 4), max_size=3),
    blob=st.binary(max_size=64),
)
def test_any_bytes_as_any_tensor(datatype: str, shape: list[int], blob: bytes) -> None:
    tensor = {
        "name": "x",
        "shape": shape,
        "datatype": datatype,
        "parameters": {"binary_data_size": len(blob)},
    }
    said = json.dumps({"inputs": [tensor]}).encode()
    request = read(said + blob, len(said))
    if request is not None:
        assert request.inputs["x"].shape == tuple(shape)


@given(
    tokens=st.lists(
        st.sampled_from(list('[]{},:"\\ ') + ["1", "-", "e9", "null", "true", "NaN", "\\ud800"]),
        max_size=40,
    ),
    datatype=st.sampled_from(DATATYPES),
)
def test_anything_that_looks_like_data(tokens: list[str], datatype: str) -> None:
    data = "".join(tokens)
    tensor = f'{{"name": "x", "shape": [2], "datatype": "{datatype}", "data": [{data}]}}'
    request = read(f'{{"inputs": [{tensor}]}}'.encode())
    if request is not None:
        assert request.inputs["x"].shape == (2,)


@given(body=st.binary(max_size=60), length=st.none() | st.integers(0, 70))
def test_any_bytes(body: bytes, length: int | None) -> None:
    request = read(body, length)
    assert request is None or request.raw == body


MEGABYTES = 1_000_000


def tensor(datatype: str, count: int, data: bytes) -> bytes:
    return b'{"inputs": [{"name": "x", "shape": [%d], "datatype": "%b", "data": [%b]}]}' % (
        count,
        datatype.encode(),
        data,
    )


@pytest.mark.parametrize(
    ("times", "make"),
    [
        # What is right costs little more than its array; what is wrong, less than that.
        (9, lambda: tensor("FP64", MEGABYTES, b"1," * (MEGABYTES - 1) + b"1")),
        (9, lambda: tensor("FP64", MEGABYTES, b"null," * (MEGABYTES - 1) + b"1")),
        (3, lambda: tensor("FP64", 7, b"1," * MEGABYTES + b"1")),
        (3, lambda: tensor("FP64", 2, b"[" * MEGABYTES + b"]" * MEGABYTES)),
        (3, lambda: tensor("FP64", 2, b"[]," * MEGABYTES + b"[]")),
        (3, lambda: tensor("FP64", 2, b"{}," * MEGABYTES + b"{}")),
        (3, lambda: tensor("BYTES", 7, b'"",' * MEGABYTES + b'""')),
        (3, lambda: tensor("BYTES", 7, b'"\\\\",' * MEGABYTES + b'""')),
        (3, lambda: b'{"inputs": [], "parameters": {"a": [%b1]}}' % (b"[]," * MEGABYTES)),
        (3, lambda: b'{"inputs": [{"name": "x", "shape": [%b1]}]}' % (b"1000," * MEGABYTES)),
        (3, lambda: b"[" * 2 * MEGABYTES),
        (3, lambda: b"\0" * 100 * MEGABYTES),
    ],
    ids=[
        *("right numbers", "nulls", "too many numbers", "nested", "empty lists", "objects"),
        *("too many texts", "backslashes", "parameters", "axes", "brackets", "100 MB of zeros"),
    ],
)
def test_no_body_takes_many_times_its_length(times: float, make: Callable[[], bytes]) -> None:
    body = make()
    tracemalloc.start()
    try:
        read(body)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < times * len(body) + 5 * MEGABYTES
