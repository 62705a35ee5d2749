"""Requests, and the units they are made of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from django_inference.exceptions import InferenceError
from django_inference.specs import NORMAL


class Request(ABC):
    """One call on its way through the engine; whoever carries calls subclasses it.

    Args:
        payload: named tensors, one array for the only input, a list of items, or the
            `Stream` whose next chunk is asked for.
        deadline: `time.monotonic()` after which nobody waits for the answer.
        sent_at: `time.monotonic()` when the caller sent it.
        alone: never share a batch; set on what was in the batch of a worker that died.
        priority: index of `specs.PRIORITIES`; what is more urgent is run first.
        chain: aliases of the predictors whose runs wait for the answer.
    """

    __slots__ = (
        "alone",
        "chain",
        "deadline",
        "payload",
        "priority",
        "results",
        "sent_at",
        "waiting",
    )

    def __init__(
        self,
        payload: Any,
        deadline: float,
        sent_at: float,
        alone: bool = False,
        priority: int = NORMAL,
        chain: tuple[str, ...] = (),
    ) -> None:
        self.payload = payload
        self.deadline = deadline
        self.sent_at = sent_at
        self.alone = alone
        self.priority = priority
        self.chain = chain
        self.results: list[Any] = []
        #: Units that have no result yet; negative once the request has been answered.
        self.waiting = 0

    @property
    def is_abandoned(self) -> bool:
        """Whether the caller has given up, so that nobody waits for the answer."""
        return False

    @abstractmethod
    def begins(self, batch: int) -> None:
        """Called just before the runtime runs a batch of `batch` units, this one's among them.

        With 1 before its items are prepared, and with 0 when that is done.
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
        alone: it shares its batch with no other.
    """

    __slots__ = ("alone", "index", "inputs", "key", "request", "rows")

    def __init__(
        self,
        request: Request,
        index: int,
        inputs: Any,
        rows: int,
        key: Any,
        alone: bool = False,
    ) -> None:
        self.request = request
        self.index = index
        self.inputs = inputs
        self.rows = rows
        self.key = key
        self.alone = alone or request.alone
