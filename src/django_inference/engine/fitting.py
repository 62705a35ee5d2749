"""Inputs held against a signature before they reach the framework."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from django_inference.engine.axes import Axes
from django_inference.exceptions import InvalidInput
from django_inference.tensors import Signature, Tensors, TensorSpec
from django_inference.words import array_said, dtype_said

_TEXT = {"str", "bytes"}


class Fitting:
    """Turns what a caller sent into the tensors that one model takes.

    Args:
        signature: of the model; None lets everything pass that is a named array.
        axes: the batch axes of the inputs of a model without a signature, where not 0.
    """

    def __init__(self, signature: Signature | None, axes: Axes | None = None) -> None:
        self._signature = signature
        self.axes = Axes.of_specs(signature.inputs) if signature else axes or Axes({})
        self._inputs = tuple(
            (
                spec,
                None if spec.dtype in _TEXT else np.dtype(spec.dtype),
                # What follows the batch; most inputs are held to nothing else.
                spec.shape[1:] if spec.batch_axis == 0 else None,
            )
            for spec in (signature.inputs if signature else ())
        )
        # Where only the batch varies, any two inputs that fit can be joined.
        self._uniform = bool(self._inputs) and all(
            dtype is not None and spec.batch_axis is not None and -1 not in spec.row_shape
            for spec, dtype, _ in self._inputs
        )

    def fit(self, payload: Any) -> Tensors:
        """Return the named tensors, of the signature's types.

        Args:
            payload: arrays or nested lists by name, or one of them alone.

        Raises:
            InvalidInput: a name, dtype or shape does not fit; the message says which.
        """
        if not isinstance(payload, Mapping):
            payload = self._named(payload)
        if self._signature is None:
            return {name: as_array(name, value) for name, value in payload.items()}
        if len(payload) != len(self._inputs):
            self._refuse_names(payload)
        tensors = {}
        for spec, dtype, tail in self._inputs:
            try:
                value = payload[spec.name]
            except KeyError:
                self._refuse_names(payload)
            if value.__class__ is not np.ndarray:
                value = as_array(spec.name, value)
            # numpy takes None for float64 where it compares dtypes.
            if dtype is None or value.dtype != dtype:
                value = _cast(value, dtype, spec)
            is_plain = value.ndim > 0 and value.shape[1:] == tail
            if not is_plain and not _matches(value.shape, spec):
                raise InvalidInput(f"the input {spec} does not take the shape {list(value.shape)}.")
            tensors[spec.name] = value
        return tensors

    def fit_one(self, row: Any) -> Tensors:
        """As `fit`, for one row without the batch axis."""
        if isinstance(row, dict):
            return self.fit({name: self._with_axis(name, value) for name, value in row.items()})
        name = self._inputs[0][0].name if len(self._inputs) == 1 else "item"
        return self.fit(self._with_axis(name, row))

    def lengths(self, tensors: Tensors) -> set[int]:
        """The lengths of the batch axes: one for a batch, none where no tensor has such an axis."""
        lengths = {self.axes.length(name, tensor) for name, tensor in tensors.items()}
        lengths.discard(None)
        return lengths  # type: ignore[return-value]

    def key(self, tensors: Tensors) -> Any:
        """Equal for tensors that can be joined: rows of one shape, and the same parameters."""
        if self._uniform:
            return None
        key = []
        for name in sorted(tensors):
            tensor, axis = tensors[name], self.axes.of(name)
            if axis is None or tensor.ndim <= axis:
                key.append((name, tensor.dtype.str, tensor.shape, _content(tensor)))
            else:
                row = tensor.shape[:axis] + tensor.shape[axis + 1 :]
                key.append((name, tensor.dtype.str, row, b""))
        return tuple(key)

    def _with_axis(self, name: str, value: Any) -> np.ndarray[Any, Any]:
        """Give an input of one row its batch axis, if it has one."""
        array, axis = as_array(name, value), self.axes.of(name)
        if axis is None:
            return array
        # A row with too few axes is refused by `fit`.
        return np.expand_dims(array, min(axis, array.ndim))

    def _named(self, value: Any) -> dict[str, Any]:
        if self._signature is None:
            raise InvalidInput("the model declares no inputs, so they must be given by name.")
        if len(self._inputs) != 1:
            raise InvalidInput(f"the inputs must be given by name: {self._expected()}.")
        return {self._inputs[0][0].name: value}

    def _refuse_names(self, payload: Mapping[str, Any]) -> None:
        given = ", ".join(sorted(map(str, payload))) or "nothing"
        raise InvalidInput(f"the inputs are {self._expected()}; given: {given}.")

    def _expected(self) -> str:
        return ", ".join(str(spec) for spec, *_ in self._inputs)


def as_array(name: str, value: Any) -> np.ndarray[Any, Any]:
    """Turn nested lists into an array.

    Raises:
        InvalidInput: their lengths differ.
    """
    try:
        array = np.asarray(value)
        if array.dtype.kind not in "SU" or isinstance(value, np.ndarray):
            return array
        objects = np.array(value, dtype=object)
    except ValueError as error:
        if "inhomogeneous" not in str(error):
            raise InvalidInput(f"the input {name!r} cannot be read as an array: {error}") from error
        raise InvalidInput(
            f"the input {name!r} has lists of different lengths, or lists beside other values."
        ) from error
    # Such an array has no zeros at the end of a text, and turns the 1 in ["a", 1] into one.
    is_exact = len(set(map(type, objects.flat))) == 1
    return array if is_exact and bool((array == objects).all()) else objects


def shapes(tensors: Tensors) -> str:
    """The names and shapes of tensors, for a message."""
    return ", ".join(f"{name} {list(value.shape)}" for name, value in tensors.items())


def _content(tensor: np.ndarray[Any, Any]) -> bytes:
    """A digest of values, for a parameter that requests must have in common."""
    data = repr(tensor.tolist()).encode() if tensor.dtype.hasobject else tensor.tobytes()
    return hashlib.blake2b(data, digest_size=16).digest()


def _matches(shape: tuple[int, ...], spec: TensorSpec) -> bool:
    # A tensor without axes in the signature may be one whose shape the artifact does not say.
    if not spec.shape:
        return True
    # The batch axis is left out: the batch is cut into the size that the artifact takes.
    return len(shape) == len(spec.shape) and all(
        want in (-1, have) or axis == spec.batch_axis
        for axis, (have, want) in enumerate(zip(shape, spec.shape, strict=True))
    )


def _cast(
    value: np.ndarray[Any, Any], dtype: np.dtype[Any] | None, spec: TensorSpec
) -> np.ndarray[Any, Any]:
    if not value.size and value.dtype.kind == "f":
        # An empty list becomes an array of floats, also where texts or integers are wanted.
        return value.astype(object if dtype is None else dtype)
    if dtype is None:
        if value.dtype.kind not in "OSUT":
            raise _wrong_type(value, spec)
        for each in value.ravel() if value.dtype.kind == "O" else ():
            if not isinstance(each, str | bytes):
                found = "null" if each is None else f"a value of the type {type(each).__name__}"
                raise InvalidInput(f"the input {spec.name!r} takes texts, and was given {found}.")
        return value
    if dtype.kind in "iu" and value.dtype.kind in "iu":
        # JSON has one kind of integer: what fits is taken, what would wrap is refused.
        limits = np.iinfo(dtype)
        if value.size and not (limits.min <= value.min() and value.max() <= limits.max):
            raise InvalidInput(
                f"the input {spec.name!r} takes {dtype_said(spec.dtype)} from {limits.min} to "
                f"{limits.max}; the numbers given are from {value.min()} to {value.max()}."
            )
    elif not np.can_cast(value.dtype, dtype, "same_kind"):
        raise _wrong_type(value, spec)
    # A float that is too large becomes infinite, as in the framework; no need to warn.
    with np.errstate(over="ignore"):
        return value.astype(dtype)


def _wrong_type(value: np.ndarray[Any, Any], spec: TensorSpec) -> InvalidInput:
    return InvalidInput(
        f"the input {spec.name!r} takes {dtype_said(spec.dtype)}, not {array_said(value)}."
    )
