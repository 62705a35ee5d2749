"""Named tensors: what a model takes and gives.

numpy is imported by the functions that need it, not by this module: a web worker that
has not made a prediction yet has no use for it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import msgspec

if TYPE_CHECKING:
    import numpy as np

Tensors: TypeAlias = "dict[str, np.ndarray[Any, Any]]"

#: The batch axis of every tensor, or of each by its name; None where there is none, and
#: "auto" where the shapes and names of the artifact are to say.
BatchAxis: TypeAlias = "int | Mapping[str, int | None] | Literal['auto'] | None"

#: As in `images float32 [-1, 3, 640, 640]`; a name may hold spaces. `[]` is a single value.
_SPEC = re.compile(r"(\S.*?) (\w+) ?\[((?:-1|\d+)(?:, ?(?:-1|\d+))*)?\]")
_DTYPES = (
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64", "complex64", "complex128", "str", "bytes"),
)


class TensorSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """One named tensor of a signature.

    Attributes:
        name: as the artifact calls it.
        dtype: numpy's name (`float32`, `uint8`, …), `str` for text or `bytes`.
        shape: the length of every axis; -1 where any length fits.
        batch_axis: the axis with one entry for each row of a batch; None for a tensor that
            belongs to the whole call, such as a scalar, a state or a parameter.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    batch_axis: int | None = 0

    def __post_init__(self) -> None:
        """Give a tensor without axes no batch axis."""
        if not self.shape and self.batch_axis is not None:
            msgspec.structs.force_setattr(self, "batch_axis", None)

    @property
    def row_shape(self) -> tuple[int, ...]:
        """The shape of one row: without the batch axis."""
        if self.batch_axis is None:
            return self.shape
        return self.shape[: self.batch_axis] + self.shape[self.batch_axis + 1 :]

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """The shape of any number of rows: with -1 for the batch axis."""
        return tuple(-1 if n == self.batch_axis else axis for n, axis in enumerate(self.shape))

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
                f"{text!r} is not the name, type and shape of a tensor, as in "
                "'images float32 [-1, 3, 640, 640]'."
            )
        name, dtype, axes = found.groups()
        if dtype not in _DTYPES:
            raise ValueError(f"{text!r}: the type is one of {', '.join(_DTYPES)}.")
        return cls(name, dtype, tuple(int(axis) for axis in axes.split(",")) if axes else ())


#: Beside the inputs of a call, the name of the signature that they are for. Clients that say
#: none get the model's own.
SIGNATURE_KEY = "@signature"


class Signature(msgspec.Struct, frozen=True):
    """The tensors that a model takes and gives, in the artifact's order.

    Attributes:
        inputs: what it takes.
        outputs: what it gives.
        name: that the artifact gives it, where it has several.
        others: what else the artifact computes; `SIGNATURE_KEY` in a call asks for one of them.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...] = ()
    name: str = ""
    others: tuple[Signature, ...] = ()

    @property
    def batch_size(self) -> int:
        """The number of rows that the artifact was exported for; -1 when any will do."""
        sizes = {spec.shape[spec.batch_axis] for spec in self.inputs if spec.batch_axis is not None}
        return sizes.pop() if len(sizes) == 1 else -1

    @property
    def has_columns(self) -> bool:
        """Every input is a column with one value for each row, as those of tables are."""
        return has_columns(self.inputs)


def has_columns(specs: Sequence[TensorSpec]) -> bool:
    """Whether every tensor has one value for each row, as the columns of tables have."""
    return bool(specs) and all(spec.shape == (-1,) for spec in specs)
