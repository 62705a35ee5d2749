"""From data frames and series to what travels: arrays by name, rows by name.

Of any library that narwhals knows, which is imported when one is given, and not before. What
is made of a column does not depend on the library: a missing value in it is NaN among floats,
NaT among times and None among anything else.
"""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from django_inference.exceptions import InvalidInput

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

#: Packages whose objects are looked at; those of others that narwhals can read say so.
_PACKAGES = frozenset(
    [
        *("pandas", "polars", "pyarrow", "modin", "cudf", "dask", "duckdb", "fireducks"),
        *("geopandas", "ibis", "narwhals", "pyspark", "sqlframe"),
    ]
)
_SAYS_SO = ("__narwhals_dataframe__", "__narwhals_lazyframe__", "__narwhals_series__")
_PLAIN = frozenset({"builtins", "numpy", "collections", "torch"})


def is_foreign(value: Any) -> bool:
    """Whether a value is of a library of data frames."""
    kind: Any = type(value)
    return _is_foreign_type(kind)


@lru_cache(maxsize=1024)
def _is_foreign_type(kind: Any) -> bool:
    package = str(kind.__module__).partition(".")[0]
    if package in _PLAIN:
        # What is masked would not be when it has travelled.
        return kind.__name__ in ("MaskedArray", "MaskedConstant")
    return package in _PACKAGES or any(hasattr(kind, name) for name in _SAYS_SO)


def as_payload(value: Any) -> Any:
    """What `predict` is given, with data frames and series in it as arrays and rows by name.

    Raises:
        InvalidInput: one of them cannot be read.
    """
    value = as_tensors(value)
    if isinstance(value, tuple):
        value = list(value)
    return as_items(value) if isinstance(value, list) else value


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
    if type(value).__name__ == "MaskedArray":
        return _unmasked(value)
    native = _read(value)
    if native is None:
        # An array of such a library, which has a length, or a single value.
        listed = getattr(value, "to_pylist", None) or getattr(value, "tolist", None)
        values = listed() if listed is not None and hasattr(value, "__len__") else None
        return _objects(values) if isinstance(values, list) else value
    if not hasattr(native, "columns"):
        return _array(native, "of the series")
    names = _names(native)
    columns = [
        _array(column, name) for name, column in zip(names, native.iter_columns(), strict=True)
    ]
    if _has_names(native):
        return dict(zip(names, columns, strict=True))
    return _side_by_side(columns)


def as_items(values: list[Any]) -> list[Any]:
    """A list in which data frames of one row, and series, are rows by name.

    Raises:
        InvalidInput: a data frame has another number of rows.
    """
    kinds = set(map(type, values))
    for value in values:
        if isinstance(value, dict):
            kinds.update(map(type, value.values()))
    if not any(map(_is_foreign_type, kinds)):
        return values
    return [as_item(value) for value in values]


def as_item(value: Any) -> Any:
    """One row by name, of a data frame of one row or a series that has names.

    Raises:
        InvalidInput: a data frame has another number of rows.
    """
    if isinstance(value, Mapping):
        if any(is_foreign(each) for each in value.values()):
            return {
                name: as_tensors(each) if getattr(each, "shape", None) else _cell(each)
                for name, each in value.items()
            }
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


def _has_names(native: Any) -> bool:
    """Whether the columns have names; pandas numbers those that have none."""
    labels = getattr(native.to_native(), "columns", None)
    return type(labels).__name__ != "RangeIndex"


def _names(native: Any) -> list[str]:
    names = list(native.columns)
    if not _has_names(native):
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
    return _objects(series.to_list())


def _objects(values: list[Any]) -> Array:
    import numpy as np

    array = np.empty(len(values), dtype=object)
    for place, value in enumerate(values):
        array[place] = _cell(value)
    return array


def _unmasked(array: Any) -> Array:
    import numpy as np

    if array.dtype.kind == "f":
        return np.asarray(array.filled(np.nan))
    if not array.mask.any():
        return np.asarray(array)
    found: Array = array.astype(object).filled(None)
    return found


def _missing(series: Any) -> Array:
    import numpy as np

    return np.asarray(series.is_null().to_numpy(), dtype=bool)


def _side_by_side(columns: list[Array]) -> Array:
    import numpy as np

    return np.stack(columns, axis=1) if columns else np.empty((0, 0))


def _cell(value: Any) -> Any:
    """One value in Python's own types; None where it is missing."""
    kind = type(value)
    if value is None or kind.__name__ in ("NAType", "NaTType", "MaskedConstant"):
        return None
    if isinstance(value, float):
        return None if value != value else float(value)
    if isinstance(value, decimal.Decimal):
        return None if value.is_nan() else float(value)
    if hasattr(value, "to_pydatetime"):
        # With nanoseconds it stays what it is, and is refused where it would lose them.
        return value if value.nanosecond else value.to_pydatetime()
    if isinstance(value, datetime.date) or kind.__module__ == "builtins":
        return value
    if hasattr(value, "as_py"):  # a scalar of Arrow
        return _cell(value.as_py())
    return value.item() if kind.__module__ == "numpy" and hasattr(value, "item") else value
