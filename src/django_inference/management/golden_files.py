"""Golden answers from a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from django.core.management.base import CommandError

from django_inference.specs import Golden

_FORM = "a list of [input, expected answer, tolerance]"
_ARRAYS = "arrays 'input.NAME' and 'expected.NAME', and perhaps a number 'tolerance'"


def read_golden(name: str) -> tuple[Golden, ...]:
    """Read golden answers.

    Args:
        name: `.json`: as `GOLDEN` in the settings. `.npz`: one question, the arrays
            `input.NAME` and `expected.NAME` of named tensors, and `tolerance`.

    Raises:
        CommandError: it cannot be read, or holds none.
    """
    path = Path(name)
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as archive:
                return (_of_arrays(dict(archive)),)
        found = msgspec.json.decode(path.read_bytes(), type=tuple[Golden, ...])
    except OSError as error:
        raise CommandError(f"--golden {name}: {error.strerror or error}") from error
    except (ValueError, LookupError) as error:
        wanted = _ARRAYS if path.suffix == ".npz" else _FORM
        raise CommandError(f"--golden {name}: expected {wanted}: {error}") from error
    if not found:
        raise CommandError(f"--golden {name}: there is no golden answer in it.")
    return found


def _of_arrays(arrays: dict[str, Any]) -> Golden:
    parts: dict[str, dict[str, Any]] = {"input": {}, "expected": {}}
    for key, array in arrays.items():
        kind, _, name = key.partition(".")
        if key != "tolerance":
            parts[kind][name] = array
    if not all(parts.values()):
        raise ValueError(f"it has {', '.join(map(repr, arrays)) or 'nothing'}")
    return Golden(parts["input"], parts["expected"], float(arrays.get("tolerance", 0.0)))
