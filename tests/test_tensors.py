from __future__ import annotations

import msgspec
import pytest

from django_inference.tensors import Signature, TensorSpec


def inputs(*shapes: tuple[int, ...]) -> Signature:
    return Signature(
        tuple(TensorSpec(f"x{index}", "float32", shape) for index, shape in enumerate(shapes))
    )


@pytest.mark.parametrize(
    ("shapes", "batch_size"),
    [
        ([(-1, 3)], -1),
        ([(8, 3)], 8),
        ([(8, 3), (8,)], 8),
        ([(8, 3), (-1, 3)], -1),
        ([(8, 3), (4, 3)], -1),
        ([(8, 3), ()], 8),
        ([()], -1),
        ([], -1),
    ],
)
def test_the_batch_that_an_artifact_was_exported_for(
    shapes: list[tuple[int, ...]], batch_size: int
) -> None:
    assert inputs(*shapes).batch_size == batch_size


def test_a_tensor_is_shown_as_people_write_it() -> None:
    assert str(TensorSpec("images", "float32", (-1, 3, 640, 640))) == (
        "images float32 [-1, 3, 640, 640]"
    )


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("x float32 [-1]", TensorSpec("x", "float32", (-1,))),
        ("the image uint8 [8, 3, 640, 640]", TensorSpec("the image", "uint8", (8, 3, 640, 640))),
        ("x str[-1,2]", TensorSpec("x", "str", (-1, 2))),
        ("rate int64 []", TensorSpec("rate", "int64", (), None)),
    ],
)
def test_a_tensor_is_read_as_people_write_it(text: str, spec: TensorSpec) -> None:
    assert TensorSpec.parse(text) == spec
    assert TensorSpec.parse(str(spec)) == spec


@pytest.mark.parametrize(
    "text",
    ["", "x", "x float32", "x [1, 2]", "x float32 [-2]", "x float32 [1,,2]", "x y"],
)
def test_what_is_no_tensor_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r"as in 'images float32 \[-1, 3, 640, 640\]'"):
        TensorSpec.parse(text)


@pytest.mark.parametrize("dtype", ["float", "bfloat16", "f4", "object"])
def test_another_name_of_a_type_is_refused_with_those_that_there_are(dtype: str) -> None:
    with pytest.raises(ValueError, match=r"the type is one of bool, .*, float32, .*, bytes"):
        TensorSpec.parse(f"x {dtype} [-1]")


def test_a_signature_travels_as_msgpack() -> None:
    signature = Signature((TensorSpec("x", "float32", (-1, 4)),), (TensorSpec("y", "str", (-1,)),))
    encoded = msgspec.msgpack.encode(signature)
    assert msgspec.msgpack.decode(encoded, type=Signature) == signature
