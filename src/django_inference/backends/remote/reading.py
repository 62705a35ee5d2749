"""The answers of one open gRPC stream, taken one at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from django_inference.engine.streams import OVER


class Reading:
    """Waits in a thread of its own for each answer, so that a wait can be given up.

    No answer is asked for ahead of its caller.

    Args:
        call: of gRPC; an iterator that can be cancelled.
        read: makes of a message what the caller gets; may raise.
        failure: makes of an exception of gRPC's the one to be raised.
    """

    def __init__(
        self, call: Any, read: Callable[[Any], Any], failure: Callable[[Any], Exception]
    ) -> None:
        self._call = call
        self._read = read
        self._failure = failure
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="inference-stream")

    def next(self, deadline: float) -> Any:
        """Wait for the next answer until `time.monotonic()` is that; `OVER` when there is none.

        Raises:
            Failure: there is none, and it is not over.
            TimeoutError: there is none in time.
        """
        try:
            return self._ask().result(max(0.0, deadline - time.monotonic()))
        except BaseException:
            self.close()
            raise

    async def anext(self, deadline: float) -> Any:
        """As `next`, without holding the event loop."""
        try:
            async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                return await asyncio.wrap_future(self._ask())
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Want no more. Does not wait."""
        self._call.cancel()
        self._thread.shutdown(wait=False)

    def _ask(self) -> Future[Any]:
        return self._thread.submit(self._next)

    def _next(self) -> Any:
        try:
            message = next(self._call, OVER)
        except Exception as error:
            raise self._failure(error) from error
        return OVER if message is OVER else self._read(message)
