"""What TensorFlow's graphs are fed, held against what they declare, and what they refuse.

Nothing here imports TensorFlow: a tensor of a graph and a TensorSpec say all of this themselves.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from django_inference.exceptions import InvalidInput
from django_inference.runtimes.refusals import refusal
from django_inference.runtimes.texts import checked_texts
from django_inference.words import array_said, dtype_said

if TYPE_CHECKING:
    from django_inference.tensors import Tensors

_FUNCTION = re.compile(r"^\{\{function_node [^}]*\}\} ")
_NODE = "[[{{node "


def checked_inputs(inputs: Tensors, wanted: Mapping[str, Any]) -> Tensors:
    """Return inputs as a graph takes them.

    TensorFlow itself would cut the fractions off where a graph takes whole numbers.

    Args:
        inputs: by name.
        wanted: for each name, what has the `dtype` and `shape` of the graph.

    Raises:
        InvalidInput: a name, type or shape is another one.
    """
    if inputs.keys() != wanted.keys():
        expected, given = ", ".join(wanted) or "none", ", ".join(inputs) or "nothing"
        raise InvalidInput(f"the inputs are {expected}; given: {given}.")
    return {name: _checked(name, inputs[name], each) for name, each in wanted.items()}


@contextmanager
def refusals(kind: type[Exception], inputs: Tensors) -> Iterator[None]:
    """Raise `InvalidInput` where TensorFlow says that an argument is at fault.

    Args:
        kind: TensorFlow's `InvalidArgumentError`: an index beyond a table, shapes that do not
            fit each other, what is no picture or no Example.
        inputs: of the run.

    Raises:
        InvalidInput: instead of TensorFlow's error.
    """
    try:
        yield
    except kind as error:
        raise refusal(inputs, _said(error)) from error
    except UnicodeDecodeError as error:
        # TensorFlow's message, which Python cannot read, quotes the bytes that it refuses.
        raise refusal(inputs, "it cannot read the bytes") from error


def parses_examples(tensor: Any) -> bool:
    """Whether a graph reads a tensor as Example messages, of which it takes a list."""
    return any(each.type.startswith("ParseExample") for each in tensor.consumers())


def _checked(name: str, value: Any, wanted: Any) -> Any:
    import numpy as np

    if wanted.dtype.base_dtype.name == "string":
        value = checked_texts(name, value, decode=False)
    else:
        dtype = np.dtype(wanted.dtype.as_numpy_dtype)
        given = value
        if value.dtype != dtype:
            are_whole = value.dtype.kind in "iu" and dtype.kind in "iu"
            if value.dtype.kind != "O" and (
                are_whole or np.can_cast(value.dtype, dtype, "same_kind")
            ):
                with np.errstate(over="ignore"):
                    value = value.astype(dtype)
            else:
                raise _wrong_type(name, dtype.name, given)
            if are_whole and not np.array_equal(value, given):
                raise InvalidInput(f"the input {name!r} has a number out of the range of {dtype}.")
    if not wanted.shape.is_compatible_with(value.shape):
        axes = [-1 if axis is None else axis for axis in wanted.shape.as_list()]
        raise InvalidInput(f"the input {name!r} takes the shape {axes}, not {list(value.shape)}.")
    return value


def _wrong_type(name: str, dtype: str, given: Any) -> InvalidInput:
    return InvalidInput(f"the input {name!r} takes {dtype_said(dtype)}, not {array_said(given)}.")


def _said(error: Exception) -> str:
    """The one line of TensorFlow's message that is neither a trace nor the name of a node."""
    lines = str(getattr(error, "message", error)).splitlines() or [""]
    node = next((at for at, line in enumerate(lines) if line.lstrip().startswith(_NODE)), 1)
    return _FUNCTION.sub("", lines[max(0, node - 1)])
