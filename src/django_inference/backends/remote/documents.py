"""Models of this project that take items, called from another machine.

The protocol knows named tensors only. A server of this project says of such a model that it
takes `items` and gives `results`: one JSON document for each, or the places of axis 0 where the
items are arrays of numbers.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

from django_inference.exceptions import InvalidInput, RemoteError
from django_inference.plain import to_plain
from django_inference.tensors import Signature, Tensors, TensorSpec

ITEMS, RESULTS = TensorSpec("items", "bytes", (-1,)), TensorSpec("results", "bytes", (-1,))
#: Forms that such a server takes, for callers who write them themselves.
FORMS = {"items", "text", "bytes"}


def takes_items(signature: Signature | None) -> bool:
    """Whether the model is one of these."""
    return signature == Signature((ITEMS,), (RESULTS,))


class Documents:
    """One list of items as requests, and their results as one list.

    Args:
        payload: the items; or one of `FORMS` as a named tensor, which is sent as it is.
        most: items of one request.

    Attributes:
        parts: the inputs of each request.

    Raises:
        InvalidInput: an item cannot be sent.
    """

    def __init__(self, payload: Any, most: int) -> None:
        self._is_list = isinstance(payload, list)
        self.parts: list[Tensors] = []
        self._places: list[list[int]] = []
        if not self._is_list:
            if not isinstance(payload, Mapping) or len(payload) != 1 or not payload.keys() <= FORMS:
                raise InvalidInput(
                    "the model takes a list of items, not tensors; for a single item call "
                    "predict_one()."
                )
            self.parts = [{name: np.asarray(value) for name, value in payload.items()}]
            return
        open_parts: dict[Any, list[tuple[int, Any]]] = {}
        for place, item in enumerate(payload):
            is_array = isinstance(item, np.ndarray) and item.dtype.kind in "biuf"
            key = (item.dtype.str, item.shape) if is_array else None
            part = open_parts.setdefault(key, [])
            part.append((place, item if is_array else _document(place, item)))
            if len(part) == most:
                self._add(key, open_parts.pop(key))
        for key, part in open_parts.items():
            self._add(key, part)

    def answer(self, answers: list[Tensors]) -> Any:
        """Put the results of all parts together.

        Raises:
            RemoteError: they are not one for each item, or no documents.
        """
        if not self._is_list:
            return answers[0]
        results: list[Any] = [None] * sum(len(places) for places in self._places)
        for places, outputs in zip(self._places, answers, strict=True):
            found = outputs[RESULTS.name].ravel().tolist() if RESULTS.name in outputs else []
            if len(found) != len(places):
                raise RemoteError(f"there are {len(found)} results for {len(places)} items.")
            for place, document in zip(places, found, strict=True):
                results[place] = _result(document)
        return results

    def _add(self, key: Any, part: list[tuple[int, Any]]) -> None:
        values = [value for _, value in part]
        array: Any
        if key is None:
            array = np.empty(len(values), dtype=object)
            array[:] = values
        else:
            array = np.stack(values)
        self.parts.append({ITEMS.name: array})
        self._places.append([place for place, _ in part])


def result_in(outputs: Tensors) -> Any:
    """The only result of an answer.

    Raises:
        RemoteError: there is another number of them, or it is no document.
    """
    found = outputs[RESULTS.name].ravel().tolist() if RESULTS.name in outputs else []
    if len(found) != 1:
        raise RemoteError(f"there are {len(found)} results for one item.")
    return _result(found[0])


def _document(place: int, item: Any) -> bytes:
    try:
        return msgspec.json.encode(to_plain(item))
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidInput(f"item {place} cannot be sent: {error}") from error


def _result(document: bytes) -> Any:
    try:
        return _with_bytes(msgspec.json.decode(document))
    except (msgspec.DecodeError, binascii.Error, RecursionError, TypeError) as error:
        raise RemoteError(f"a result is no JSON document: {error}") from error


def _with_bytes(value: Any) -> Any:
    if isinstance(value, list):
        return [_with_bytes(each) for each in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {"b64"} and isinstance(value["b64"], str):
        return base64.b64decode(value["b64"], validate=True)
    return {key: _with_bytes(each) for key, each in value.items()}
