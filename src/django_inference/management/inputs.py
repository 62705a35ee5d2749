"""Files of the command line as inputs of a predictor."""

from __future__ import annotations

import base64
import binascii
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from django.core.management.base import CommandError

from django_inference.handle import Predictor
from django_inference.plain import to_array
from django_inference.wire.npy import is_npy, is_npz, read_npy, read_npz

#: The keys of which a body over HTTP has one.
_KEYS = ("inputs", "items", "item")


@dataclass(frozen=True)
class Question:
    """What a file asks of a predictor.

    Attributes:
        value: as `Predictor.predict` takes it, or one item.
        is_one: it is one item.
    """

    value: Any
    is_one: bool = False

    def ask(self, predictor: Predictor, timeout: float | None) -> Any:
        """Return the answer."""
        if self.is_one:
            return predictor.predict_one(self.value, timeout=timeout)
        return predictor.predict(self.value, timeout=timeout)


def read_input(name: str, *, option: str = "--input") -> Any:
    """Read an input for `Predictor.predict`.

    Raises:
        CommandError: it cannot be read, or is one item.
    """
    question = read_question(name, option=option)
    return [question.value] if question.is_one else question.value


def read_question(name: str, *, option: str = "--input") -> Question:
    """Read what is to be asked, in any form that the endpoints take.

    Args:
        name: `.json`: an object with `inputs`, `items` or `item`, an object of named tensors,
            or an array of items. `.npy`: one tensor. `.npz`: named tensors. Anything else (an
            image, a sound, a text) is a list of one item: its bytes. `-`: any of these from the
            standard input, where the content tells which.
        option: of the command line that names it, for the messages.

    Raises:
        CommandError: it cannot be read.
    """
    path = Path(name)
    try:
        body = sys.stdin.buffer.read() if name == "-" else path.read_bytes()
        suffix = _suffix_of(body) if name == "-" else path.suffix.lower()
        if suffix == ".json":
            return _from_json(parsed(body))
        if suffix in (".npy", ".npz") and not body.startswith((b"\x93NUMPY", b"PK")):
            raise ValueError(f"this is no {suffix} file.")
        if suffix == ".npy":
            return Question(read_npy(body))
        return Question(read_npz(body, None) if suffix == ".npz" else [body])
    except OSError as error:
        raise CommandError(f"{option} {name}: {error.strerror or error}") from error
    except ValueError as error:
        raise CommandError(f"{option} {name}: {error}") from error


def parsed(text: str | bytes) -> Any:
    """Read JSON in which `{"b64": "…"}` stands for bytes.

    Raises:
        ValueError: it is no JSON, or not base64.
    """
    try:
        return json.loads(text, object_hook=_bytes)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _bytes(value: dict[str, Any]) -> Any:
    if len(value) == 1 and isinstance(value.get("b64"), str):
        try:
            return base64.b64decode(value["b64"], validate=True)
        except binascii.Error as error:
            raise ValueError(f'the value of "b64" is not base64: {error}') from error
    return value


def _suffix_of(body: bytes) -> str:
    if is_npy(body):
        return ".npy"
    if is_npz(body):
        return ".npz"
    return ".json" if body.lstrip()[:1] in (b"{", b"[") else ""


def _from_json(value: Any) -> Question:
    if isinstance(value, list):
        return Question(value)
    if not isinstance(value, dict):
        raise ValueError("expected an object of named tensors or an array of items.")
    key = next(iter(value), "")
    if len(value) != 1 or key not in _KEYS:
        return Question(value)
    held = value[key]
    if key == "item":
        return Question(held, is_one=True)
    if key == "items":
        if not isinstance(held, list):
            raise ValueError('expected a list as "items".')
        return Question(held)
    if isinstance(held, dict):
        return Question({name: _tensor(rows) for name, rows in held.items()})
    return Question(_tensor(held))


def _tensor(rows: Any) -> np.ndarray[Any, Any]:
    return read_npy(rows) if isinstance(rows, bytes) else to_array(rows)
