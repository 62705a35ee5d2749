"""What a method of an estimator returns, as named outputs with a row for each row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from django_inference.tensors import Tensors

#: Names of the arrays that a method returns as a tuple.
_NAMED = {"kneighbors": ("distances", "indices")}


class NoRows(ValueError):
    """What a method returns cannot be divided among the rows that were asked for."""


def outputs_of(method: str, answer: Any, rows: int) -> Tensors:
    """The outputs by name.

    Args:
        method: that has answered.
        answer: an array, dense or sparse; a data frame; or several of them.
        rows: that it was asked for.

    Raises:
        NoRows: the answer has not one part of one shape for each row.
    """
    parts = list(answer) if isinstance(answer, tuple | list) else None
    if parts is None:
        return {"y": _array(method, answer, rows)}
    if isinstance(answer, tuple) and method == "decision_path":
        raise NoRows(
            "decision_path() of several trees returns one matrix for all of them and where each "
            "begins, which is no answer to a row: apply() gives the leaves of each row."
        )
    if parts and not hasattr(parts[0], "__array__") and not hasattr(parts[0], "toarray"):
        return {"y": _array(method, parts, rows)}
    names: tuple[str, ...] = _NAMED.get(method, ())
    if len(names) != len(parts):
        names = tuple(f"y{place}" for place in range(len(parts)))
    return {name: _array(method, part, rows) for name, part in zip(names, parts, strict=True)}


def _array(method: str, value: Any, rows: int) -> Any:
    import numpy as np

    array = value.toarray() if hasattr(value, "toarray") else np.asarray(value)
    if array.ndim == 0 or len(array) != rows:
        found = len(array) if array.ndim else "no"
        raise NoRows(f"{method}() returned {found} rows for {rows}: it answers no single row.")
    if array.dtype.kind == "O" and any(map(_has_values, array.ravel()[:100])):
        raise NoRows(
            f"{method}() returns another number of values for each row, which no array holds: "
            "take a method with as many for every row, such as kneighbors()."
        )
    return array.astype(object) if array.dtype.kind in "UT" else array


def _has_values(value: Any) -> bool:
    return hasattr(value, "__len__") and not isinstance(value, str | bytes)
