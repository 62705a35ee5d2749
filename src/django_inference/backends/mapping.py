"""Many items through one backend: in batches, several at a time, results in order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from itertools import islice
from typing import Any, Protocol

from django_inference.exceptions import InvalidInput, ModelCrashed, PredictionFailed

#: Errors that belong to one item of a batch and not to the model as a whole.
_OF_AN_ITEM = (InvalidInput, ModelCrashed, PredictionFailed)


class Predicts(Protocol):
    """What `map` needs of a backend."""

    @property
    def concurrency(self) -> int:
        """Calls that are worth having under way at once."""

    @property
    def options(self) -> Any:
        """Of the backend."""

    def predict(self, inputs: Any, *, timeout: float | None = None) -> Any:
        """Predict a list of items."""

    def predict_one(self, item: Any, *, timeout: float | None = None) -> Any:
        """Predict one item."""

    async def apredict(self, inputs: Any, *, timeout: float | None = None) -> Any:
        """Predict a list of items."""

    async def apredict_one(self, item: Any, *, timeout: float | None = None) -> Any:
        """Predict one item."""


def map_items(backend: Predicts, items: Iterable[Any], timeout: float | None) -> Iterator[Any]:
    """Yield one result an item. No more than the window of items is held in memory.

    Args:
        backend: that predicts.
        items: of any length, taken as they are needed.
        timeout: seconds for each batch.

    Raises:
        InferenceError: of the first item that has one, after the results before it.
    """
    pending: deque[tuple[list[Any], Future[Any]]] = deque()
    pool = ThreadPoolExecutor(backend.concurrency, thread_name_prefix="inference-map")
    try:
        for chunk in _chunks(items, backend.options.max_batch_size):
            # The caller may watch in a context variable who answers.
            predict = partial(backend.predict, chunk, timeout=timeout)
            pending.append((chunk, pool.submit(copy_context().run, predict)))
            if len(pending) > backend.concurrency:
                yield from _results(backend, *pending.popleft(), timeout)
        while pending:
            yield from _results(backend, *pending.popleft(), timeout)
    finally:
        pool.shutdown(cancel_futures=True)


def _results(
    backend: Predicts, chunk: list[Any], future: Future[Any], timeout: float | None
) -> Iterator[Any]:
    try:
        results = future.result()
    except _OF_AN_ITEM:
        # One by one, so that the results before the offender are not lost with it.
        results = (backend.predict_one(item, timeout=timeout) for item in chunk)
    yield from results


async def amap_items(
    backend: Predicts, items: Iterable[Any] | AsyncIterable[Any], timeout: float | None
) -> AsyncIterator[Any]:
    """As `map_items`; `items` may be an asynchronous iterable too."""
    pending: deque[tuple[list[Any], asyncio.Task[Any]]] = deque()
    try:
        async for chunk in _achunks(items, backend.options.max_batch_size):
            task = asyncio.ensure_future(backend.apredict(chunk, timeout=timeout))
            pending.append((chunk, task))
            if len(pending) > backend.concurrency:
                async for result in _aresults(backend, *pending.popleft(), timeout):
                    yield result
        while pending:
            async for result in _aresults(backend, *pending.popleft(), timeout):
                yield result
    finally:
        for _, task in pending:
            task.cancel()


async def _aresults(
    backend: Predicts, chunk: list[Any], task: asyncio.Task[Any], timeout: float | None
) -> AsyncIterator[Any]:
    try:
        for result in await task:
            yield result
    except _OF_AN_ITEM:
        for item in chunk:
            yield await backend.apredict_one(item, timeout=timeout)


def _chunks(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk


async def _achunks(
    items: Iterable[Any] | AsyncIterable[Any], size: int
) -> AsyncIterator[list[Any]]:
    if not isinstance(items, AsyncIterable):
        for chunk in _chunks(items, size):
            yield chunk
        return
    chunk = []
    async for item in items:
        chunk.append(item)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
