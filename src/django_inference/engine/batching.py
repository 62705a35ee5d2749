"""Requests, the units they are made of, and which units can share one call of the runtime."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any

from django_inference.exceptions import InferenceError


class Request(ABC):
    """One call on its way through the engine; whoever carries calls subclasses it.

    Args:
        payload: named tensors with the batch on axis 0, one array for the only input, or
            a list of items.
        deadline: `time.monotonic()` after which nobody waits for the answer.
        sent_at: `time.monotonic()` when the caller sent it.
        alone: never share a batch; set on what was in the batch of a worker that died.
    """

    __slots__ = ("alone", "deadline", "payload", "results", "sent_at", "waiting")

    def __init__(self, payload: Any, deadline: float, sent_at: float, alone: bool = False) -> None:
        self.payload = payload
        self.deadline = deadline
        self.sent_at = sent_at
        self.alone = alone
        self.results: list[Any] = []
        #: Units that have no result yet; negative once the request has been answered.
        self.waiting = 0

    @abstractmethod
    def begins(self, batch: int) -> None:
        """Called just before the runtime runs a batch of `batch` units, this one's among them.

        With 1 before the request is prepared, and with 0 when that is done.
        """

    @abstractmethod
    def answer(self, outcome: Any | InferenceError) -> None:
        """Called once, with the result or the error."""


class Unit:
    """What is never split between two batches: some rows of tensors, or one item.

    Args:
        request: that it is a part of.
        index: its place among the units of the request.
        inputs: what the runtime takes.
        rows: how much of `max_batch_size` it fills.
        key: units with equal keys can be joined.
    """

    __slots__ = ("index", "inputs", "key", "request", "rows")

    def __init__(self, request: Request, index: int, inputs: Any, rows: int, key: Any) -> None:
        self.request = request
        self.index = index
        self.inputs = inputs
        self.rows = rows
        self.key = key


def plan(units: Iterable[Unit], max_rows: int) -> Iterator[list[Unit]]:
    """Group units that can be joined, keeping the order of their arrival within a group.

    Args:
        units: of all the requests that wait.
        max_rows: of one batch.
    """
    open_batches: dict[Any, list[Unit]] = {}
    room: dict[Any, int] = {}
    for unit in units:
        key = unit.key
        if unit.request.alone or unit.rows >= max_rows:
            yield [unit]
        elif unit.rows <= room.get(key, 0):
            open_batches[key].append(unit)
            room[key] -= unit.rows
        else:
            if key in open_batches:
                yield open_batches[key]
            open_batches[key] = [unit]
            room[key] = max_rows - unit.rows
    yield from open_batches.values()
