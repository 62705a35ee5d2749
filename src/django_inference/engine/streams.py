"""Results that are made piece by piece, between the batches of everybody else.

A stream is run by nobody in one go: each chunk is asked for, waits for its turn like any other
request, and is one short run. So a long stream holds up nobody, a caller that reads slowly
costs nothing, and one that has gone away ends the generation.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from django_inference.engine.batching import Request, Unit
from django_inference.engine.failures import OF_THE_MODEL
from django_inference.metrics import StatisticsPage
from django_inference.runtimes.base import BaseRuntime
from django_inference.specs import ErrorReport


class _Over:
    def __repr__(self) -> str:
        return "OVER"


#: What is answered in place of a chunk when there are no more.
OVER: Any = _Over()


class Stream:
    """One item and its chunks; the payload of every request for the next of them.

    Args:
        item: as the caller sent it. It must outlive the first request.

    Attributes:
        chunks: that the runtime makes; None before the first is asked for.
        is_over: no more will come, or nobody wants them. Whoever carries the requests sets
            it from any thread; what is still open is closed by `Streams.close_abandoned`.
    """

    __slots__ = ("chunks", "is_over", "item")

    def __init__(self, item: Any) -> None:
        self.item = item
        self.chunks: Iterator[Any] | None = None
        self.is_over = False

    @property
    def has_begun(self) -> bool:
        """Whether the runtime was asked for a chunk, and may be asked for more."""
        return self.chunks is not None


class Streams:
    """The open streams of one model, on the model's thread.

    Args:
        runtime: loaded.
        page: where their number goes.
        report: told what the model's own code raises while it is closed.
    """

    def __init__(
        self, runtime: BaseRuntime, page: StatisticsPage, report: Callable[[ErrorReport], None]
    ) -> None:
        self._runtime = runtime
        self._page = page
        self._report = report
        self._open: set[Stream] = set()

    def __len__(self) -> int:
        """How many are open: begun, and not over."""
        return len(self._open)

    def units(self, request: Request) -> list[Unit]:
        """The one unit of a request for a chunk: a batch of its own.

        Raises:
            InvalidInput: the runtime does not stream.
        """
        runtime = self._runtime
        if getattr(runtime.stream, "__func__", None) is BaseRuntime.stream:
            # Before `preprocess`, which may find fault with what is no fault of the caller's.
            runtime.stream(None)
        request.alone = True
        return [Unit(request, 0, request.payload, 1, None)]

    def next(self, stream: Stream) -> Any:
        """Make the next chunk; `OVER` where there is none.

        Raises:
            Exception: whatever the runtime raises; the stream is over then.
        """
        if stream.is_over:
            return OVER
        try:
            chunks = stream.chunks
            if chunks is None:
                runtime, item = self._runtime, stream.item
                stream.item = None
                stream.chunks = chunks = iter(runtime.stream(runtime.preprocess(item)))
                self._open.add(stream)
                self._page.streams = len(self._open)
            chunk = next(chunks, OVER)
        except BaseException:
            self._close(stream)
            raise
        if chunk is OVER:
            self._close(stream)
        return chunk

    def close_abandoned(self) -> None:
        """Close those that nobody wants any more."""
        if not self._open:
            # Nearly always; this is called before each batch.
            return
        for stream in [stream for stream in self._open if stream.is_over]:
            # This is the model's own code too, and may hang.
            self._page.run_begins(time.monotonic())
            self._close(stream)
            self._page.run_begins(0.0)

    def close(self) -> None:
        """Close all."""
        for stream in self._open:
            stream.is_over = True
        self.close_abandoned()

    def _close(self, stream: Stream) -> None:
        chunks, stream.chunks = stream.chunks, None
        stream.is_over = True
        self._open.discard(stream)
        self._page.streams = len(self._open)
        # Any iterator will do; a generator that is closed runs its `finally`.
        close = getattr(chunks, "close", None)
        if close is not None:
            try:
                close()
            except OF_THE_MODEL as error:
                # Nobody waits for it any more, but whoever wrote the runtime should know.
                self._report(ErrorReport.of(error))
