"""From data frames and series to what travels: arrays by name, rows by name.

Of any library that narwhals knows, which is imported when one is given, and not before. What
is made of a column does not depend on the library: a missing value in it is NaN among floats,
NaT among times and None among anything else.
"""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from django_inference.exceptions import InvalidInput

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

#: Packages whose objects are looked at; those of others that narwhals can read say so.
_PACKAGES = frozenset(
    "pandas polars pyarrow modin cudf dask duckdb fireducks geopandas ibis narwhals pyspark "
    "sqlframe".split()
)
_SAYS_SO = ("__narwhals_dataframe__", "__narwhals_lazyframe__", "__narwhals_series__")
_PLAIN = frozenset({"builtins", "numpy", "collections", "torch"})


def is_foreign(value: Any) -> bool:
    """Whether a value is of a library of data frames."""
    kind = type(value)
    package = kind.__module__.partition(".")[0]
    if package in _PLAIN:
        return False
    return package in _PACKAGES or any(hasattr(kind, name) for name in _SAYS_SO)


def as_tensors(value: Any) -> Any:
    """What a data frame, a series, or a mapping that holds some, is in arrays.

    Args:
        value: a data frame becomes arrays by name, and one whose columns have no names one
            array; a series becomes an array. Anything else comes back as it is.

    Raises:
        InvalidInput: a column is of a type that does not travel, or the names are none.
    """
    if isinstance(value, Mapping):
        if any(is_foreign(each) for each in value.values()):
            return {name: as_tensors(each) for name, each in value.items()}
        return value
    if not is_foreign(value):
        return value
    native = _read(value)
    if native is None:
        return value
    if not hasattr(native, "columns"):
        return _array(native, "of the series")
    names = _names(value, native)
    columns = [_array(native[native.columns[place]], name) for place, name in enumerate(names)]
    if _has_names(value):
        return dict(zip(names, columns, strict=True))
    return _side_by_side(columns)


def as_items(values: list[Any]) -> list[Any]:
    """A list in which data frames of one row, and series, are rows by name.

    Raises:
        InvalidInput: a data frame has another number of rows.
    """
    if not any(is_foreign(kind) for kind in _one_of_each(values)):
        return values
    return [as_item(value) for value in values]


def as_item(value: Any) -> Any:
    """One row by name, of a data frame of one row or a series that has names.

    Raises:
        InvalidInput: a data frame has another number of rows.
    """
    if isinstance(value, Mapping):
        if any(is_foreign(each) for each in value.values()):
            return {name: _cell(each) for name, each in value.items()}
        return value
    if not is_foreign(value):
        return value
    index = getattr(value, "index", None)
    if index is not None and not callable(index) and getattr(value, "ndim", 2) == 1:
        # A row of pandas: its values by the names of the columns.
        cells = [_cell(each) for each in value.tolist()]
        names = list(index)
        if names and all(isinstance(name, str) for name in names):
            if len(set(names)) < len(names):
                raise InvalidInput("two values of the row have one name.")
            return dict(zip(names, cells, strict=True))
        return cells
    tensors = as_tensors(value)
    if isinstance(tensors, dict):
        rows = {len(column) for column in tensors.values()}
        if rows - {1}:
            raise InvalidInput(
                f"one row was expected, and the data frame has {max(rows)}: predict() takes many."
            )
        return {name: column[0] for name, column in tensors.items()}
    return _cell(value) if tensors is value else tensors


def rows_of(value: Any) -> list[Any] | None:
    """The rows of a data frame by name; None for anything else.

    Raises:
        InvalidInput: a column is of a type that does not travel.
    """
    if not is_foreign(value):
        return None
    tensors = as_tensors(value)
    if not isinstance(tensors, dict):
        return None
    columns = [
        column.tolist() if column.dtype.kind not in "mM" else list(column)
        for column in tensors.values()
    ]
    return [dict(zip(tensors, row, strict=True)) for row in zip(*columns, strict=True)]


def _one_of_each(values: list[Any]) -> list[Any]:
    """A value of each type, and what is in each mapping."""
    found = list({type(value): value for value in values}.values())
    inner: list[Any] = []
    for value in values:
        if isinstance(value, Mapping):
            inner += value.values()
    return found + list({type(value): value for value in inner}.values())


def _read(value: Any) -> Any:
    """The frame or series as narwhals has it; None where it is neither."""
    import narwhals as nw

    try:
        native: Any = nw.from_native(value, allow_series=True, pass_through=True)
    except Exception as error:
        # Each library has its own words for names that are given twice.
        raise InvalidInput(f"the data frame cannot be read: {error}") from error
    if isinstance(native, nw.LazyFrame):
        native = native.collect()
    return native if isinstance(native, nw.DataFrame | nw.Series) else None


def _has_names(value: Any) -> bool:
    """Whether the columns have names; pandas numbers those that have none."""
    labels = getattr(value, "columns", None)
    return type(labels).__name__ != "RangeIndex"


def _names(value: Any, native: Any) -> list[str]:
    names = list(native.columns)
    if not _has_names(value):
        return [str(name) for name in names]
    for name in names:
        if not isinstance(name, str):
            raise InvalidInput(f"the names of the columns must be texts, and one is {name!r}.")
    return names


def _array(series: Any, name: str) -> Array:
    import narwhals as nw
    import numpy as np

    dtype = series.dtype
    if isinstance(dtype, (nw.Duration, nw.Time, nw.Struct)):
        raise InvalidInput(f"the column {name!r} is of the type {dtype}, which no model takes.")
    is_naive = isinstance(dtype, nw.Datetime) and dtype.time_zone is None
    if (dtype.is_numeric() and not dtype.is_decimal()) or dtype == nw.Boolean or is_naive:
        found = _missing(series)
        if not found.any():
            array = series.to_numpy()
            if array.dtype.kind in "biufM":
                return np.ascontiguousarray(array)
        elif dtype.is_float():
            return np.array(
                [
                    np.nan if gap else value
                    for value, gap in zip(series.to_list(), found, strict=True)
                ],
                dtype=np.float64,
            )
        elif is_naive:
            array = np.asarray(series.to_numpy())
            if array.dtype.kind == "M":
                return array
    values = [_cell(value) for value in series.to_list()]
    array = np.empty(len(values), dtype=object)
    for place, value in enumerate(values):
        array[place] = value
    return array


def _missing(series: Any) -> Array:
    import numpy as np

    return np.asarray(series.is_null().to_numpy(), dtype=bool)


def _side_by_side(columns: list[Array]) -> Array:
    import numpy as np

    return np.stack(columns, axis=1) if columns else np.empty((0, 0))


def _cell(value: Any) -> Any:
    """One value in Python's own types; None where it is missing."""
    kind = type(value)
    if value is None or kind.__name__ in ("NAType", "NaTType"):
        return None
    if isinstance(value, float):
        return None if value != value else float(value)
    if isinstance(value, decimal.Decimal):
        return None if value.is_nan() else float(value)
    if hasattr(value, "to_pydatetime"):
        return value.to_pydatetime(warn=False)
    if isinstance(value, datetime.date) or kind.__module__ == "builtins":
        return value
    if hasattr(value, "as_py"):  # a scalar of Arrow
        return _cell(value.as_py())
    return value.item() if kind.__module__ == "numpy" and hasattr(value, "item") else value
