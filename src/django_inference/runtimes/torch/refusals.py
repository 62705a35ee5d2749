"""Which of PyTorch's errors are about the inputs of a run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from django_inference.runtimes.refusals import refusal

if TYPE_CHECKING:
    from django_inference.tensors import Tensors

#: PyTorch has no type for them, and raises what any code raises: only its own sentences tell.
_KINDS = (RuntimeError, IndexError, ValueError, AssertionError, TypeError)
_SENTENCES = (
    # An index beyond a table, such as the id of a token that the model has not.
    "index out of range in self",
    r"[Ii]ndex -?\d+ is out of bounds for dimension",
    r"takes value -?\d+ which is not in the valid range",
    "Class values must be smaller than num_classes",
    # A type that the weights cannot be multiplied with.
    "must have the same dtype",
    "to have one of the following scalar types",
    r"expected scalar type \w+ but found",
    r"Input type \(.*?\) and (?:bias|weight) type",
    "all inputs must share same datatype",
    "input dtype .* does not match weight dtype",
    r"not implemented for '(?:Long|Int|Short|Char|Byte|Bool)'",
    "Input dtype must be either a floating point or complex dtype",
    "is only applicable to index tensor",
    # Shapes that do not fit the weights or each other.
    "shapes cannot be multiplied",
    "The size of tensor a",
    "Sizes of tensors must match",
    r"expected input\[.*\] to have \d+ channels",
    "Kernel size can't be greater than actual input size",
    r"Expected \d+D(?: \(unbatched\))? or \d+D",
    "Expected input to be 2D or 3D",
    r"input\.size\(-1\) must be equal to input_size",
    "Given normalized_shape=",
    "running_mean should contain",
    r"shape '.*' is invalid for input of size",
    r"batch\d must be a 3D tensor",
    "was expecting embedding dimension of",
    "Guard failed: ",
)
_OF_THE_INPUT = re.compile(f"^.*(?:{'|'.join(_SENTENCES)}).*$", re.MULTILINE)
#: The interpreter of TorchScript puts the name of the error before its message.
_NAME = re.compile(r"^(?:builtins: )?\w+Error: ")


@contextmanager
def refusals(inputs: Tensors) -> Iterator[None]:
    """Raise `InvalidInput` where PyTorch says that the inputs do not fit.

    Args:
        inputs: of the run.

    Raises:
        InvalidInput: instead of PyTorch's error.
    """
    try:
        yield
    except _KINDS as error:
        found = _OF_THE_INPUT.search(str(error))
        if found is None:
            raise
        raise refusal(inputs, _NAME.sub("", found[0].strip())) from error
