from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from django_inference.exceptions import InvalidInput
from django_inference.wire.datatypes import DTYPES
from django_inference.wire.open_inference import InferRequest, InferResponse
from django_inference.wire.open_inference_proto import (
    request_from_proto,
    request_to_proto,
    response_from_proto,
    response_to_proto,
)
from django_inference.wire.protos.open_inference_pb2 import (
    InferTensorContents,
    ModelInferRequest,
    ModelInferResponse,
)

NUMBERS = sorted(DTYPES)


def same(got: np.ndarray[Any, Any], wanted: np.ndarray[Any, Any]) -> None:
    assert got.dtype == wanted.dtype and got.shape == wanted.shape
    assert (
        got.tobytes() == wanted.tobytes() if wanted.dtype != object else list(got) == list(wanted)
    )


def extremes(datatype: str) -> np.ndarray[Any, Any]:
    dtype = DTYPES[datatype]
    match dtype.kind:
        case "b":
            return np.array([[True, False, True]])
        case "f":
            limits = np.finfo(dtype)
            return np.array([[limits.min, limits.max], [np.nan, -0.0]], dtype)
    of_integers = np.iinfo(dtype)
    return np.array([[of_integers.min], [of_integers.max], [1]], dtype)


def tensor(datatype: str, shape: list[int], name: str = "x", **contents: Any) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape, "contents": contents}


@pytest.mark.parametrize("datatype", NUMBERS)
@pytest.mark.parametrize("raw", [True, False])
def test_numbers_come_back_as_they_were(datatype: str, raw: bool) -> None:
    array = extremes(datatype)
    message = response_to_proto(InferResponse(model="m", outputs={"y": array}), raw=raw)
    assert bool(message.raw_output_contents) is (raw or datatype == "FP16")
    read = response_from_proto(ModelInferResponse.FromString(message.SerializeToString()))
    same(read.outputs["y"], array)
    assert message.outputs[0].datatype == datatype


@pytest.mark.parametrize("raw", [True, False])
def test_texts_come_back_as_bytes(raw: bool) -> None:
    outputs = {"y": np.array([["ä", "b"]]), "z": np.array([b"\xff", b""], dtype=object)}
    message = response_to_proto(InferResponse(model="m", outputs=outputs), raw=raw)
    read = response_from_proto(ModelInferResponse.FromString(message.SerializeToString()))
    assert read.outputs["y"].tolist() == [["ä".encode(), b"b"]]
    assert read.outputs["z"].tolist() == [b"\xff", b""]


@pytest.mark.parametrize("shape", [(0,), (2, 0), ()])
@pytest.mark.parametrize("raw", [True, False])
def test_shapes_at_the_edge(shape: tuple[int, ...], raw: bool) -> None:
    array = np.ones(shape, np.float32)
    read = response_from_proto(
        response_to_proto(InferResponse(model="m", outputs={"y": array}), raw=raw)
    )
    same(read.outputs["y"], array)


def test_a_request_comes_back_as_it_was() -> None:
    request = InferRequest(
        model="m",
        version="3",
        id="7",
        parameters={"a": True, "b": -1, "c": "text", "d": 0.5, "e": 2**63},
        inputs={"x": np.arange(6, dtype=np.int16).reshape(2, 3)},
        input_parameters={"x": {"content_type": "np"}},
        outputs=("y", "z"),
    )
    message = ModelInferRequest.FromString(request_to_proto(request).SerializeToString())
    read, is_raw = request_from_proto(message)
    same(read.inputs.pop("x"), request.inputs.pop("x"))
    assert is_raw and read == request


def test_an_answer_takes_the_form_of_its_question() -> None:
    typed = ModelInferRequest(inputs=[tensor("FP32", [1], fp32_contents=[1.5])])
    assert request_from_proto(typed)[1] is False
    typed.parameters["binary_data_output"].bool_param = True
    request, is_raw = request_from_proto(typed)
    assert is_raw and request.parameters == {}


def test_fields_that_are_not_known_do_no_harm() -> None:
    contents = InferTensorContents(fp32_contents=[1.0, 2.0]).SerializeToString()
    # Field 15, of a later version of the protocol.
    strange = InferTensorContents.FromString(contents + bytes([15 << 3 | 2, 2, 7, 7]))
    message = ModelInferRequest()
    message.inputs.add(name="x", datatype="FP32", shape=[2]).contents.CopyFrom(strange)
    assert request_from_proto(message)[0].inputs["x"].tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    ("inputs", "raw", "said"),
    [
        ([tensor("FP16", [1])], [], "raw contents only"),
        ([tensor("FP33", [1])], [], "did you mean 'FP32'"),
        ([tensor("FP32", [1], int_contents=[1])], [], "in int_contents, and not in fp32_contents"),
        ([tensor("FP32", [2], fp32_contents=[1.0])], [], "has 1 elements"),
        ([tensor("INT8", [1], int_contents=[128])], [], "beyond -128 to 127"),
        ([tensor("UINT16", [1], uint_contents=[65536])], [], "beyond 0 to 65535"),
        ([tensor("FP32", [-1], fp32_contents=[1.0])], [], "each axis of a request is 0 or longer"),
        ([tensor("FP32", [2**62, 4], fp32_contents=[1.0])], [], "too large"),
        ([tensor("BYTES", [2**40])], [], "0 elements"),
        ([tensor("FP32", [0]), tensor("FP32", [0])], [], "is there twice"),
        ([tensor("FP32", [0], name="")], [], "1 to 1024 characters"),
        ([tensor("FP32", [1])], [b"1234", b""], "2 raw contents for 1 inputs"),
        ([tensor("FP32", [1])], [b"123"], "has 3 bytes of data"),
        ([tensor("FP32", [1], fp32_contents=[1.0])], [b"1234"], "both typed and raw"),
        ([tensor("BOOL", [1])], [b"\x02"], "neither 0 nor 1"),
        ([tensor("BYTES", [1])], [b"\xff\0\0\0a"], "claims 255 bytes"),
    ],
)
def test_what_does_not_fit_is_named(inputs: Any, raw: list[bytes], said: str) -> None:
    message = ModelInferRequest(inputs=inputs, raw_input_contents=raw)
    with pytest.raises(InvalidInput, match=said.replace("(", r"\(")):
        request_from_proto(message)


def test_what_is_not_spoken_is_refused() -> None:
    message = ModelInferRequest()
    output = message.outputs.add(name="y")
    output.parameters["classification"].int64_param = 3
    with pytest.raises(InvalidInput, match="'classification' of the output 'y'"):
        request_from_proto(message)
    del message.outputs[:]
    message.inputs.add(name="x").parameters["shared_memory_region"].string_param = "a"
    with pytest.raises(InvalidInput, match="'shared_memory_region' of the input 'x'"):
        request_from_proto(message)


def test_an_output_that_is_listed_twice() -> None:
    message = ModelInferRequest(outputs=[{"name": "y"}, {"name": "y"}])
    with pytest.raises(InvalidInput, match="'y' is listed twice"):
        request_from_proto(message)


def test_what_the_protocol_has_no_form_for() -> None:
    complex_numbers = {"y": np.ones(1, np.complex64)}
    with pytest.raises(ValueError, match="no datatype"):
        response_to_proto(InferResponse(model="m", outputs=complex_numbers))
    nested: Any = {"a": [1]}
    with pytest.raises(ValueError, match="'a' is of list"):
        request_to_proto(InferRequest(model="m", parameters=nested))
