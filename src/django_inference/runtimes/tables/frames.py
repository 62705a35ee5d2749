"""From the columns of a batch to what a framework takes: a data frame, or an array."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django_inference.runtimes.tables.columns import Column, Table

if TYPE_CHECKING:
    import numpy as np

    from django_inference.tensors import Tensors

    Array = np.ndarray[Any, Any]


def has_pandas() -> bool:
    """Whether data frames can be made."""
    try:
        import pandas  # noqa: F401
    except ImportError:
        return False
    return True


def frame_of(table: Table, inputs: Tensors) -> Any:
    """A data frame of pandas, as the one that the model was fitted on.

    Columns that the model does not look at are empty.
    """
    import pandas

    columns = {column.name: _series(column, inputs[column.name]) for column in table.columns}
    frame = pandas.DataFrame(columns)
    return frame.assign(**dict.fromkeys(table.unused)) if table.unused else frame


def matrix_of(table: Table, inputs: Tensors, dtype: str) -> Array:
    """An array of numbers, in which a category is its place among the known ones."""
    import numpy as np

    columns = [
        _codes(column, inputs[column.name]) if column.kind == "category" else inputs[column.name]
        for column in table.columns
    ]
    return np.stack([np.asarray(column, dtype) for column in columns], axis=1)


def objects_of(table: Table, inputs: Tensors) -> Array:
    """An array of Python's own objects."""
    import numpy as np

    length = len(inputs[table.columns[0].name])
    array = np.empty((length, len(table.columns)), dtype=object)
    for place, column in enumerate(table.columns):
        array[:, place] = _filled(column, inputs[column.name])
    return array


def _series(column: Column, values: Array) -> Any:
    import pandas

    if column.kind == "category":
        known = list(column.known or ())
        return pandas.Categorical([_own(value) for value in values.tolist()], categories=known)
    if column.kind == "instant":
        return pandas.Series(values).dt.tz_localize("UTC")
    if values.dtype.kind != "O":
        return values
    filled = _filled(column, values)
    # pandas makes another value of None, unless it is told to leave objects alone.
    keeps = column.missing is None or column.kind == "label"
    return pandas.Series(filled, dtype=object) if keeps else filled


def _filled(column: Column, values: Array) -> Array:
    """With what the framework expects in the place of missing values."""
    if values.dtype.kind != "O" or column.missing is None:
        return values
    filled = values.copy()
    filled[[value is None for value in values]] = column.missing
    return filled


def _codes(column: Column, values: Array) -> Array:
    import numpy as np

    places = column.places
    found = [places.get(_own(value), np.nan) for value in values.tolist()]
    return np.array(found, dtype=np.float64)


def _own(value: Any) -> Any:
    """A value, or None where it is NaN."""
    return None if isinstance(value, float) and value != value else value
