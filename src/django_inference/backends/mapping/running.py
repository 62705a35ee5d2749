"""Batch after batch, with a window of them under way: in threads, and in tasks."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Sized
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from django_inference.backends.mapping.batches import Batch, Predicts, achunks, chunks
from django_inference.backends.mapping.options import MapOptions
from django_inference.driving import arun, run
from django_inference.frames import rows_of

if TYPE_CHECKING:
    from django_inference.backends.mapping.checkpoint import Checkpoint


class Course:
    """One pass over the items: counts them, and keeps what is to be kept.

    Args:
        backend: that predicts.
        items: that are passed over; only their number is asked, where they have one.
        options: of the caller.
    """

    def __init__(self, backend: Predicts, items: object, options: MapOptions) -> None:
        self._options = options
        self._kept = _checkpoint(backend, options)
        self.size: int = self._kept.size if self._kept else backend.options.max_batch_size
        self._total = len(items) if isinstance(items, Sized) else None
        self._begun = self._done = 0

    def batch(self, items: list[Any]) -> Batch:
        """The next one, with what a checkpoint knows of it."""
        batch = Batch(self._begun, items)
        self._begun += 1
        if self._kept is not None:
            self._kept.recall(batch)
        return batch

    def keep(self, batch: Batch) -> None:
        """Write what has been predicted to the checkpoint, if there is one."""
        if self._kept is not None:
            self._kept.keep(batch)

    def outcomes(self, batch: Batch) -> Iterator[Any]:
        """What the caller gets of a batch that is done."""
        options = self._options
        self._done += len(batch.results) + len(batch.errors)
        if options.progress is not None:
            options.progress(self._done, self._total)
        for place in range(len(batch.items)):
            error = batch.errors.get(place)
            if error is not None and not options.return_exceptions:
                raise error
            outcome = batch.results[place] if error is None else error
            yield outcome if options.ordered else (batch.number * self.size + place, outcome)

    def close(self) -> None:
        """Let go of the checkpoint."""
        if self._kept is not None:
            self._kept.close()


def map_items(backend: Predicts, items: Iterable[Any], options: MapOptions) -> Iterator[Any]:
    """Yield one outcome an item; `Predictor.map` says more.

    No more items are held in memory than a batch more than the backend's concurrency has, and
    those whose outcomes are being handed out.
    """
    if (rows := rows_of(items)) is not None:
        items = rows
    course = Course(backend, items, options)
    pending: deque[tuple[Batch, Future[None]]] = deque()
    pool = ThreadPoolExecutor(backend.concurrency, thread_name_prefix="inference-map")
    try:
        for chunk in chunks(items, course.size):
            batch = course.batch(chunk)
            pending.append((batch, _begin(pool, batch, backend, options)))
            if len(pending) > backend.concurrency:
                yield from _outcomes(course, pending, options)
        while pending:
            yield from _outcomes(course, pending, options)
    finally:
        pool.shutdown(cancel_futures=True)
        course.close()


def _begin(
    pool: ThreadPoolExecutor, batch: Batch, backend: Predicts, options: MapOptions
) -> Future[None]:
    if batch.missing:
        # The caller may watch in a context variable who answers.
        return pool.submit(copy_context().run, run, batch.predicted(backend, options))
    known: Future[None] = Future()
    known.set_result(None)
    return known


def _outcomes(
    course: Course, pending: deque[tuple[Batch, Future[None]]], options: MapOptions
) -> Iterator[Any]:
    place = 0
    if not options.ordered:
        futures = [future for _, future in pending]
        concurrent.futures.wait(futures, return_when=concurrent.futures.FIRST_COMPLETED)
        place = next(place for place, future in enumerate(futures) if future.done())
    batch, future = pending[place]
    del pending[place]
    future.result()
    course.keep(batch)
    yield from course.outcomes(batch)


async def amap_items(
    backend: Predicts, items: Iterable[Any] | AsyncIterable[Any], options: MapOptions
) -> AsyncIterator[Any]:
    """As `map_items`; `items` may be an asynchronous iterable too."""
    if (rows := rows_of(items)) is not None:
        items = rows
    if options.checkpoint is None:
        course = Course(backend, items, options)
    else:
        # It is read and written on disk, and waits for the model.
        course = await asyncio.to_thread(Course, backend, items, options)
    pending: deque[tuple[Batch, asyncio.Task[None]]] = deque()
    try:
        async for chunk in achunks(items, course.size):
            batch = course.batch(chunk)
            pending.append((batch, asyncio.ensure_future(_predicted(batch, backend, options))))
            if len(pending) > backend.concurrency:
                async for outcome in _aoutcomes(course, pending, options):
                    yield outcome
        while pending:
            async for outcome in _aoutcomes(course, pending, options):
                yield outcome
    finally:
        tasks = [task for _, task in pending]
        for task in tasks:
            task.cancel()
        # What else has gone wrong is not asked for, and nobody shall be told that it was not.
        await asyncio.gather(*tasks, return_exceptions=True)
        course.close()


async def _predicted(batch: Batch, backend: Predicts, options: MapOptions) -> None:
    if batch.missing:
        await arun(batch.predicted(backend, options))


async def _aoutcomes(
    course: Course, pending: deque[tuple[Batch, asyncio.Task[None]]], options: MapOptions
) -> AsyncIterator[Any]:
    place = 0
    if not options.ordered:
        tasks = [task for _, task in pending]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        place = next(place for place, task in enumerate(tasks) if task.done())
    batch, task = pending[place]
    # While it is waited for it is still among those that are cancelled with the caller.
    await task
    del pending[place]
    if options.checkpoint is not None:
        await asyncio.to_thread(course.keep, batch)
    for outcome in course.outcomes(batch):
        yield outcome


def _checkpoint(backend: Predicts, options: MapOptions) -> Checkpoint | None:
    if options.checkpoint is None:
        return None
    # Not at the top: it needs numpy, which whoever keeps nothing is spared.
    from django_inference.backends.mapping.checkpoint import Checkpoint

    return Checkpoint(options.checkpoint, backend)
