"""What a user might name in `RUNTIME`."""

from __future__ import annotations

import functools
from typing import Any

from django_inference.exceptions import InvalidInput
from django_inference.runtimes.base import Runtime


class Upper(Runtime):
    def __init__(self, *, suffix: str = "", times: int = 1) -> None:
        self.suffix = suffix
        self.times = times

    def predict(self, items: list[str]) -> list[str]:
        return [item.upper() * self.times + self.suffix for item in items]


class NoRuntime:
    pass


class Unfinished(Runtime):
    """Without predict()."""


def lengths(items: list[str]) -> list[int]:
    return [len(item) for item in items]


def power(item: float, exponent: int = 2) -> float:
    return float(item**exponent)


def scaled(items: list[float], *, factor: float) -> Any:
    import numpy as np

    return np.asarray(items) * factor


def total(items: list[float]) -> list[float]:
    return [sum(items)]


def nothing(items: list[Any]) -> None:
    return None


def by_name(items: list[str]) -> dict[str, int]:
    return {item: len(item) for item in items}


def picky(items: list[int]) -> list[int]:
    if any(item < 0 for item in items):
        raise InvalidInput("must not be negative")
    return items


async def promised(items: list[Any]) -> list[Any]:
    return items


async def streamed(items: list[Any]) -> Any:
    for item in items:
        yield item


class Promising:
    async def __call__(self, items: list[Any]) -> list[Any]:
        return items


promising = Promising()
partly_promised = functools.partial(promised)
constant = 3


def secretly_async(items: Any) -> Any:
    return promised(items)
