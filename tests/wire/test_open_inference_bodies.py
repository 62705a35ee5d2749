"""HTTP bodies of the Open Inference Protocol: what is read, what is refused and why."""

from __future__ import annotations

import json
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from django_inference.exceptions import InvalidInput
from django_inference.wire.compression import BodyTooLong, UnknownEncoding, inflate
from django_inference.wire.datatypes import DTYPES, MOST_TEXTS, Array, datatype_named, datatype_of
from django_inference.wire.open_inference import InferRequest, InferResponse
from django_inference.wire.open_inference_bodies import (
    json_length,
    read_repository_request,
    read_request,
    read_response,
    write_request,
    write_response,
)
from django_inference.wire.open_inference_tensors import Wanted

Tensor = dict[str, Any]


def body(*tensors: Tensor, **more: Any) -> bytes:
    return json.dumps({"inputs": [{**X, **tensor} for tensor in tensors], **more}).encode()


X: Tensor = {"name": "x", "shape": [2, 2], "datatype": "FP32"}


#: Makes a body long enough to be read in the quickest way.
SPACES = b" " * 2048


def read(*tensors: Tensor, **more: Any) -> dict[str, Array]:
    return read_request(body(*tensors, **more), "m")[0].inputs


def refused(said: bytes, **more: Any) -> str:
    with pytest.raises(InvalidInput) as caught:
        read_request(said, "m", **more)
    return caught.value.message


names = st.text(min_size=1, max_size=8)
numbers = st.sampled_from([dtype.newbyteorder("=") for dtype in DTYPES.values()])
shapes = arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
tensors = st.one_of(
    numbers.flatmap(
        lambda dtype: arrays.arrays(
            dtype, shapes, elements=arrays.from_dtype(dtype, allow_nan=False, allow_infinity=False)
        )
    ),
    arrays.arrays(np.dtype(object), shapes, elements=st.binary(max_size=6)),
)


@given(inputs=st.dictionaries(names, tensors, max_size=3), binary=st.booleans())
def test_what_is_written_is_read(inputs: dict[str, Array], binary: bool) -> None:
    written = write_request(
        InferRequest(model="m", id="1", inputs=inputs, outputs=("a", "b")), binary=binary
    )
    request, wanted = read_request(written.joined(), "m", json_length=written.json_length)
    assert (request.id, request.outputs) == ("1", ("a", "b"))
    assert wanted.is_binary("a") is wanted.is_binary("other") is binary
    answer = write_response(InferResponse(model="m", id="1", outputs=inputs), Wanted(binary))
    response = read_response(answer.joined(), json_length=answer.json_length)
    assert list(request.inputs) == list(response.outputs) == list(inputs)
    for found in (request.inputs, response.outputs):
        for name, array in inputs.items():
            assert found[name].dtype == array.dtype and found[name].shape == array.shape
            assert found[name].tolist() == array.tolist()


def test_numbers_may_be_flat_or_nested() -> None:
    for data in ([1, 2, 3, 4], [[1, 2], [3, 4]]):
        assert read({"data": data})["x"].tolist() == [[1.0, 2.0], [3.0, 4.0]]
    deep = read({"shape": [1] * 32, "data": json.loads("[" * 32 + "7" + "]" * 32)})
    assert deep["x"].shape == (1,) * 32
    assert read({"shape": [], "data": [7]})["x"].shape == ()
    assert read({"shape": [0, 3], "data": []})["x"].shape == (0, 3)
    assert read({"shape": [2, 0], "data": [[], []]})["x"].shape == (2, 0)


def test_numbers_are_the_same_however_they_are_read() -> None:
    for shape, data in (
        ([4], [0.1, 2, -3e9, 4]),
        ([2, 2], [[0.1, 2], [-3e9, 4]]),
        ([2, 1, 2], [[[0.1, 2]], [[-3e9, 4]]]),
        ([1, 0, 2], [[]]),
        ([2], [None, 1e300]),
    ):
        for datatype in ("FP16", "FP32", "FP64", "BF16"):
            said = body({"shape": shape, "data": data, "datatype": datatype})
            short, long = (read_request(said + more, "m")[0].inputs["x"] for more in (b"", SPACES))
            assert short.dtype == long.dtype and short.shape == long.shape == tuple(shape)
            assert np.array_equal(short, long, equal_nan=True)
    whole = body({"shape": [1], "datatype": "INT64", "data": [2**63 - 1]}) + SPACES
    assert read_request(whole, "m")[0].inputs["x"].tolist() == [2**63 - 1]


