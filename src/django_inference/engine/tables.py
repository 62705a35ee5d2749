"""Requests for a model over named columns: whichever way they come, names decide.

| a request is | read as |
|---|---|
| a mapping | columns by name; of one row, its values by name |
| an array with two axes, or lists of rows | the columns in the model's own order |
| one of these under the name `x`, where no column is called so | the same |
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from django_inference.engine.cells import is_missing, said
from django_inference.engine.columns import values_of
from django_inference.engine.fitting import Fitting
from django_inference.exceptions import InvalidInput
from django_inference.runtimes.tables import Table
from django_inference.tensors import Signature, Tensors
from django_inference.words import suggestion

_MOST_NAMES = 20


class TableFitting(Fitting):
    """Turns what a caller sent into one array for each column of a model.

    Args:
        signature: of the model.
        table: its columns.
    """

    def __init__(self, signature: Signature | None, table: Table) -> None:
        super().__init__(signature)
        self._table = table
        self._takes_x = "x" not in table.names or len(table.names) == 1

    def fit(self, payload: Any) -> Tensors:
        """Return the columns of many rows, of the types that the model takes.

        Raises:
            InvalidInput: a name or a value does not fit; the message says which.
        """
        return self._fit(payload, one=False)

    def fit_one(self, row: Any) -> Tensors:
        """As `fit`, for the values of one row."""
        return self._fit(row, one=True)

    def _fit(self, payload: Any, *, one: bool) -> Tensors:
        if isinstance(payload, Mapping) and not self._is_positional(payload, one=one):
            given = self._named(payload)
        else:
            whole = payload["x"] if isinstance(payload, Mapping) else payload
            given = self._in_order(whole, one=one)
        columns = {
            column.name: values_of(column, given[column.name], one=one)
            for column in self._table.columns
        }
        lengths = {name: len(values) for name, values in columns.items()}
        if len(set(lengths.values())) > 1:
            found = ", ".join(f"{name} has {length}" for name, length in lengths.items())
            raise InvalidInput(f"the columns have different numbers of rows: {found}.")
        if 0 in lengths.values():
            raise InvalidInput("the table is empty: its columns have no rows.")
        return columns

    def _is_positional(self, payload: Mapping[str, Any], *, one: bool) -> bool:
        if not self._takes_x or len(payload) != 1 or "x" not in payload:
            return False
        if "x" not in self._table.names:
            return True
        # The only column is called so: its values, unless there is a list around each.
        return not one and isinstance(payload["x"], np.ndarray) and payload["x"].ndim == 2

    def _named(self, payload: Mapping[str, Any]) -> dict[str, Any]:
        table = self._table
        given: dict[str, Any] = dict(payload)
        if table.has_blanks_as_underscores:
            given = {
                name if name in table.names else str(name).replace(" ", "_"): value
                for name, value in payload.items()
            }
            if len(given) != len(payload):
                raise InvalidInput("two columns have names that are one to the model.")
        missing = [name for name in table.names if name not in given]
        extra = [name for name in given if name not in table.names and name not in table.unused]
        if missing:
            raise InvalidInput(
                f"{_columns(missing)} missing{self._meant(missing, extra)}; the model takes "
                f"{_listed(table.names)}."
            )
        if extra and not table.ignores_extra:
            raise InvalidInput(
                f"{_columns(extra)} not known to the model"
                f"{suggestion(extra[0], table.names)}; it takes {_listed(table.names)}."
            )
        return given

    def _meant(self, missing: list[str], extra: list[str]) -> str:
        return f", and {_columns(extra)} not known to the model" if extra else ""

    def _in_order(self, value: Any, *, one: bool) -> dict[str, Any]:
        """Columns by name, of rows whose values are in the model's own order."""
        names = self._table.names
        if isinstance(value, np.ma.MaskedArray):
            value = value.tolist()
        rows = _row(value, len(names)) if one else value
        if isinstance(rows, np.ndarray):
            if rows.ndim == 1 and len(names) == 1:
                rows = rows[:, None]
            if rows.ndim != 2 or rows.shape[1] != len(names):
                raise self._wrong_shape(list(rows.shape))
            found = {name: rows[:, place] for place, name in enumerate(names)}
            return {name: values[0] for name, values in found.items()} if one else found
        if not isinstance(rows, list | tuple):
            raise InvalidInput(f"a table has columns {_listed(names)}, and {said(value)} has none.")
        if len(names) == 1 and not any(isinstance(row, list | tuple | np.ndarray) for row in rows):
            rows = [[row] for row in rows]
        for row in rows:
            if not isinstance(row, list | tuple | np.ndarray) or len(row) != len(names):
                raise self._wrong_shape([len(rows), len(row) if hasattr(row, "__len__") else 1])
        columns = list(zip(*rows, strict=True)) or [()] * len(names)
        if one:
            return {name: values[0] for name, values in zip(names, columns, strict=True)}
        return dict(zip(names, columns, strict=True))

    def _wrong_shape(self, shape: list[int]) -> InvalidInput:
        return InvalidInput(
            f"the model takes {len(self._table.names)} columns, {_listed(self._table.names)}, and "
            f"was given an array of the shape {shape}: columns can be given by name, or all of "
            "them in this order."
        )


def _row(value: Any, width: int) -> Any:
    """One row as rows of which there is one."""
    if isinstance(value, np.ndarray):
        return value[None] if value.ndim == 1 else value.reshape(1, -1) if not value.ndim else value
    if isinstance(value, list | tuple):
        nested = len(value) == 1 and isinstance(value[0], list | tuple)
        return value if nested else [value]
    if width == 1 and (is_missing(value) or isinstance(value, str | bytes | int | float)):
        return [[value]]
    return value


def _columns(names: list[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:_MOST_NAMES])
    return f"the column {shown} is" if len(names) == 1 else f"the columns {shown} are"


def _listed(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:_MOST_NAMES])
    return f"{shown} and {len(names) - _MOST_NAMES} others" if len(names) > _MOST_NAMES else shown
