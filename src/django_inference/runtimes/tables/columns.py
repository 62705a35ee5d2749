"""The columns of a table: their names, their types and the values that are known."""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import Any, Literal, TypeAlias

from django_inference.tensors import TensorSpec

#: A category has one of a fixed list of values, and reaches the framework as such; `label` is a
#: text or a whole number, as CatBoost takes them.
Kind: TypeAlias = Literal[
    "number", "integer", "boolean", "text", "category", "label", "date", "instant"
]

#: What becomes of a value that is not among the known ones: the caller is refused, it counts as
#: missing, or the framework has an answer of its own.
Unknown: TypeAlias = Literal["refuse", "missing", "pass"]

_NAMES: dict[Kind, str] = {
    "number": "numbers",
    "integer": "whole numbers",
    "boolean": "booleans",
    "text": "texts",
    "category": "categories",
    "label": "texts or whole numbers",
    "date": "dates",
    "instant": "times with their zone",
}


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        name: as the model knows it.
        kind: of its values.
        dtype: of an array of them, by numpy's name; for dates with its unit. Empty for others.
        known: the values that the model has seen, in its own order; None where any will do.
        unknown: what becomes of others.
        missing: what the framework expects in the place of a missing value that is no number.
        takes_missing: a value may be missing; where it may not, the caller is refused.
    """

    name: str
    kind: Kind
    dtype: str = ""
    known: tuple[Any, ...] | None = None
    unknown: Unknown = "pass"
    missing: None | float = math.nan
    takes_missing: bool = True

    @property
    def wants(self) -> str:
        """What the column takes, in words."""
        kinds = {type(value) for value in self.known or ()}
        if self.kind == "category" and kinds:
            return "numbers" if kinds <= {bool, int, float} else "texts"
        return _NAMES[self.kind]

    @property
    def spec(self) -> TensorSpec:
        """The column as an input of the model. Dates travel as texts, in ISO 8601."""
        return TensorSpec(self.name, self._dtype(), (-1,))

    @property
    def example(self) -> Any:
        """A value that the model takes, so far as is known."""
        if self.known:
            return self.known[0]
        if self.kind in ("date", "instant"):
            return date(2000, 1, 1).isoformat() + ("T00:00:00Z" if self.kind == "instant" else "")
        return {"text": "", "label": "", "boolean": False, "integer": 0}.get(self.kind, 0.0)

    @cached_property
    def places(self) -> dict[Hashable, int]:
        """The place of each known value in their order."""
        return {value: place for place, value in enumerate(self.known or ())}

    def _dtype(self) -> str:
        if self.kind in ("number", "integer"):
            return self.dtype or ("float64" if self.kind == "number" else "int64")
        if self.kind == "boolean":
            return "bool"
        kinds = {type(value) for value in self.known or ()}
        if self.kind == "category" and kinds:
            if kinds <= {bool}:
                return "bool"
            if kinds <= {int}:
                return "int64"
            if kinds <= {int, float}:
                return "float64"
        return "str"


@dataclass(frozen=True)
class Table:
    """What a model over columns takes.

    Attributes:
        columns: in the model's own order.
        unused: names that the model was fitted with and does not look at: they may be there.
        ignores_extra: other names may be there, too.
        has_blanks_as_underscores: the framework has written names so when it was trained.
    """

    columns: tuple[Column, ...]
    unused: frozenset[str] = frozenset()
    ignores_extra: bool = False
    has_blanks_as_underscores: bool = False

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """One input a column."""
        return tuple(column.spec for column in self.columns)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of the columns, in the model's own order."""
        return tuple(column.name for column in self.columns)

    def example(self) -> dict[str, Any]:
        """A row that the model takes, so far as is known."""
        return {column.name: column.example for column in self.columns}