def test_a_long_list_is_read_in_pieces() -> None:
    values = np.random.default_rng(3).standard_normal(100_000).astype(np.float32)
    for shape in ([100_000], [100, 10, 100]):
        data = values.reshape(shape).tolist()
        found = read({"shape": shape, "data": data})["x"]
        assert found.dtype == np.float32 and (found == values.reshape(shape)).all()
    wide = [2**63 - 1 - number for number in range(50_000)]
    found = read({"shape": [50_000], "datatype": "INT64", "data": wide})["x"]
    assert found.tolist() == wide


def test_numbers_keep_their_type() -> None:
    assert read({"datatype": "UINT64", "data": [2**64 - 1, 0, 1, 2]})["x"].max() == 2**64 - 1
    for data in ([True, False, False, True], [1, 0, 0, 1]):
        assert read({"datatype": "BOOL", "data": data})["x"].tolist() == [
            [True, False],
            [False, True],
        ]
    null = read({"data": [1, None, 3, 4]})["x"]
    assert np.isnan(null[0, 1]) and np.isfinite(null).sum() == 3
    assert np.isinf(read({"data": [1e300, 0, 0, 0]})["x"][0, 0])


def test_texts_are_bytes_and_may_be_base64() -> None:
    texts = {"datatype": "BYTES"}
    for data in (["a", "ü", "", 'd,]"'], [["a", "ü"], ["", 'd,]"']]):
        assert read({**texts, "data": data})["x"].ravel().tolist() == [
            b"a",
            "ü".encode(),
            b"",
            b'd,]"',
        ]
    base64 = {**texts, "shape": [1], "parameters": {"content_type": "base64"}}
    assert read({**base64, "data": ["/wA="]})["x"].tolist() == [b"\xff\0"]
    assert "base64" in refused(body({**base64, "data": ["*"]}))


def test_blobs_are_looked_into_where_they_lie() -> None:
    blob = np.arange(4, dtype="<f4").tobytes()
    said = body({"parameters": {"binary_data_size": 16}})
    whole = said + blob
    x = read_request(whole, "m", json_length=len(said))[0].inputs["x"]
    assert x.tolist() == [[0.0, 1.0], [2.0, 3.0]] and not x.flags.owndata
    assert np.shares_memory(x, np.frombuffer(whole, np.uint8))


def test_bfloat16_is_read_as_float32() -> None:
    values = np.array([1.5, -2.0, 0.0, 256.0], np.float32)
    blob = (values.view(np.uint32) >> 16).astype("<u2").tobytes()
    said = body({"datatype": "BF16", "parameters": {"binary_data_size": 8}})
    x = read_request(said + blob, "m", json_length=len(said))[0].inputs["x"]
    assert x.dtype == np.float32 and x.ravel().tolist() == values.tolist()


