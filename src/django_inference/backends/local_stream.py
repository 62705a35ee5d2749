"""A stream from a model in the same process."""

from __future__ import annotations

import os
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Protocol

from django_inference.engine.streams import OVER, Stream
from django_inference.exceptions import ModelCrashed

if TYPE_CHECKING:
    from django_inference.engine.thread import ModelThread


class Holder(Protocol):
    """What a stream needs of `LocalBackend`."""

    alias: str

    def sent(self, payload: Any) -> Any:
        """What the model gets of a payload."""

    def put(self, payload: Any, deadline: float, priority: int) -> tuple[ModelThread, Future[Any]]:
        """Have a payload predicted; say by whom."""

    def wait(self, future: Future[Any], deadline: float) -> Any:
        """Wait for an answer, or give it up."""

    async def await_(self, future: Future[Any], deadline: float) -> Any:
        """As `wait`, without holding the event loop."""


class LocalStream:
    """Asks the model's thread for the chunks of one item, one at a time.

    A model that is reloaded or unloaded meanwhile goes on with it to its end.

    Args:
        holder: of the model.
        item: what the runtime's `preprocess` takes.
        priority: index of `specs.PRIORITIES`.
    """

    def __init__(self, holder: Holder, item: Any, priority: int) -> None:
        self._holder = holder
        self._stream = Stream(item)
        self._priority = priority
        self._thread: ModelThread | None = None
        self._pid = 0

    def next(self, deadline: float) -> Any:
        """Wait for the next chunk; `OVER` when there is none."""
        if self._stream.is_over:
            return OVER
        return self._holder.wait(self._put(deadline), deadline)

    async def anext(self, deadline: float) -> Any:
        """As `next`, without holding the event loop."""
        if self._stream.is_over:
            return OVER
        return await self._holder.await_(self._put(deadline), deadline)

    def close(self) -> None:
        """Want no more: the generator is closed on the model's thread."""
        if self._thread is not None:
            self._thread.end(self._stream)

    def _put(self, deadline: float) -> Future[Any]:
        thread = self._thread
        if thread is None:
            self._pid = os.getpid()
            self._stream.item = self._holder.sent(self._stream.item)
            self._thread, future = self._holder.put(self._stream, deadline, self._priority)
            return future
        if self._pid != os.getpid():
            # The thread is the parent's.
            raise ModelCrashed(
                "the stream was cut: it belongs to the process that has opened it.",
                alias=self._holder.alias,
            )
        return thread.put(self._stream, deadline, self._priority)
