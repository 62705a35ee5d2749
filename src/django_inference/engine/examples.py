"""Made-up inputs for proof runs at load."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from django_inference.tensors import Signature, Tensors, TensorSpec

#: The length of an axis that may have any.
LENGTH = 32
#: Numbers of a row above which proof runs with made-up rows would take too long.
MOST_NUMBERS = 1 << 22
#: Rows of the first and of the second example.
ROWS = (2, 1)


def drawn(signature: Signature | None, rows: tuple[int, ...] = ROWS) -> list[Tensors]:
    """Make inputs up: one for each number of rows; none where the signature says too little.

    The numbers of the first are positive and negative, those of the others negative, so that
    what counts or picks numbers above some limit finds other counts in each. Tensors without
    a batch axis are the same in all.
    """
    if signature is None or not signature.inputs:
        return []
    if any(math.prod(map(_length, spec.row_shape)) > MOST_NUMBERS for spec in signature.inputs):
        return []
    rng = np.random.default_rng(0)
    shared = {
        spec.name: _values(rng, spec, spec.shape, "ones")
        for spec in signature.inputs
        if spec.batch_axis is None
    }
    examples = []
    for number, count in enumerate(rows):
        tensors = dict(shared)
        for spec in signature.inputs:
            if spec.batch_axis is not None:
                shape = list(spec.shape)
                shape[spec.batch_axis] = count
                sign = "both" if number == 0 else "negative"
                tensors[spec.name] = _values(rng, spec, tuple(shape), sign)
        examples.append(tensors)
    return examples


def zeros(signature: Signature | None) -> Tensors | None:
    """Return one row of zeros, or as many as the artifact takes; None for texts and open axes."""
    if signature is None or not signature.inputs:
        return None
    tensors = {}
    for spec in signature.inputs:
        if spec.dtype in ("str", "bytes") or -1 in spec.row_shape:
            return None
        shape = list(spec.shape)
        if spec.batch_axis is not None:
            shape[spec.batch_axis] = max(shape[spec.batch_axis], 1)
        tensors[spec.name] = np.zeros(shape, spec.dtype)
    return tensors


def _length(axis: int) -> int:
    return LENGTH if axis < 0 else axis


def _values(rng: np.random.Generator, spec: TensorSpec, shape: tuple[int, ...], kind: str) -> Any:
    shape = tuple(map(_length, shape))
    if spec.dtype in ("str", "bytes"):
        texts = ["one", "another one"] if kind != "negative" else ["a third, which is longer"]
        array = np.array([texts[n % len(texts)] for n in range(math.prod(shape))], object)
        return array.reshape(shape)
    dtype = np.dtype(spec.dtype)
    if kind == "ones":
        return np.ones(shape, dtype)
    if dtype.kind in "fc":
        numbers = rng.standard_normal(shape)
        return (numbers if kind == "both" else -np.abs(numbers)).astype(dtype)
    if dtype == np.uint8:
        # Most likely a picture.
        return rng.integers(0, 256 if kind == "both" else 64, shape, dtype)
    # 0 and 1 are in nearly every table that an index may be for.
    return rng.integers(0, 2, shape).astype(dtype)
