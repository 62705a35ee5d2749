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


def test_a_signature_travels_as_msgpack() -> None:
    signature = Signature((TensorSpec("x", "float32", (-1, 4)),), (TensorSpec("y", "str", (-1,)),))
    encoded = msgspec.msgpack.encode(signature)
    assert msgspec.msgpack.decode(encoded, type=Signature) == signature
