"""Answers that are known beforehand, held against those of a model that was just loaded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from django_inference.engine.sending import check_answer
from django_inference.engine.warmup import Runs, outcome
from django_inference.exceptions import InferenceError

if TYPE_CHECKING:
    from django_inference.specs import Golden

#: Characters of a value that a message shows.
SHOWN = 400


class GoldenMismatch(Exception):
    """A model does not give an answer that it must give."""


def check_golden(runner: Runs, every: Sequence[Golden], whence: str = "") -> None:
    """Ask golden questions.

    Args:
        runner: that is asked.
        every: question, with its answer.
        whence: they come, for the message.

    Raises:
        GoldenMismatch: an answer differs by more than its tolerance; the message shows both.
        PredictionFailed: an answer could not be sent to a caller.
    """
    for number, golden in enumerate(every, 1):
        is_batch = isinstance(golden.input, dict | list)
        answer = outcome(runner, golden.input if is_batch else [golden.input])
        place = f"golden answer {number} of {len(every)}{whence}"
        if isinstance(answer, InferenceError):
            raise GoldenMismatch(f"{place}: {answer.message}")
        check_answer(answer, runner.spec.alias)
        if not is_batch:
            answer = answer[0]
        if not is_close(answer, golden.expected, golden.tolerance):
            raise GoldenMismatch(
                f"{place} differs by more than {golden.tolerance:g}: "
                f"expected {shown(golden.expected)}, got {shown(answer)}."
                f"{_most(answer, golden.expected)}"
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


def _most(answer: Any, expected: Any) -> str:
    """Where two answers differ most, for those that are too long to be read."""
    if len(repr(expected)) <= SHOWN and len(repr(answer)) <= SHOWN:
        return ""
    place, have, want = _furthest(answer, expected, "")
    return (
        f" The largest difference is at {place}: {want:g} was expected, not {have:g}."
        if place
        else ""
    )


def _furthest(answer: Any, expected: Any, place: str) -> tuple[str, float, float]:
    """The place, and both numbers; an empty place where there are no two numbers."""
    if isinstance(expected, dict) and isinstance(answer, dict):
        pairs = [(answer[key], expected[key], f"[{key!r}]") for key in expected if key in answer]
        return _largest(_furthest(a, e, place + key) for a, e, key in pairs)
    try:
        have, want = np.asarray(answer), np.asarray(expected)
        gap = np.abs(have.astype(float) - want.astype(float))
    except (TypeError, ValueError):
        have = want = gap = np.empty(0)
    if gap.size and have.shape == want.shape and want.dtype.kind in "biuf":
        where = np.unravel_index(np.nan_to_num(gap, nan=np.inf).argmax(), gap.shape)
        index = f"[{', '.join(map(str, where))}]" if where else ""
        return place + index or "the number", float(have[where]), float(want[where])
    if isinstance(expected, list | tuple) and isinstance(answer, list | tuple):
        pairs = [(a, e, f"[{n}]") for n, (a, e) in enumerate(zip(answer, expected, strict=False))]
        return _largest(_furthest(a, e, place + key) for a, e, key in pairs)
    return "", 0.0, 0.0


def _largest(found: Iterable[tuple[str, float, float]]) -> tuple[str, float, float]:
    return max(
        found, key=lambda each: (bool(each[0]), abs(each[1] - each[2])), default=("", 0.0, 0.0)
    )


def shown(value: Any, most: int = SHOWN) -> str:
    """A value in words, cut short for a message."""
    said = repr(value)
    return said if len(said) <= most else f"{said[:most]}…"
