"""Which axis of each tensor has an entry for each row of a batch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import numpy as np

from django_inference.tensors import BatchAxis, Signature, Tensors, TensorSpec
from django_inference.words import suggestion


class Axes:
    """The batch axes of tensors by their names.

    Args:
        known: the axis of each, None for a tensor that has none.
        default: of a tensor that is not among them.
    """

    def __init__(self, known: Mapping[str, int | None], default: int | None = 0) -> None:
        self._known = dict(known)
        self._default = default

    @classmethod
    def of_specs(cls, specs: Iterable[TensorSpec]) -> Axes:
        """The axes that a signature says."""
        return cls({spec.name: spec.batch_axis for spec in specs})

    @classmethod
    def declared(cls, option: BatchAxis) -> Axes:
        """What the option `batch_axis` says of a model without a signature."""
        _check(option)
        if isinstance(option, Mapping):
            return cls({name: axis for name, axis in option.items() if axis != "auto"})
        return cls({}, 0 if option == "auto" else option)

    def of(self, name: str) -> int | None:
        """The batch axis of one tensor."""
        return self._known.get(name, self._default)

    def length(self, name: str, tensor: np.ndarray[Any, Any]) -> int | None:
        """How many rows a tensor has; None where it has no batch axis."""
        axis = self._known.get(name, self._default)
        # A runtime may return lists for arrays.
        shape = np.shape(tensor)
        return None if axis is None or len(shape) <= axis else shape[axis]

    def learn(self, name: str, axis: int | None) -> None:
        """Correct the axis of one tensor."""
        self._known[name] = axis


def with_axes(signature: Signature, option: BatchAxis) -> Signature:
    """Return the signature with the batch axes that the user has declared.

    Args:
        signature: with the axes that the runtime has read from the artifact.
        option: `batch_axis` of the runtime.

    Raises:
        ValueError: a name is not in the signature, or a tensor has no such axis.
    """
    _check(option)
    if option == "auto":
        return msgspec.structs.replace(signature, inputs=_by_shapes(signature.inputs))
    if isinstance(option, Mapping):
        names = [spec.name for spec in (*signature.inputs, *signature.outputs)]
        for name in option:
            if signature.outputs and name not in names:
                raise ValueError(
                    f"the option `batch_axis` names {name!r}{suggestion(name, names)}; the tensors "
                    f"of the model are {', '.join(names)}."
                )
    return msgspec.structs.replace(
        signature,
        inputs=tuple(_declared(spec, option) for spec in signature.inputs),
        outputs=tuple(_declared(spec, option) for spec in signature.outputs),
    )


def join(parts: list[Tensors], axes: Axes) -> Tensors:
    """Put tensors together along their batch axes; take what has none from the first part."""
    joined = {}
    for name, first in parts[0].items():
        axis = axes.of(name)
        joined[name] = (
            first if axis is None else np.concatenate([part[name] for part in parts], axis=axis)
        )
    return joined


def cut(tensors: Tensors, axes: Axes, start: int, stop: int) -> Tensors:
    """Return some rows of tensors; what has no batch axis is in every piece."""
    part = slice(start, stop)
    pieces = {}
    for name, tensor in tensors.items():
        axis = axes.of(name)
        if axis == 0:
            tensor = tensor[part]
        elif axis is not None:
            tensor = tensor[(slice(None),) * axis + (part,)]
        pieces[name] = tensor
    return pieces


def take(tensors: Tensors, axes: Axes, order: np.ndarray[Any, Any]) -> Tensors:
    """Return the rows of tensors in another order."""
    return {
        name: tensor
        if axes.length(name, tensor) is None
        else np.take(tensor, order, axis=axes.of(name))
        for name, tensor in tensors.items()
    }


def pad(tensors: Tensors, axes: Axes, missing: int, *, with_zeros: bool = False) -> Tensors:
    """Return tensors with so many rows more: copies of the last one, or zeros.

    Where the last one is of zeros, ones are taken for zeros, so that the two always differ.
    """
    padded = {}
    for name, tensor in tensors.items():
        axis = axes.of(name)
        if axis is not None:
            last = np.take(tensor, [-1], axis=axis)
            if with_zeros:
                last = _other(last)
            filler = np.repeat(last, missing, axis=axis)
            tensor = np.concatenate([tensor, filler], axis=axis)
        padded[name] = tensor
    return padded


def _check(option: Any) -> None:
    said = option.values() if isinstance(option, Mapping) else [option]
    for axis in said:
        is_axis = isinstance(axis, int) and not isinstance(axis, bool) and axis >= 0
        if not (is_axis or axis is None or axis == "auto"):
            raise ValueError(
                f"the option `batch_axis` takes the number of an axis from 0, None or a dict of "
                f"these by the names of tensors, and was given {option!r}."
            )


def _other(row: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    if row.dtype.kind in "OSU":
        return np.full_like(row, "" if any(row.ravel()) else "-")
    return np.zeros_like(row) if row.any() else np.ones_like(row)


def _declared(spec: TensorSpec, option: BatchAxis) -> TensorSpec:
    axis = option.get(spec.name, spec.batch_axis) if isinstance(option, Mapping) else option
    if axis == "auto" or axis == spec.batch_axis or not spec.shape:
        return spec
    if axis is not None and not 0 <= axis < len(spec.shape):
        raise ValueError(
            f"the option `batch_axis` says {axis} of {spec.name!r}, whose shape is "
            f"{list(spec.shape)}: it has no such axis."
        )
    return msgspec.structs.replace(spec, batch_axis=axis)


def _by_shapes(inputs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
    """Tell parameters of the call from rows by the lengths of the axes taken for the batch.

    Beside an input of any number of rows, one of a fixed number has none. Where all numbers
    are fixed and differ, no axis can be the batch of all.
    """
    lengths = {spec.shape[spec.batch_axis] for spec in inputs if spec.batch_axis is not None}
    if len(lengths) < 2:
        return inputs
    is_open = -1 in lengths
    return tuple(
        msgspec.structs.replace(spec, batch_axis=None)
        if spec.batch_axis is not None and not (is_open and spec.shape[spec.batch_axis] == -1)
        else spec
        for spec in inputs
    )
