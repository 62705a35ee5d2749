"""Named tensors: what a model takes and gives.

numpy is imported by the functions that need it, not by this module: a web worker that
has not made a prediction yet has no use for it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

if TYPE_CHECKING:
    import numpy as np

Tensors: TypeAlias = "dict[str, np.ndarray[Any, Any]]"

#: As in `images float32 [-1, 3, 640, 640]`; a name may hold spaces.
_SPEC = re.compile(r"(\S.*?) (\w+) ?\[((?:-1|\d+)(?:, ?(?:-1|\d+))*)\]")
_DTYPES = (
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64", "complex64", "complex128", "str", "bytes"),
)


class TensorSpec(msgspec.Struct, frozen=True):
    """One named tensor of a signature.

    Attributes:
        name: as the artifact calls it.
        dtype: numpy's name (`float32`, `uint8`, …), `str` for text or `bytes`.
        shape: the length of every axis, the batch first; -1 where any length fits.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]

    def __str__(self) -> str:
        """As in `images float32 [-1, 3, 640, 640]`."""
        return f"{self.name} {self.dtype} {list(self.shape)}"

    @classmethod
    def parse(cls, text: str) -> TensorSpec:
        """Read what `str()` writes.

        Raises:
            ValueError: it is something else.
        """
        found = _SPEC.fullmatch(text)
        if found is None:
            raise ValueError(
                f"{text!r} is not the name, type and shape of a tensor, batch first, as in "
                "'images float32 [-1, 3, 640, 640]'."
            )
        name, dtype, axes = found.groups()
        if dtype not in _DTYPES:
            raise ValueError(f"{text!r}: the type is one of {', '.join(_DTYPES)}.")
        return cls(name, dtype, tuple(int(axis) for axis in axes.split(",")))


class Signature(msgspec.Struct, frozen=True):
    """The tensors that a model takes and gives, in the artifact's order."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...] = ()

    @property
    def batch_size(self) -> int:
        """The number of rows that the artifact was exported for; -1 when any will do."""
        sizes = {spec.shape[0] for spec in self.inputs if spec.shape}
        return sizes.pop() if len(sizes) == 1 else -1

    @property
    def has_columns(self) -> bool:
        """Every input is a column with one value for each row, as those of tables are."""
        return has_columns(self.inputs)


def has_columns(specs: Sequence[TensorSpec]) -> bool:
    """Whether every tensor has one value for each row, as the columns of tables have."""
    return bool(specs) and all(spec.shape == (-1,) for spec in specs)
