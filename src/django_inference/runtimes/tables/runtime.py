"""What the runtimes of tables share: what goes in, what comes out, and whose mistake it is."""

from __future__ import annotations

import re
from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from django_inference.exceptions import InvalidInput
from django_inference.runtimes.base import TensorRuntime
from django_inference.runtimes.tables.answers import NoRows, outputs_of
from django_inference.tensors import Signature, TensorSpec

if TYPE_CHECKING:
    from django_inference.runtimes.tables.columns import Column, Table
    from django_inference.tensors import Tensors

#: As numpy writes a type, which is no word of the caller's.
_DTYPE = re.compile(r"dtype\('[<>=|]?(\w+)'\)")


class TableRuntime(TensorRuntime):
    """A model over named columns, or over an array `x` where it knows no names."""

    _method: str = "predict"
    _example: Any = None

    def predict(self, inputs: Tensors) -> Tensors:
        """Call the model once.

        Args:
            inputs: an array of one axis for each column; or `x`, of two, with the columns in
                the model's own order.

        Raises:
            InvalidInput: it takes no missing values or infinities, and there are some.
        """
        if self.table is not None and inputs.keys() == {"x"} and "x" not in self.table.names:
            x = inputs["x"]
            inputs = {name: x[:, place] for place, name in enumerate(self.table.names)}
        try:
            answer = self._answer(inputs)
        except (ValueError, TypeError) as error:
            # Many models take no such thing, and say so.
            if where := _not_finite(inputs):
                reason = _DTYPE.sub(r"\1", str(error).partition("\n")[0])
                raise InvalidInput(f"{where}: {reason}") from error
            raise
        return outputs_of(self._method, answer, _rows(inputs))

    def warmup(self) -> Any:
        """A row that the model has taken when it was loaded."""
        return self._example

    @abstractmethod
    def _answer(self, inputs: Tensors) -> Any:
        """What the framework returns."""

    def _declare(self, inputs: tuple[TensorSpec, ...]) -> None:
        """Set the signature: a model does not declare what it returns, so it is tried.

        Raises:
            ValueError: what it returns is no answer to single rows.
        """
        outputs: tuple[TensorSpec, ...] = ()
        try:
            # Two sizes, since a length may equal one of them by chance.
            for rows in (3, 2):
                tried = self.predict(_tried(self.table, inputs, rows))
            outputs = tuple(_spec(name, array) for name, array in tried.items())
            if self.table is not None:
                self._example = self.table.example()
        except NoRows:
            raise
        except Exception:
            # Not every model takes this: then its outputs stay undeclared.
            outputs = ()
        self.signature = Signature(inputs, outputs)


def _tried(table: Table | None, inputs: tuple[TensorSpec, ...], rows: int) -> Tensors:
    """Rows that the model takes, so far as is known: all alike."""
    import numpy as np

    if table is not None:
        return {column.name: _repeated(column, rows) for column in table.columns}
    return {
        spec.name: np.full(
            (rows, *spec.shape[1:]),
            "" if spec.dtype == "str" else 0,
            object if spec.dtype == "str" else spec.dtype,
        )
        for spec in inputs
    }


def _repeated(column: Column, rows: int) -> Any:
    import numpy as np

    if column.kind in ("date", "instant"):
        return np.full(rows, np.datetime64("2000-01-01"), column.dtype)
    dtype = column.spec.dtype
    is_plain = dtype != "str" and column.kind != "category"
    return np.full(rows, column.example, dtype if is_plain else object)


def _rows(inputs: Tensors) -> int:
    return len(next(iter(inputs.values())))


def _not_finite(inputs: Tensors) -> str:
    """Which inputs have values that are missing or infinite, in words; empty where none has."""
    import numpy as np

    gaps, infinities = [], []
    for name, tensor in inputs.items():
        if tensor.dtype.kind in "fmMO" and any(
            value is None or value != value for value in tensor.ravel()
        ):
            gaps.append(repr(name))
        elif tensor.dtype.kind == "f" and np.isinf(tensor).any():
            infinities.append(repr(name))
    said = [f"a value is missing in {', '.join(gaps)}"] if gaps else []
    said += [f"a number is infinite in {', '.join(infinities)}"] if infinities else []
    return ", and ".join(said)


def _spec(name: str, array: Any) -> TensorSpec:
    dtype = "str" if array.dtype.kind == "O" else array.dtype.name
    return TensorSpec(name, dtype, (-1, *array.shape[1:]))
