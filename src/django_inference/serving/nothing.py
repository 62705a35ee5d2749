"""Requests without a single row, which every reference server answers with as many results."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from django_inference.tensors import Signature, TensorSpec
from django_inference.wire.datatypes import Array
from django_inference.wire.nesting import dtype_named


def has_no_rows(inputs: Mapping[str, Array]) -> bool:
    """Whether an axis of an input has no length."""
    return any(0 in array.shape for array in inputs.values())


def answer_to_nothing(payload: Any, signature: Signature | None) -> dict[str, Array] | None:
    """The outputs for inputs without rows. The model is not asked.

    Args:
        payload: as a predictor takes it.
        signature: of the model.

    Returns:
        None where there are rows, or where the signature does not say what would come out.
        The model itself answers, or refuses, those.
    """
    if signature is None or not isinstance(payload, Mapping) or not has_no_rows(payload):
        return None
    takes = {spec.name: spec for spec in signature.inputs}
    if payload.keys() != takes.keys():
        return None
    if not all(_is_empty(np.shape(value), takes[name]) for name, value in payload.items()):
        return None
    if not signature.outputs or any(spec.batch_axis is None for spec in signature.outputs):
        return None
    return {spec.name: _nothing(spec) for spec in signature.outputs}


def _is_empty(shape: tuple[int, ...], spec: TensorSpec) -> bool:
    return len(shape) == len(spec.shape) and all(
        have == 0 if axis == spec.batch_axis else want in (-1, have)
        for axis, (have, want) in enumerate(zip(shape, spec.shape, strict=True))
    )


def _nothing(spec: TensorSpec) -> Array:
    dtype = dtype_named(spec.dtype) or np.dtype(object)
    shape = [0 if n == spec.batch_axis else max(axis, 0) for n, axis in enumerate(spec.shape)]
    return np.empty(shape, dtype)
