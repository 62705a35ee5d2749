"""How two models differ: in their numbers, and in time."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from django_inference.quantization.base import CannotQuantize
from django_inference.tensors import Tensors


class Agreement(NamedTuple):
    """How like one output of two models is, over all samples.

    Attributes:
        cosine: of the angle between the two; 1 where they are equal.
        largest: difference of any number.
        top1: share of rows whose largest number is in the same place; None for what is no
            row of scores.
    """

    cosine: float
    largest: float
    top1: float | None


def agreements(ours: Sequence[Tensors], theirs: Sequence[Tensors]) -> dict[str, Agreement]:
    """Compare the answers of two models, output by output.

    Raises:
        CannotQuantize: one has an output that the other has not, or of another shape, or
            full of NaN.
    """
    found = {}
    for name in ours[0]:
        if name not in theirs[0]:
            known = ", ".join(theirs[0])
            raise CannotQuantize(f"the quantised model has no output {name!r}; it has {known}.")
        pairs = [(one[name], other[name]) for one, other in zip(ours, theirs, strict=True)]
        for one, other in pairs:
            if one.shape != other.shape:
                raise CannotQuantize(
                    f"the output {name!r} has the shape {list(other.shape)} when it is quantised, "
                    f"and {list(one.shape)} else."
                )
        if any(_has_nan(other) and not _has_nan(one) for one, other in pairs):
            raise CannotQuantize(f"the quantised model answers with NaN in {name!r}.")
        if pairs[0][0].dtype.kind in "biuf":
            found[name] = _agreement(pairs)
    return found


def side_by_side(calls: Sequence[Callable[[], Any]], *, rounds: int, seconds: float) -> list[float]:
    """Median milliseconds of each call, made in turns so that a busy machine meets all alike.

    Args:
        calls: to time.
        rounds: of all of them, at the most.
        seconds: after which no other round begins.
    """
    times: list[list[float]] = [[] for _ in calls]
    for call in calls:
        call()
    began = time.perf_counter()
    for _ in range(rounds):
        for call, spent in zip(calls, times, strict=True):
            start = time.perf_counter()
            call()
            spent.append(time.perf_counter() - start)
        if time.perf_counter() - began > seconds:
            break
    return [statistics.median(spent) * 1000 for spent in times]


def _has_nan(array: Any) -> bool:
    return array.dtype.kind == "f" and bool(np.isnan(array).any())


def _agreement(pairs: Iterable[tuple[Any, Any]]) -> Agreement:
    dots = ones = others = 0.0
    largest = 0.0
    equal = rows = 0
    for one, other in pairs:
        a, b = (each.astype(np.float64).ravel() for each in (one, other))
        dots, ones, others = dots + a @ b, ones + a @ a, others + b @ b
        largest = max(largest, float(np.abs(a - b).max(initial=0.0)))
        if one.dtype.kind == "f" and one.ndim == 2 and one.shape[1] > 1:
            equal += int((one.argmax(axis=1) == other.argmax(axis=1)).sum())
            rows += len(one)
    length = (ones * others) ** 0.5
    # Two times nothing is the same; something and nothing are not alike at all.
    cosine = dots / length if length else float(ones == others)
    return Agreement(float(cosine), largest, equal / rows if rows else None)
