"""Serializers: those that follow from a signature, and the base of those one writes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.settings import api_settings

from django_inference.plain import to_array, to_plain
from django_inference.rest.inputs import AnyInputs, Item
from django_inference.tensors import Signature, TensorSpec
from django_inference.wire.npy import read_npy
from django_inference.words import array_said, dtype_said, suggestion

if TYPE_CHECKING:
    import numpy as np

    Array: TypeAlias = np.ndarray[Any, Any]

_TEXT = ("str", "bytes")


class PredictionSerializer(serializers.Serializer[Any]):
    """Turns the fields of a body into what a predictor is asked, and its result into an answer.

    Any serializer will do: its validated data is then the item. This one is for those that
    have more to say.
    """

    def to_inputs(self, validated_data: dict[str, Any]) -> AnyInputs | Any:
        """Return the item, or `Item`, `Items` or `Inputs`.

        Args:
            validated_data: of the fields.
        """
        return Item(validated_data)

    def to_answer(self, result: Any) -> Any:
        """Turn one result, or the dict of outputs, into what the response shows."""
        return result


class TensorField(serializers.Field[Any, Any, Any, Any]):
    """One tensor of a signature: nested lists, a row for each prediction.

    Bytes (`{"b64": …}` in JSON) are taken for a `.npy` file.

    Args:
        spec: name, dtype and shape.
    """

    default_error_messages = {
        "dtype": "This input takes {expected}, not {given}.",
        "range": "Expected values from {low} to {high} ({expected}); there are some from "
        "{least} to {most}.",
        "shape": "Expected the shape {expected}, given {given}.",
        "empty": "Expected at least one row.",
    }

    def __init__(self, spec: TensorSpec, **kwargs: Any) -> None:
        self.spec = spec
        super().__init__(**kwargs)

    def to_internal_value(self, data: Any) -> Array:
        """Return the array.

        Raises:
            ValidationError: its dtype, range or shape is another one.
        """
        try:
            array = _array(data)
        except ValueError as error:
            raise ValidationError(str(error)) from error
        axis = self.spec.batch_axis
        if axis is not None and array.ndim > axis and not array.shape[axis]:
            self.fail("empty")
        # The shape first: lists of another depth are of another dtype as well.
        self._check_shape(array)
        return self._cast(array)

    def to_representation(self, value: Any) -> Any:
        """Return nested lists."""
        return to_plain(value)

    def _check_shape(self, array: Array) -> None:
        # A batch is cut into the size that the model takes.
        expected = self.spec.batch_shape
        # A tensor without axes may be one whose shape the artifact does not say.
        if expected and (
            array.ndim != len(expected)
            or not all(want in (-1, have) for have, want in zip(array.shape, expected, strict=True))
        ):
            self.fail("shape", expected=list(expected), given=list(array.shape))

    def _cast(self, array: Array) -> Array:
        import numpy as np

        spec, kind = self.spec, array.dtype.kind
        if spec.dtype in _TEXT:
            if kind not in "OSU":
                self.fail("dtype", expected=dtype_said(spec.dtype), given=array_said(array))
            return array
        dtype = np.dtype(spec.dtype)
        if dtype.kind in "iu" and kind in "iu":
            limits = np.iinfo(dtype)
            least, most = int(array.min()), int(array.max())
            if least < limits.min or most > limits.max:
                low, high = int(limits.min), int(limits.max)
                self.fail("range", expected=spec.dtype, low=low, high=high, least=least, most=most)
        elif not np.can_cast(array.dtype, dtype, "same_kind"):
            # Among numbers, null has become NaN.
            is_null = kind == "f" and np.isnan(array).any()
            given = "null" if is_null else array_said(array)
            self.fail("dtype", expected=dtype_said(spec.dtype), given=given)
        # A float that is too large becomes infinite, as in the framework.
        with np.errstate(over="ignore"):
            return array.astype(dtype, copy=False)


class TensorsSerializer(serializers.Serializer[Any]):
    """Named tensors; made by `tensors_serializer`."""

    signature: Signature

    def get_fields(self) -> Any:
        """One for each input. Names of tensors hold dots and colons, which no class has."""
        return {spec.name: TensorField(spec) for spec in self.signature.inputs}

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        """Return the arrays by name.

        Raises:
            ValidationError: with a message for each field.
        """
        mistakes: dict[str, Any] = {}
        if not isinstance(data, Mapping):
            expected = ", ".join(map(str, self.signature.inputs))
            message = f"The inputs must be given by name: {expected}."
            raise ValidationError({api_settings.NON_FIELD_ERRORS_KEY: [message]})
        for name in [name for name in data if name not in self.fields][:10]:
            near = suggestion(name, self.fields)
            mistakes[str(name)] = [f"The model has no input of this name{near}."]
        arrays: dict[str, Any] = {}
        fields: Mapping[str, Any] = self.fields
        for name, field in fields.items():
            if name not in data:
                mistakes[name] = [f"This input is required: {field.spec}."]
                continue
            try:
                arrays[name] = field.run_validation(data[name])
            except ValidationError as error:
                mistakes[name] = error.detail
        if mistakes:
            raise ValidationError(mistakes)
        return arrays


@lru_cache(maxsize=256)
def tensors_serializer(signature: Signature) -> type[TensorsSerializer]:
    """The serializer of the tensors that a model takes."""
    return type("Tensors", (TensorsSerializer,), {"signature": signature})


def as_mapping(value: Any, signature: Signature) -> Any:
    """Name one array alone, where the model has one input."""
    if not isinstance(value, Mapping) and len(signature.inputs) == 1:
        return {signature.inputs[0].name: value}
    return value


def _array(data: Any) -> Array:
    if isinstance(data, bytes):
        data = read_npy(data)
    elif not hasattr(data, "dtype"):
        data = to_array(data)
    if not data.ndim:
        raise ValueError("Expected a list with one entry for each row of the batch.")
    return data  # type: ignore[no-any-return]
