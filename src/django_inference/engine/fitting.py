"""Inputs held against a signature before they reach the framework."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from django_inference.exceptions import InvalidInput
from django_inference.tensors import Signature, Tensors, TensorSpec

_TEXT = {"str", "bytes"}


class Fitting:
    """Turns what a caller sent into the tensors that one model takes.

    Args:
        signature: of the model; None lets everything pass that is a named array.
    """

    def __init__(self, signature: Signature | None) -> None:
        self._signature = signature
        self._inputs = tuple(
            (spec, None if spec.dtype in _TEXT else np.dtype(spec.dtype), spec.shape[1:])
            for spec in (signature.inputs if signature else ())
        )
        # Where only the batch varies, any two inputs that fit can be joined.
        self._uniform = bool(self._inputs) and all(
            dtype is not None and -1 not in tail for _, dtype, tail in self._inputs
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
            if value.shape[1:] != tail and not _matches(value.shape, spec.shape):
                raise InvalidInput(f"the input {spec} does not take the shape {list(value.shape)}.")
            tensors[spec.name] = value
        return tensors

    def fit_one(self, row: Any) -> Tensors:
        """As `fit`, for one row without the batch axis."""
        if isinstance(row, dict):
            return self.fit({name: as_array(name, value)[None] for name, value in row.items()})
        return self.fit(as_array("item", row)[None])

    def rows(self, tensors: Tensors) -> int:
        """The length of axis 0, which all the tensors share.

        Raises:
            InvalidInput: they do not, or there is none.
        """
        lengths = {len(tensor) if tensor.ndim else 0 for tensor in tensors.values()}
        if len(lengths) != 1:
            found = ", ".join(f"{name} {list(value.shape)}" for name, value in tensors.items())
            raise InvalidInput(f"axis 0 is the batch and must have one length, not: {found}.")
        rows = lengths.pop()
        if rows == 0:
            raise InvalidInput("the batch is empty: axis 0 of the inputs has no rows.")
        return rows

    def key(self, tensors: Tensors) -> Any:
        """Equal for tensors that can be joined along axis 0."""
        if self._uniform:
            return None
        return tuple(
            (name, tensors[name].dtype.str, tensors[name].shape[1:]) for name in sorted(tensors)
        )

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
        return ", ".join(str(spec) for spec, _, _ in self._inputs)


def as_array(name: str, value: Any) -> np.ndarray[Any, Any]:
    """Turn nested lists into an array.

    Raises:
        InvalidInput: their lengths differ.
    """
    try:
        return np.asarray(value)
    except ValueError as error:
        raise InvalidInput(f"the input {name!r} is not an array: {error}") from error


def _matches(shape: tuple[int, ...], expected: tuple[int, ...]) -> bool:
    # Axis 0 is left out: the runner cuts the batch into the size that the artifact takes.
    return len(shape) == len(expected) and all(
        want in (-1, have) for have, want in zip(shape[1:], expected[1:], strict=True)
    )


def _cast(
    value: np.ndarray[Any, Any], dtype: np.dtype[Any] | None, spec: TensorSpec
) -> np.ndarray[Any, Any]:
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
            raise InvalidInput(f"the input {spec} was given {value.dtype} values out of its range.")
    elif not np.can_cast(value.dtype, dtype, "same_kind"):
        raise _wrong_type(value, spec)
    # A float that is too large becomes infinite, as in the framework; no need to warn.
    with np.errstate(over="ignore"):
        return value.astype(dtype)


def _wrong_type(value: np.ndarray[Any, Any], spec: TensorSpec) -> InvalidInput:
    return InvalidInput(f"the input {spec} does not take {value.dtype} values.")
