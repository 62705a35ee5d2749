"""Models that answer with what they got, and say of which types it was."""

from __future__ import annotations

from typing import Any

import numpy as np

from django_inference.runtimes.base import Runtime, TensorRuntime
from django_inference.tensors import Signature, Tensors, TensorSpec


def types_of(value: Any) -> Any:
    """The names of all types in a value."""
    name = type(value).__name__
    if isinstance(value, np.ndarray):
        inner = [types_of(each) for each in value.ravel().tolist()] if value.dtype == "O" else []
        flags = value.flags
        said = [str(value.dtype), flags.c_contiguous, flags.writeable, flags.aligned]
        return [name, *said, inner]
    if isinstance(value, dict):
        return [name, [[types_of(key), types_of(each)] for key, each in value.items()]]
    return [name, [types_of(each) for each in value]] if isinstance(value, list) else name


class Items(Runtime):
    """Answers `[item, types]`."""

    def predict(self, items: list[Any]) -> list[Any]:
        return [[item, types_of(item)] for item in items]


class Tensor(TensorRuntime):
    """Answers with its tensors, and spoils what it was given."""

    def __init__(self, *, dtype: str = "", axes: int = 1) -> None:
        if dtype:
            spec = TensorSpec("x", dtype, (-1,) * axes)
            self.signature = Signature((spec,), (spec,))

    def predict(self, inputs: Tensors) -> Tensors:
        outputs = {name: tensor.copy() for name, tensor in inputs.items()}
        for tensor in inputs.values():
            tensor[...] = tensor[:1]
        return outputs
