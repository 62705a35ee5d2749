"""The body of a request to predict, as TensorFlow Serving has it, and the tensors in it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import msgspec
import numpy as np

from django_inference.exceptions import InvalidInput
from django_inference.tensors import TensorSpec, has_columns
from django_inference.wire.bodies import load
from django_inference.wire.json_lists import Lists
from django_inference.wire.nesting import Array, flatten
from django_inference.wire.texts import is_binary

Specs = Sequence[TensorSpec]


#: Bytes of a body above which numbers are read piece by piece. It takes a look at the text more,
#: and spares the memory of Python's lists, which is many times the body's.
LONG = 1 << 20


class PredictDocument(msgspec.Struct, kw_only=True):
    """The body of a request to predict.

    Attributes:
        by_rows: it has rows, so that the answer is to be written by rows, too.
        signature_name: of the model's signature; empty for the default one.
        lists: the rows, or the one column; None where there are columns with names.
        columns: by name; None where they have none, or there are rows.
    """

    by_rows: bool
    signature_name: str = ""
    lists: Lists | None = None
    columns: dict[str, Lists] | None = None

    @property
    def rows(self) -> int:
        """How many rows there are, going by the first column."""
        if self.lists is not None:
            return self.lists.rows
        return next((column.rows for column in (self.columns or {}).values()), 0)


class _Unread(msgspec.Struct):
    signature_name: str = ""
    instances: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    inputs: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class _Read(msgspec.Struct):
    signature_name: str = ""
    instances: Any = msgspec.UNSET
    inputs: Any = msgspec.UNSET


_unread = msgspec.json.Decoder(_Unread)


def decode_predict(body: bytes | memoryview) -> PredictDocument:
    """Read the body of a request to predict.

    Raises:
        InvalidInput: it is not JSON, or has not exactly one of `instances` and `inputs`.
    """
    said: _Unread | _Read | None = None
    if len(body) > LONG:
        # Where this fails, it is wrong, and the other way says how; or it has NaN in it.
        with suppress(msgspec.MsgspecError, RecursionError):
            said = _unread.decode(body)
    if said is None:
        said = load(body, _Read)
    by_rows = said.instances is not msgspec.UNSET
    if by_rows == (said.inputs is not msgspec.UNSET):
        raise InvalidInput("the body has to have exactly one of 'instances' and 'inputs'.")
    value = said.instances if by_rows else said.inputs
    document = document_of(value, by_rows=by_rows)
    document.signature_name = said.signature_name
    return document


def document_of(value: Any, *, by_rows: bool) -> PredictDocument:
    """The document of which the rows or the columns are known.

    Args:
        value: as plain values, or as `msgspec.Raw`.
        by_rows: it is the rows.

    Raises:
        InvalidInput: the rows are none.
    """
    if not by_rows:
        columns = value
        if isinstance(value, msgspec.Raw) and bytes(memoryview(value)[:1]) == b"{":
            columns = load(value, dict[str, msgspec.Raw])
        if isinstance(columns, dict) and not is_binary(columns):
            named = {name: Lists(_unwrapped(each)) for name, each in columns.items()}
            return PredictDocument(by_rows=False, columns=named)
    lists = Lists(_unwrapped(value))
    if by_rows and not (lists.is_numbers or (isinstance(lists.read(), list) and lists.rows)):
        raise InvalidInput("the rows have to be a list of one or more.")
    return PredictDocument(by_rows=by_rows, lists=lists)


def tensors_of(document: PredictDocument, specs: Specs = ()) -> dict[str, Array] | Array:
    """The tensors of a request, with the batch on axis 0.

    Args:
        document: as decoded.
        specs: of the model's inputs, whose types the arrays get; without them numbers become
            int64 or float64.

    Returns:
        By name; one array alone where the request names none and neither do the specs.

    Raises:
        InvalidInput: a tensor is ragged, of another type than the model takes, or given in
            some rows only.
    """
    columns, lists = document.columns, document.lists
    if lists is not None and document.by_rows and not lists.is_numbers:
        rows = _columns(lists.read())
        if isinstance(rows, dict):
            columns = {name: Lists(each) for name, each in rows.items()}
    if columns is not None:
        by_name = {spec.name: spec for spec in specs}
        return {name: each.tensor(name, by_name.get(name)) for name, each in columns.items()}
    assert lists is not None
    if len(specs) == 1:
        return {specs[0].name: lists.tensor(specs[0].name, specs[0])}
    if has_columns(specs):
        # Rows in the model's own order, if it is one of columns; else it knows no such name.
        return {"x": _rows(lists.read())}
    if specs:
        expected = ", ".join(map(str, specs))
        raise InvalidInput(f"the inputs have to be given by name: {expected}.")
    return lists.tensor("inputs", None)


def _rows(value: Any) -> Array:
    flat, shape = flatten(value, "x")
    rows = np.empty(len(flat), dtype=object)
    rows[:] = flat
    return rows.reshape(shape)


def _unwrapped(value: Any) -> Any:
    return bytes(value) if isinstance(value, msgspec.Raw) else value


def _columns(rows: list[Any]) -> Any:
    if not rows or not isinstance(rows[0], dict) or is_binary(rows[0]):
        return rows
    names = rows[0].keys()
    for index, row in enumerate(rows):
        if not isinstance(row, dict) or row.keys() != names:
            raise InvalidInput(f"row {index} has not the same names as row 0: {', '.join(names)}.")
    return {name: [row[name] for row in rows] for name in names}
