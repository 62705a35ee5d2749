"""Lists within lists in a JSON document whose types and shapes are not said in it.

Where they are nothing but numbers, these are read from the text straight into an array, once it
is known of which type; everything else goes by way of Python's lists.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np

from django_inference.exceptions import InvalidInput
from django_inference.tensors import TensorSpec
from django_inference.wire.bodies import load
from django_inference.wire.datatypes import DTYPES, datatype_named
from django_inference.wire.json_shapes import shape_of
from django_inference.wire.json_tensors import from_json
from django_inference.wire.nesting import Array, dtype_named, flatten, guessed, numbers
from django_inference.wire.texts import is_binary, read_text, read_texts

#: Types whose numbers are read piece by piece, straight into an array.
_WITHOUT_LISTS = frozenset(DTYPES) - {"BOOL"}


class Lists:
    """A value in JSON: lists within lists, or less.

    Args:
        said: JSON that nobody has read yet, which nothing but numbers stays until it is known
            of which type they are; or the plain value.

    Raises:
        InvalidInput: it is no JSON.
    """

    def __init__(self, said: Any) -> None:
        self._said = said
        self._shape: tuple[int, ...] | None = None
        if isinstance(said, bytes):
            self._shape = shape_of(said)
            if self._shape is None:
                self._said = load(said, Any)

    @property
    def is_numbers(self) -> bool:
        """There is nothing but numbers in it, and it has not been read yet."""
        return self._shape is not None

    @property
    def rows(self) -> int:
        """The length of the outermost list; 1 where it is none."""
        if self._shape is not None:
            return self._shape[0]
        return len(self._said) if isinstance(self._said, list) else 1

    def read(self) -> Any:
        """The plain value.

        Raises:
            InvalidInput: it is no JSON.
        """
        return self._said if self._shape is None else load(self._said, Any)

    def tensor(self, name: str, spec: TensorSpec | None) -> Array:
        """An array of it, of the type that the model takes where that is known.

        Raises:
            InvalidInput: it is ragged, or of another type.
        """
        if self._shape is not None and spec is not None:
            datatype = datatype_named(spec.dtype)
            # Where the quick way fails, the slow way says what is wrong where.
            with suppress(InvalidInput):
                if datatype in _WITHOUT_LISTS:
                    return from_json(datatype, self._shape, self._said, name)
        return _tensor(name, self.read(), spec)


def _tensor(name: str, value: Any, spec: TensorSpec | None) -> Array:
    flat, shape = flatten(value, name)
    if len(shape) == 1 and None in flat:
        # A value is missing: whether the model takes that is for its columns to say.
        return _objects(flat)
    if spec is not None and spec.dtype in ("str", "bytes"):
        return read_texts(flat, name, spec.dtype).reshape(shape)
    if spec is None and flat and isinstance(flat[0], str | dict):
        return read_texts(flat, name, "str").reshape(shape)
    dtype = dtype_named(spec.dtype) if spec else None
    array = guessed(flat, name) if dtype is None else numbers(flat, dtype, name)
    return array.reshape(shape)


def _objects(values: list[Any]) -> Array:
    array = np.empty(len(values), dtype=object)
    array[:] = [read_text(each, "") if is_binary(each) else each for each in values]
    return array
