"""No body that a client can send is the server's fault."""

from __future__ import annotations

import json
from io import BytesIO
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from rest_framework.test import APIClient

from django_inference.backends.dummy import DummyBackend
from django_inference.tensors import Signature, TensorSpec
from django_inference.wire import npy

fuzz = settings(
    max_examples=200,
    deadline=None,
    # The client and the backend hold nothing that one example leaves to the next.
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda children: (
        st.lists(children, max_size=4)
        | st.dictionaries(
            st.sampled_from(["item", "items", "inputs", "b64", "x", ""]) | st.text(max_size=3),
            children,
            max_size=3,
        )
    ),
    max_leaves=12,
)
bodies = st.dictionaries(
    st.sampled_from(["item", "items", "inputs", "x"]), values, min_size=1, max_size=2
)
content_types = st.sampled_from(
    [
        "application/json",
        "application/json; charset=utf-16",
        "application/json; charset=\x01",
        "multipart/form-data",
        "multipart/form-data; boundary=B",
        "multipart/form-data; boundary=B; charset=utf-16",
        "multipart/mixed; boundary=B",
        "application/x-www-form-urlencoded",
        "image/jpeg",
        "text/plain; charset=no-such",
        "*/*",
        "/",
        ";",
        "",
    ]
) | st.text(
    # No server hands a NUL on, and Django would fail on it before it has found the view.
    st.characters(codec="latin-1", exclude_characters="\0"),
    max_size=20,
)


def check(client: APIClient, body: bytes, content_type: str) -> Any:
    response = cast(Any, client).generic("POST", "/predict/", body, content_type)
    assert 200 <= response.status_code < 500
    assert response.headers["Content-Type"] == "application/json"
    return response


def refuse_constant(name: str) -> None:
    raise AssertionError(f"{name} is no JSON")


@fuzz
@given(body=bodies | values, ascii=st.booleans())
@example(body={"item": float("nan")}, ascii=True)
@example(body={"item": {"b64": "AAA"}}, ascii=True)
@example(body={"inputs": {"": [[]]}}, ascii=True)
def test_any_json(client: APIClient, body: Any, ascii: bool) -> None:
    text = json.dumps(body, ensure_ascii=ascii)
    response = check(client, text.encode("utf-8", "surrogatepass"), "application/json")
    json.loads(response.content, parse_constant=refuse_constant)


@fuzz
@given(body=st.binary(max_size=100), content_type=content_types)
def test_any_bytes_of_any_type(client: APIClient, body: bytes, content_type: str) -> None:
    json.loads(check(client, body, content_type).content)


@fuzz
@given(
    cut=st.integers(0, 2000),
    changes=st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=4),
    is_zip=st.booleans(),
    wanted=st.sampled_from(["json", "npy", "npz", "png"]),
)
def test_any_file_of_arrays(
    client: APIClient, cut: int, changes: list[tuple[int, int]], is_zip: bool, wanted: str
) -> None:
    write: Any = npy.write_npz if is_zip else npy.write_npy
    whole = write({"x": np.eye(3), "y": np.arange(3)} if is_zip else np.eye(3, dtype=np.float32))
    body = bytearray(whole[: cut or None])
    for place, value in changes:
        body[place % len(body)] = value
    kind = "application/octet-stream"
    response = cast(Any, client).generic("POST", f"/predict/?format={wanted}", bytes(body), kind)
    assert 200 <= response.status_code < 500
    if response.status_code >= 400:
        assert json.loads(response.content)


@fuzz
@given(inputs=values)
def test_any_inputs_for_a_signature(client: APIClient, backend: DummyBackend, inputs: Any) -> None:
    specs = (TensorSpec("x", "uint8", (-1, 2)), TensorSpec("", "float32", (-1,)))
    backend.returns(lambda inputs: inputs, signature=Signature(specs))
    for body in ({"inputs": inputs}, {"inputs": {"x": inputs, "": [1]}}):
        text = json.dumps(body).encode("utf-8", "surrogatepass")
        json.loads(check(client, text, "application/json").content)


tokens = st.lists(
    st.sampled_from(
        [
            b"--B",
            b"--",
            b"\r\n",
            b"\n",
            b'Content-Disposition: form-data; name="f"; filename="a"',
            b'Content-Disposition: form-data; name="f"',
            b'Content-Disposition: form-data; name="\xff"; filename="\xff"',
            b"Content-Disposition: form-data; name*=utf-8''%ff; filename*=no'x",
            b"Content-Transfer-Encoding: base64",
            b"Content-Type: text/plain; charset=no-such",
            b"Content-Length: -1",
            b"abc",
        ]
    ),
    max_size=20,
)


@fuzz
@given(body=tokens)
def test_any_form(client: APIClient, body: list[bytes]) -> None:
    json.loads(check(client, b"".join(body), "multipart/form-data; boundary=B").content)


brackets = st.lists(
    st.sampled_from(list('[]{},:"\\') + ["1", "-", "e9", "null", '"item"', "\\ud800", "NaN"]),
    max_size=60,
)


@fuzz
@given(tokens=brackets)
def test_anything_that_looks_like_json(client: APIClient, tokens: list[str]) -> None:
    json.loads(check(client, "".join(tokens).encode(), "application/json").content)


@fuzz
@given(
    length=st.sampled_from(["", "-1", "0", "3", "100", "x", "1e3", "٣", "9" * 30]),
    content_type=content_types,
)
def test_any_length(
    client: APIClient, backend: DummyBackend, length: str, content_type: str
) -> None:
    # A server's stream ends where the client's does; the test client's raises there.
    stream = {"wsgi.input": BytesIO(b"abcdef"), "CONTENT_LENGTH": length}
    generic = cast(Any, client).generic
    response = generic("POST", "/predict/", b"abcdef", content_type, **stream)
    assert 200 <= response.status_code < 500
    json.loads(response.content)


@pytest.mark.parametrize("path", ["/predict/?format=\x00", "/predict/?format=api&format=json"])
def test_any_query(client: APIClient, path: str) -> None:
    response = client.post(path, {"item": 1}, format="json")
    assert 200 <= response.status_code < 500
