"""The types of columns: as the settings give them, and the sentence that asks for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, TypeAlias

from django_inference.runtimes.tables.columns import Column, Kind
from django_inference.words import suggestion

#: A type, or the list of the categories that a column has.
Type: TypeAlias = "str | Sequence[Any]"
#: The option `dtype`: one type for every column, or one for each that is named.
Types: TypeAlias = "Type | Mapping[str, Type] | None"
#: The option `extra_columns`.
Extra: TypeAlias = Literal["refuse", "ignore"]

_KINDS: dict[str, Kind] = {
    "bool": "boolean",
    "boolean": "boolean",
    "str": "text",
    "string": "text",
    "object": "text",
    "date": "date",
    "datetime": "date",
}
_KNOWN = (
    "'float64', 'int64' (or another of numpy's numbers), 'bool', 'str', 'category', "
    "'datetime64[ns]', 'datetime64[ns, UTC]' or a list of categories"
)


def ignores(extra: str) -> bool:
    """Whether the option `extra_columns` has columns ignored that the model does not have.

    Raises:
        ValueError: it is something else.
    """
    if extra not in ("refuse", "ignore"):
        raise ValueError(f"extra_columns is 'refuse' or 'ignore', not {extra!r}.")
    return extra == "ignore"


def typed(
    names: Sequence[str], found: Mapping[str, Column], types: Types, *, guesses: Mapping[str, str]
) -> tuple[Column, ...]:
    """The columns of a model.

    Args:
        names: of its columns, in its own order.
        found: those whose types the fitted object tells.
        types: the option `dtype`, which counts for more.
        guesses: at types of others, for the sentence that asks for them.

    Raises:
        ValueError: a type is not known, or a name is not one of the model's.
    """
    given = types if isinstance(types, Mapping) else dict.fromkeys(names, types)
    for name in given:
        if name not in names:
            raise ValueError(
                f"it was not fitted on a column {name!r}{suggestion(name, names)}; the option "
                f"`dtype` may give the types of {', '.join(names)}."
            )
    columns = []
    untold = False
    for name in names:
        wanted = given.get(name)
        if wanted is not None:
            columns.append(_of_type(name, wanted, found.get(name)))
        elif name in found:
            columns.append(found[name])
        else:
            untold = True
    if untold:
        paste = {
            name: given.get(name)
            or (_type_of(found[name]) if name in found else guesses.get(name, "float64"))
            for name in names
        }
        lacking = [name for name in names if name not in found and given.get(name) is None]
        raise ValueError(
            f"it does not tell the types of its columns {', '.join(lacking)}: give them in "
            f'RUNTIME_OPTIONS, as in {{"dtype": {_written(paste)}}}, where each type is '
            f"{_KNOWN}."
        )
    return tuple(columns)


def _of_type(name: str, wanted: Type, found: Column | None) -> Column:
    if not isinstance(wanted, str):
        known = tuple(wanted)
        unknown = found.unknown if found is not None and found.kind == "category" else "missing"
        return Column(name, "category", known=known, unknown=unknown)
    if wanted == "category":
        if found is not None and found.kind in ("category", "label"):
            return found
        if found is None or found.known is None:
            raise ValueError(
                f"the categories of the column {name!r} are not in the file: give them in the "
                f"option `dtype` as a list, in the order of the training, in place of 'category'."
            )
        return replace(found, kind="category", dtype="")
    kind, dtype = kind_of(wanted)
    if found is not None and found.kind == kind:
        return replace(found, dtype=dtype)
    missing = found.missing if found is not None else Column.missing
    return Column(name, kind, dtype, missing=missing)


def kind_of(wanted: str) -> tuple[Kind, str]:
    """The kind of column that a type means, and the dtype of an array of it.

    Raises:
        ValueError: there is no such type.
    """
    import numpy as np

    if wanted in _KINDS:
        kind = _KINDS[wanted]
        return kind, "datetime64[ns]" if kind == "date" else ""
    base, _, zone = wanted.rstrip("]").partition(", ")
    try:
        dtype = np.dtype(f"{base}]" if zone else wanted)
    except TypeError:
        raise ValueError(f"the type {wanted!r} is not known; it is {_KNOWN}.") from None
    if dtype.kind == "M":
        if zone not in ("", "UTC"):
            raise ValueError(f"times travel in UTC: the type is 'datetime64[ns, UTC]', not {zone}.")
        unit = dtype.name if "[" in dtype.name else "datetime64[ns]"
        return ("instant" if zone else "date"), unit
    kinds: dict[str, Kind] = {"f": "number", "i": "integer", "u": "integer", "b": "boolean"}
    if dtype.kind not in kinds:
        raise ValueError(f"the type {wanted!r} is not known; it is {_KNOWN}.")
    return kinds[dtype.kind], "" if dtype.kind == "b" else dtype.name


def _type_of(column: Column) -> Type:
    if column.kind == "category":
        return list(column.known) if column.known is not None else "category"
    if column.kind == "instant":
        return f"{column.dtype[:-1]}, UTC]"
    return column.dtype if column.kind == "date" else column.spec.dtype


def _written(types: Mapping[str, Any]) -> str:
    import json

    try:
        return json.dumps(types, ensure_ascii=False)
    except TypeError:
        return repr(types)
