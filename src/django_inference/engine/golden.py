"""Answers that are known beforehand, held against those of a model that was just loaded."""

from __future__ import annotations

from typing import Any

import numpy as np

from django_inference.engine.warmup import Runs, outcome
from django_inference.exceptions import InferenceError

#: Characters of a value that a message shows.
SHOWN = 400


class GoldenMismatch(Exception):
    """A model does not give an answer that it must give."""


def check_golden(runner: Runs) -> None:
    """Ask the golden questions of the runner's spec.

    Raises:
        GoldenMismatch: an answer differs by more than its tolerance; the message shows both.
    """
    every = runner.spec.golden
    for number, golden in enumerate(every, 1):
        is_batch = isinstance(golden.input, dict | list)
        answer = outcome(runner, golden.input if is_batch else [golden.input])
        place = f"golden answer {number} of {len(every)}"
        if isinstance(answer, InferenceError):
            raise GoldenMismatch(f"{place}: {answer.message}")
        if not is_batch:
            answer = answer[0]
        if not is_close(answer, golden.expected, golden.tolerance):
            raise GoldenMismatch(
                f"{place} differs by more than {golden.tolerance:g}: "
                f"expected {shown(golden.expected)}, got {shown(answer)}."
            )


def is_close(answer: Any, expected: Any, tolerance: float) -> bool:
    """Whether two answers are equal, but for numbers that differ by the tolerance at most.

    NaN equals NaN. Arrays and lists are compared alike.
    """
    if isinstance(expected, dict):
        return (
            isinstance(answer, dict)
            and answer.keys() == expected.keys()
            and all(is_close(answer[key], expected[key], tolerance) for key in expected)
        )
    if expected is None or isinstance(expected, str | bytes):
        return bool(answer == expected)
    try:
        have, want = np.asarray(answer), np.asarray(expected)
    except ValueError:
        have = want = np.asarray(None)
    if have.dtype.kind in "biufc" and want.dtype.kind in "biufc":
        if have.shape != want.shape:
            return False
        return bool(np.allclose(have, want, rtol=0.0, atol=tolerance, equal_nan=True))
    if isinstance(expected, list | tuple | np.ndarray):
        return (
            isinstance(answer, list | tuple | np.ndarray)
            and len(answer) == len(expected)
            and all(is_close(a, e, tolerance) for a, e in zip(answer, expected, strict=True))
        )
    return bool(answer == expected)


def shown(value: Any, most: int = SHOWN) -> str:
    """A value in words, cut short for a message."""
    said = repr(value)
    return said if len(said) <= most else f"{said[:most]}…"
