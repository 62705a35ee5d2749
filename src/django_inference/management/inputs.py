"""Files of the command line as inputs of a predictor."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from django.core.management.base import CommandError


def read_input(name: str, *, option: str = "--input") -> Any:
    """Read an input for `Predictor.predict`.

    Args:
        name: `.json`: an object of named tensors, or an array of items. `.npy`: one
            tensor. `.npz`: named tensors. `-`: JSON from the standard input. Anything else
            (an image, a sound, a text) is one item: its bytes.
        option: of the command line that names it, for the messages.

    Raises:
        CommandError: it cannot be read.
    """
    path = Path(name)
    try:
        if name == "-":
            return _json(sys.stdin.buffer.read(), name, option)
        if path.suffix == ".json":
            return _json(path.read_bytes(), name, option)
        if path.suffix == ".npy":
            return np.load(path, allow_pickle=False)
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as archive:
                return dict(archive)
        return [path.read_bytes()]
    except OSError as error:
        raise CommandError(f"{option} {name}: {error.strerror or error}") from error
    except ValueError as error:
        raise CommandError(f"{option} {name}: {error}") from error


def _json(text: bytes, name: str, option: str) -> Any:
    value = json.loads(text)
    if not isinstance(value, dict | list):
        raise CommandError(
            f"{option} {name}: expected an object of named tensors or an array of items."
        )
    return value
