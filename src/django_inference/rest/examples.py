"""Bodies that a predictor would take: for the browsable API and the OpenAPI document."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from django_inference.handle import Predictor
from django_inference.plain import to_plain
from django_inference.tensors import Signature, TensorSpec

#: Numbers that a person can look at.
_MOST = 256
_VISION = ("yolo", "ultralytics")
_TENSORS = (
    "onnx",
    "tensorflow",
    "tensorflow1",
    "sklearn",
    "catboost",
    "torch",
    "litert",
    "lightgbm",
    "xgboost",
)
_PICTURES = "image/jpeg,image/png,image/webp,image/gif,image/bmp,image/tiff"
#: A grey pixel: the smallest picture that every decoder reads.
_PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg=="
)


class Files(NamedTuple):
    """What a field for files says.

    Attributes:
        label: beside it.
        accept: the types that a browser offers; empty for all.
    """

    label: str
    accept: str


def example_of(predictor: Predictor, mode: str = "predict") -> dict[str, Any]:
    """A JSON body. Loads nothing, so it is a guess until the model is loaded.

    Args:
        predictor: that it is for.
        mode: `predict`, `batch` or `stream`, which takes one item only.
    """
    settings = predictor.backend.settings
    signature = predictor.status().signature
    item: Any = "text"
    if settings.golden:
        given = to_plain(settings.golden[0].input)
        if not isinstance(given, dict | list):
            item = given
        elif mode != "stream":
            return {"inputs" if isinstance(given, dict) else "items": given}
    elif settings.runtime in _VISION:
        item = {"b64": _PIXEL}
    elif signature is not None and signature.inputs and runs_tensors(predictor):
        if mode == "predict":
            return {"inputs": tensors_example(signature)}
        item = {spec.name: _row(spec) for spec in signature.inputs}
    return {"items": [item]} if mode == "batch" else {"item": item}


def tensors_example(signature: Signature) -> dict[str, Any]:
    """One row of zeros for each input."""
    return {spec.name: _rows(spec) for spec in signature.inputs}


def takes_files(predictor: Predictor) -> Files | None:
    """What files the model takes, as far as its settings tell; None for one of tensors alone."""
    if predictor.backend.settings.runtime in _VISION:
        return Files("Picture", _PICTURES)
    return None if runs_tensors(predictor) else Files("File", "")


def draws(predictor: Predictor) -> bool:
    """The answers are objects on a picture, so far as the settings tell."""
    return predictor.backend.settings.runtime in _VISION


def runs_tensors(predictor: Predictor) -> bool:
    """The model takes tensors alone: nothing of the user's own makes them of something else."""
    settings = predictor.backend.settings
    if settings.runtime is None:
        return settings.model is not None or settings.backend.endswith(".DummyBackend")
    return settings.runtime in _TENSORS


def _rows(spec: TensorSpec) -> Any:
    shape = [1 if length < 0 else length for length in spec.batch_shape]
    zero: Any = {"bool": False, "str": "text", "bytes": {"b64": ""}}.get(
        spec.dtype, 0 if "int" in spec.dtype else 0.0
    )
    if math.prod(shape) > _MOST:
        # More than anybody would read; a .npy file in base64 stands for it.
        return {"b64": _npy(spec, shape)}
    return _nested(zero, shape)


def _row(spec: TensorSpec) -> Any:
    return _rows(TensorSpec(spec.name, spec.dtype, spec.row_shape, None))


def _nested(value: Any, shape: list[int]) -> Any:
    for length in reversed(shape):
        value = [value] * length
    return value


def _npy(spec: TensorSpec, shape: list[int]) -> str:
    if math.prod(shape) > 4096 or spec.dtype in ("str", "bytes"):
        return ""
    import base64

    import numpy as np

    from django_inference.wire.npy import write_npy

    return base64.b64encode(write_npy(np.zeros(shape, spec.dtype))).decode("ascii")
