"""`OPTIONS["fallback"]`: another model answers where the first one cannot, and that is told."""

from __future__ import annotations

import time
from collections.abc import (
    AsyncGenerator,
    Callable,
    Generator,
)
from functools import partial
from typing import Any, TypeAlias

from django_inference.backends.base import BaseBackend
from django_inference.backends.degraded import Degraded, mark
from django_inference.backends.front import Front
from django_inference.backends.patience import CANNOT, Patience
from django_inference.driving import Step, arun, run
from django_inference.engine.streams import OVER
from django_inference.exceptions import InferenceError
from django_inference.specs import FallbackCounts, Priority

Steps: TypeAlias = Generator[Step, Any, Any]


class WithFallback:
    """Asks the first, and where it cannot answer the other, within the same deadline.

    Args:
        first: whose `OPTIONS` name the other.
        other: finds the other; called when it is needed.
    """

    def __init__(self, first: BaseBackend, other: Callable[[], Front]) -> None:
        self.options = first.options
        self.concurrency = first.concurrency
        self._first = first
        self._other = other
        self._patience = Patience(first.alias, first.options.fallback)

    @property
    def counts(self) -> FallbackCounts:
        """What the fallback has done in this process."""
        return self._patience.counts

    def predict(
        self, inputs: Any, *, timeout: float | None = None, priority: Priority = "normal"
    ) -> Any:
        """Predict a batch."""
        return run(self._steps("predict", inputs, timeout, priority))

    async def apredict(
        self, inputs: Any, *, timeout: float | None = None, priority: Priority = "normal"
    ) -> Any:
        """As `predict`, to be awaited."""
        return await arun(self._steps("predict", inputs, timeout, priority))

    def predict_one(
        self, item: Any, *, timeout: float | None = None, priority: Priority = "normal"
    ) -> Any:
        """Predict one item."""
        return run(self._steps("predict_one", item, timeout, priority))

    async def apredict_one(
        self, item: Any, *, timeout: float | None = None, priority: Priority = "normal"
    ) -> Any:
        """As `predict_one`, to be awaited."""
        return await arun(self._steps("predict_one", item, timeout, priority))

    def stream(
        self, item: Any, *, timeout: float | None = None, priority: Priority = "normal"
    ) -> Generator[Any, None, None]:
        """Predict one item piece by piece. Once the first has begun, it is not changed for another.

        The first chunk has the whole timeout of either.
        """
        error = self._patience.resting()
        if error is None:
            chunks = self._first.stream(item, timeout=timeout, priority=priority)
            try:
                chunk = next(chunks, OVER)
            except CANNOT as failure:
                error = self._patience.noted(failure)
            else:
                self._patience.is_well()
        if error is not None:
            with _Judged(self, error):
                chunks = self._other().stream(item, timeout=timeout, priority=priority)
                chunk = next(chunks, OVER)
        try:
            while chunk is not OVER:
                yield chunk
                chunk = next(chunks, OVER)
        finally:
            chunks.close()

    async def astream(
        self, item: Any, *, timeout: float | None = None, priority: Priority = "normal"
    ) -> AsyncGenerator[Any, None]:
        """As `stream`, as an asynchronous generator."""
        error = self._patience.resting()
        if error is None:
            chunks = self._first.astream(item, timeout=timeout, priority=priority)
            try:
                chunk = await anext(chunks, OVER)
            except CANNOT as failure:
                error = self._patience.noted(failure)
            else:
                self._patience.is_well()
        if error is not None:
            with _Judged(self, error):
                chunks = self._other().astream(item, timeout=timeout, priority=priority)
                chunk = await anext(chunks, OVER)
        try:
            while chunk is not OVER:
                yield chunk
                chunk = await anext(chunks, OVER)
        finally:
            await chunks.aclose()

    def _steps(self, method: str, inputs: Any, timeout: float | None, priority: Priority) -> Steps:
        began = time.monotonic()
        whole = self.options.timeout if timeout is None else timeout
        error = self._patience.resting()
        if error is None:
            after = self.options.fallback_after
            part = min(whole, whole / 2 if after is None else after)
            try:
                result = yield _step(self._first, method, inputs, part, priority)
            except CANNOT as failure:
                error = self._patience.noted(failure)
            else:
                self._patience.is_well()
                return result
        left = whole - (time.monotonic() - began)
        if left <= 0:
            self._patience.count(failed=1)
            raise error
        with _Judged(self, error):
            return (yield _step(self._other(), method, inputs, left, priority))

    def judged(self, error: InferenceError, failure: BaseException | None) -> None:
        """Take note of how the fallback did, after the first had that error.

        Raises:
            InferenceError: the first one's, where the fallback could not answer either.
        """
        if failure is None:
            self._patience.count(answered=1)
            mark(Degraded(self._first.alias, self.options.fallback, error))
        elif isinstance(failure, InferenceError):
            self._patience.count(failed=1)
            error.add_note(f"Its fallback could not answer either: {failure}")
            raise error from failure


class _Judged:
    """Around the call of a fallback."""

    def __init__(self, front: WithFallback, error: InferenceError) -> None:
        self._front = front
        self._error = error

    def __enter__(self) -> None:
        """The fallback is called."""

    def __exit__(self, kind: object, failure: BaseException | None, traceback: object) -> None:
        """It has answered, or not."""
        self._front.judged(self._error, failure)


def _step(front: Front, method: str, inputs: Any, timeout: float, priority: Priority) -> Step:
    call = partial(getattr(front, method), inputs, timeout=timeout, priority=priority)
    acall = partial(getattr(front, f"a{method}"), inputs, timeout=timeout, priority=priority)
    return Step(call, acall)
