"""Types that numpy has from an extension only, such as bfloat16, float8 and int4.

A model may declare them. Its callers see, send and get the type of numpy's own that holds all
their values, such as float32, and the engine converts.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import msgspec
import numpy as np

from django_inference.exceptions import InvalidInput
from django_inference.tensors import Signature, Tensors, TensorSpec
from django_inference.values import Array, plain_array, plain_dtype, simplified

_TEXT = ("str", "bytes")


class Dtypes:
    """Converts between what one model declares and what its callers see.

    Args:
        declared: by the runtime.

    Attributes:
        signature: as the callers see it.

    Raises:
        ValueError: a type is none that numpy has, with its extensions or without.
    """

    def __init__(self, declared: Signature | None) -> None:
        self.signature = declared
        self._foreign: dict[str, np.dtype[Any]] = {}
        if declared is None:
            return
        foreign = {spec.name: dtype for spec in declared.inputs if (dtype := _foreign(spec))}
        if foreign or any(map(_foreign, declared.outputs)):
            self._foreign = foreign
            self.signature = msgspec.structs.replace(
                declared,
                inputs=tuple(map(_plain, declared.inputs)),
                outputs=tuple(map(_plain, declared.outputs)),
            )

    def given(self, inputs: Tensors) -> Tensors:
        """What the runtime takes for inputs that fit the signature.

        Raises:
            InvalidInput: a number is none of the declared type.
        """
        if not self._foreign:
            return inputs
        cast = {name: _cast(name, inputs[name], dtype) for name, dtype in self._foreign.items()}
        return inputs | cast

    def taken(self, outputs: Any) -> Any:
        """What the callers get for outputs of the runtime, in types of numpy's own.

        Raises:
            TypeError: there is no such type.
        """
        return {name: _taken(output) for name, output in outputs.items()}


def _taken(output: Any) -> Any:
    if isinstance(output, np.ndarray):
        return plain_array(output)
    return simplified(output) if hasattr(output, "__array__") else output


def _plain(spec: TensorSpec) -> TensorSpec:
    dtype = _foreign(spec)
    if dtype is None:
        return spec
    return msgspec.structs.replace(spec, dtype=plain_dtype(dtype).name)


def _foreign(spec: TensorSpec) -> np.dtype[Any] | None:
    """The dtype of a tensor where it is one of an extension."""
    if spec.dtype in _TEXT:
        return None
    try:
        try:
            np.dtype(spec.dtype)
        except TypeError:
            # Once it is imported, numpy knows its types by their names.
            import_module("ml_dtypes")
        dtype = np.dtype(spec.dtype)
        return None if plain_dtype(dtype) == dtype else dtype
    except (TypeError, ImportError) as error:
        raise ValueError(f"{spec}: numpy has no type {spec.dtype} ({error}).") from error


def _cast(name: str, array: Array, dtype: np.dtype[Any]) -> Array:
    # Too large a number may become another one, and not only infinity.
    with np.errstate(over="ignore", invalid="ignore"):
        cast = array.astype(dtype)
        back = cast.astype(array.dtype)
    if array.dtype.kind in "iu":
        is_well = bool((back == array).all())
    else:
        limit = float(import_module("ml_dtypes").finfo(dtype).max)
        finite = np.isfinite(array)
        is_well = bool((np.isfinite(back) == finite).all() and (abs(array[finite]) <= limit).all())
    if not is_well:
        raise InvalidInput(f"the input {name!r} has numbers that are out of the range of {dtype}.")
    return cast