@pytest.mark.parametrize(
    ("tensor", "said"),
    [
        ({"data": [1, 2, 3]}, "3 elements, and its shape [2, 2] has 4"),
        ({"data": [[1, 2], [3]]}, "neither flat nor nested as its shape [2, 2] says"),
        ({"data": [[1, 2, 3], [4]]}, "neither flat nor nested as its shape [2, 2] says"),
        ({"data": [[1, 2, 3, 4]]}, "neither flat nor nested"),
        ({"data": [1, [2, 3], 4]}, "not all numbers"),
        ({"data": ["1", "2", "3", "4"]}, "not all numbers"),
        ({"data": [["1", "2"], ["3", "4"]]}, "neither flat nor nested"),
        ({"data": [{}, 2, 3, 4]}, "not all numbers"),
        ({"data": {"a": 1}}, "not a list"),
        ({"data": 1, "shape": []}, "not a list"),
        ({"data": None}, "not a list"),
        ({}, "neither data nor binary_data_size"),
        ({"data": [], "datatype": "FP23"}, "none of BOOL, UINT8"),
        ({"data": [], "datatype": "fp32"}, "(did you mean 'FP32'?)"),
        ({"data": [1.5, 0, 0, 0], "datatype": "INT8"}, "not all whole numbers (int8)"),
        ({"data": [300, 0, 0, 0], "datatype": "UINT8"}, "out of the range of uint8"),
        ({"data": [-1, 0, 0, 0], "datatype": "UINT64"}, "out of the range of uint64"),
        ({"data": [2**64, 0, 0, 0], "datatype": "UINT64"}, "out of the range of uint64"),
        ({"data": [2, 0, 0, 0], "datatype": "BOOL"}, "not all booleans"),
        ({"data": ["a"], "datatype": "BYTES"}, "1 elements, and its shape [2, 2] has 4"),
        ({"data": ["a"] * 5, "datatype": "BYTES"}, "5 elements"),
        ({"data": [["a"], ["b", "c", "d"]], "datatype": "BYTES"}, "neither flat nor nested"),
        ({"data": [1, 2, 3, 4], "datatype": "BYTES"}, "not all texts"),
        ({"data": [], "shape": [-1]}, "each axis of a request is 0 or longer"),
        ({"data": [], "shape": [2**40, 2**40]}, "too large"),
        ({"data": [], "shape": [2**62]}, "too large"),
        ({"data": [], "shape": [0, 2**40]}, "too large"),
        ({"data": [], "shape": [10**200]}, "too large"),
        ({"data": [], "shape": [1] * 33}, "33 axes"),
        ({"data": [], "shape": "x"}, "the shape of the tensor 'x'"),
        ({"data": [], "shape": [1.5]}, "the shape of the tensor 'x'"),
        ({"data": [], "shape": [1] * 10_000}, "more than 16384"),
        ({"data": [], "parameters": [1]}, "the parameters of the tensor 'x'"),
        ({"data": [], "parameters": {"a": "b" * 20_000}}, "more than 16384"),
        ({"data": [], "parameters": {"shared_memory_region": "r"}}, "not supported here"),
        ({"data": [], "parameters": {"binary_data_size": 8}}, "8, and 0 bytes are left"),
        ({"parameters": {"binary_data_size": -1}}, "a number of bytes"),
        ({"parameters": {"binary_data_size": "8"}}, "a number of bytes"),
        ({"parameters": {"binary_data_size": True}}, "a number of bytes"),
        ({"data": [], "name": "n" * 2000}, "Expected `str` of length <= 1024"),
        ({"data": [], "name": 7}, "Expected `str`"),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, str) else "",
)
def test_a_tensor_is_refused_with_the_reason(tensor: Tensor, said: str) -> None:
    message = refused(body(tensor))
    assert said in message
    assert len(message) < 400
    # Longer ones are read in another way, and refused in the same words.
    assert refused(body(tensor) + SPACES) == message


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (b"", "truncated"),
        (b"[]", "Expected `object`"),
        (b"{}", "missing required field `inputs`"),
        (b'{"inputs": 1}', "Expected `array`"),
        (b'{"inputs": [], "id": 7}', "Expected `str | null`"),
        (b'{"inputs": [], "outputs": [{}]}', "missing required field `name`"),
        (b'{"inputs": [], "outputs": [{"name":"y"},{"name":"y"}]}', "'y' is listed twice"),
        (b'{"inputs": [], "parameters": {"binary_data_output": 1}}', "neither true nor false"),
        (b'{"inputs": []} ', ""),
        (b'{"inputs": []}x', "malformed"),
        (b'{"inputs": [NaN]}', "malformed"),
        (b'\xff\xfe{"inputs": []}', "malformed"),
        (b'{"inputs": [{"name": "\xff", "shape": [], "datatype": ""}]}', "utf-8"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_body_is_refused_with_the_reason(given: bytes, said: str) -> None:
    if said:
        assert said.lower() in refused(given).lower()
    else:
        assert read_request(given, "m")[0].inputs == {}


def test_names_appear_once() -> None:
    one = {"data": [1, 2, 3, 4]}
    assert refused(body(one, one)) == "the input 'x' is there twice."


def test_depth_is_no_way_to_exhaust_the_stack() -> None:
    for depth in (1_000, 100_000, 1_000_000):
        brackets = b"[" * depth + b"]" * depth
        data = b'{"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": %b}]}'
        assert refused(data % brackets)
        assert refused(brackets)
        assert refused(b'{"inputs": [], "parameters": {"a": %b}}' % brackets)


@pytest.mark.parametrize(
    ("datatype", "blob", "size", "said"),
    [
        ("FP32", b"\0" * 15, 15, "15 bytes of data, and FP32 of the shape [2, 2] has 16"),
        ("FP32", b"\0" * 16, 17, "17, and 16 bytes are left"),
        ("FP32", b"\0" * 17, 16, "1 bytes behind the last"),
        ("FP32", b"", 2**62, "are left"),
        ("BOOL", b"\1\0\1\2", 4, "neither 0 nor 1"),
        ("BYTES", b"\0" * 15, 15, "not 4 elements"),
        ("BYTES", b"\0" * 20, 20, "not 4 elements"),
        ("BYTES", b"\0" * 12 + b"\xff\xff\xff\x7f", 16, "claims 2147483647 bytes, and 0 are left"),
        ("BYTES", b"\0" * 8 + b"\3\0\0\0abcd", 15, "not 4 elements"),
        ("NO", b"", 0, "none of BOOL"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_blob_is_refused_with_the_reason(
    datatype: str, blob: bytes, size: int, said: str
) -> None:
    json_part = body({"datatype": datatype, "parameters": {"binary_data_size": size}})
    assert said in refused(json_part + blob, json_length=len(json_part))


def test_a_header_cannot_point_behind_the_body() -> None:
    assert "the body has 14 bytes" in refused(b'{"inputs": []}', json_length=15)
    assert json_length(None) is None and json_length("12") == 12
    for said in ("", "-1", "1e3", "x", "٣", "9" * 30):
        with pytest.raises(InvalidInput, match="is a number of bytes"):
            json_length(said)


def test_a_claimed_length_makes_nothing() -> None:
    claim = {"shape": [MOST_TEXTS + 1], "datatype": "BYTES"}
    assert "0 elements" in refused(body({**claim, "data": []}))
    said = body({**claim, "parameters": {"binary_data_size": 4}})
    assert "4 bytes of data" in refused(said + b"\0\0\0\0", json_length=len(said))
    texts = struct.pack("<I", 0) * (MOST_TEXTS + 1)
    said = body({**claim, "parameters": {"binary_data_size": len(texts)}})
    assert f"more than {MOST_TEXTS}" in refused(said + texts, json_length=len(said))


def test_how_an_output_is_written_is_the_clients_choice() -> None:
    asked = json.dumps(
        {
            "inputs": [],
            "parameters": {"binary_data_output": True, "priority": 1},
            "outputs": [{"name": "a"}, {"name": "b", "parameters": {"binary_data": False}}],
        }
    ).encode()
    request, wanted = read_request(asked, "m")
    assert request.outputs == ("a", "b") and request.parameters == {"priority": 1}
    assert wanted.is_binary("a") and not wanted.is_binary("b")
    outputs = {"a": np.ones((1, 2), np.float32), "b": np.array([np.nan, 1.0])}
    written = write_response(InferResponse(model="m", outputs=outputs), wanted)
    assert written.json_length is not None
    said = json.loads(written.joined()[: written.json_length])
    assert said["outputs"] == [
        {"name": "a", "shape": [1, 2], "datatype": "FP32", "parameters": {"binary_data_size": 8}},
        {"name": "b", "shape": [2], "datatype": "FP64", "data": [None, 1.0]},
    ]
    assert written.joined()[written.json_length :] == outputs["a"].tobytes()


def test_what_the_protocol_has_no_datatype_for() -> None:
    assert datatype_named("complex64") == "" and datatype_named("str") == "BYTES"
    assert datatype_of(np.dtype(">f4")) == "FP32" and datatype_of(np.dtype("U3")) == "BYTES"
    with pytest.raises(ValueError, match="no datatype for complex64"):
        write_request(InferRequest(model="m", inputs={"x": np.ones(1, np.complex64)}))


def test_a_request_to_the_repository_may_have_no_body() -> None:
    assert read_repository_request(b"") == (False, {})
    assert read_repository_request(b'{"ready": true, "parameters": {"a": 1}}') == (True, {"a": 1})
    with pytest.raises(InvalidInput):
        read_repository_request(b"[")


def test_a_compressed_body_is_unpacked_up_to_a_bound() -> None:
    text = b"abc" * 1000
    raw = zlib.compressobj(wbits=-15)
    for encoding, packed in {
        "gzip": zlib.compress(text, wbits=31),
        " GZIP ": zlib.compress(text, wbits=31),
        "deflate": zlib.compress(text),
        "Deflate": raw.compress(text) + raw.flush(),
        "identity": text,
        "": text,
    }.items():
        assert inflate(packed, encoding, 3000) == text
        assert inflate(packed, encoding, None) == text
        if packed is not text:
            with pytest.raises(BodyTooLong):
                inflate(packed, encoding, 2999)
            for broken in (packed[:-1], packed + b"x", b"", b"\0" * 20):
                with pytest.raises(InvalidInput):
                    inflate(broken, encoding, 3000)
    with pytest.raises(UnknownEncoding, match="'br'"):
        inflate(text, "br", 3000)


def test_a_bomb_does_not_go_off() -> None:
    bomb = zlib.compress(b"\0" * 100_000_000, wbits=31)
    assert len(bomb) < 200_000
    with pytest.raises(BodyTooLong):
        inflate(bomb, "gzip", 1_000_000)
