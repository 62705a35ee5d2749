"""Between what callers hand in and the requests that servers take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from django_inference.engine.fitting import Fitting, as_array
from django_inference.exceptions import InvalidInput, RemoteError
from django_inference.tensors import Signature, Tensors


class Batches:
    """One payload as requests, and their answers as one.

    Named tensors are one request, unless `cut` is set. Of a list, the items whose shapes agree
    share requests; an item is one row of the tensors where the model takes batches, and all
    of them where it does not.

    Args:
        payload: a dict of named tensors, one array, or a list of items.
        signature: of the model; None where the server tells none.
        fitting: for that signature.
        most: rows of one request made of items.
        cut: rows of one request made of tensors; None sends them whole.

    Attributes:
        parts: the inputs of each request.

    Raises:
        InvalidInput: the payload does not fit the model; the message says what does not.
    """

    def __init__(
        self,
        payload: Any,
        signature: Signature | None,
        fitting: Fitting,
        most: int,
        cut: int | None,
    ) -> None:
        self._fitting = fitting
        self._is_list = isinstance(payload, list)
        self._has_rows = has_rows(signature)
        self.parts: list[Tensors] = []
        #: Which items each part holds, in order.
        self._places: list[list[int]] = []
        if self._is_list:
            self._share(payload, most)
        else:
            tensors = fitting.fit(payload)
            self.parts = _cut(tensors, cut) if cut and self._has_rows else [tensors]

    def answer(self, answers: list[Tensors]) -> Any:
        """Put the answers to all parts together.

        Raises:
            RemoteError: they have not one row for each item.
        """
        if not self._is_list:
            if len(answers) == 1:
                return answers[0]
            return {name: np.concatenate([each[name] for each in answers]) for name in answers[0]}
        results: list[Any] = [None] * sum(len(places) for places in self._places)
        for places, outputs in zip(self._places, answers, strict=True):
            if not self._has_rows:
                results[places[0]] = outputs
                continue
            for name, output in outputs.items():
                if not output.ndim or len(output) != len(places):
                    raise RemoteError(
                        f"the output {name!r} has the shape {list(output.shape)} for {len(places)} "
                        "items: the model does not answer row by row, so call predict() with "
                        "named tensors."
                    )
            for row, place in enumerate(places):
                results[place] = {name: output[row, ...] for name, output in outputs.items()}
        return results

    def _share(self, items: list[Any], most: int) -> None:
        open_parts: dict[Any, list[tuple[int, Tensors]]] = {}
        for place, item in enumerate(items):
            try:
                row = self._fitting.fit(self._row(item))
            except InvalidInput as error:
                if len(items) > 1:
                    error.message = f"item {place}: {error.message}"
                raise
            if not self._has_rows:
                self._add([(place, row)])
                continue
            key = tuple((name, row[name].dtype.str, row[name].shape[1:]) for name in sorted(row))
            part = open_parts.setdefault(key, [])
            part.append((place, row))
            if len(part) == most:
                self._add(open_parts.pop(key))
        for part in open_parts.values():
            self._add(part)

    def _row(self, item: Any) -> Any:
        if not self._has_rows:
            return item if isinstance(item, Mapping) else as_array("item", item)
        if isinstance(item, Mapping):
            return {name: as_array(name, value)[None] for name, value in item.items()}
        return as_array("item", item)[None]

    def _add(self, part: list[tuple[int, Tensors]]) -> None:
        rows = [row for _, row in part]
        joined = rows[0]
        if len(rows) > 1:
            joined = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
        self.parts.append(joined)
        self._places.append([place for place, _ in part])


def has_rows(signature: Signature | None) -> bool:
    """Whether axis 0 of every input is the batch, as far as a server's metadata tells."""
    if signature is None:
        return True
    return all(spec.shape[:1] in ((-1,), (1,)) for spec in signature.inputs)


def _cut(tensors: Tensors, most: int) -> list[Tensors]:
    rows = max((len(value) for value in tensors.values() if value.ndim), default=0)
    return [
        {name: value[start : start + most] for name, value in tensors.items()}
        for start in range(0, max(rows, 1), most)
    ]
