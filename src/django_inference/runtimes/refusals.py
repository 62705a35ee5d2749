"""What a framework says of inputs that do not fit the model, said to the client."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django_inference.exceptions import InvalidInput
from django_inference.words import array_said

if TYPE_CHECKING:
    from django_inference.tensors import Tensors

#: Inputs that a message describes.
_MOST = 8


def refusal(inputs: Tensors, said: str) -> InvalidInput:
    """The error for inputs that only the run has shown not to fit.

    Args:
        inputs: of the run.
        said: by the framework, in one line.
    """
    given = [
        f"{name}: {array_said(array)} of the shape {list(array.shape)}"
        for name, array in list(inputs.items())[:_MOST]
    ]
    line = said.strip().rstrip(".")
    return InvalidInput(f"the model does not take these inputs ({'; '.join(given)}): {line}.")
