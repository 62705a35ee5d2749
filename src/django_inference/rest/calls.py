"""One request to a predictor, in a thread or awaited: one answer, many, or piece by piece."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from contextlib import aclosing, closing
from dataclasses import dataclass, field
from typing import Any

from django_inference.exceptions import InferenceError
from django_inference.handle import Predictor
from django_inference.rest.inputs import AnyInputs, Items

_NOTHING = object()


@dataclass
class Call:
    """What is about to be asked.

    Attributes:
        predictor: of whom.
        inputs: what.
        timeout: seconds, or None for the predictor's own.
        failed: the place of the item that could not be predicted; None where nobody knows.
    """

    predictor: Predictor
    inputs: AnyInputs
    timeout: float | None
    failed: int | None = field(default=None, init=False)

    def run(self) -> Any:
        """Ask, and wait for the answer."""
        return self.inputs.predict(self.predictor, self.timeout)

    async def arun(self) -> Any:
        """As `run`, to be awaited."""
        return await self.inputs.apredict(self.predictor, self.timeout)


class BatchCall(Call):
    """Many items, several batches at a time. The timeout is that of each batch."""

    def run(self) -> Any:
        """Ask, and wait for all the answers."""
        if not isinstance(self.inputs, Items):
            return super().run()
        results: list[Any] = []
        try:
            for result in self.predictor.map(self.inputs.value, timeout=self.timeout):
                results.append(result)  # noqa: PERF402  # their number is wanted after an error
        except InferenceError:
            self.failed = len(results)
            raise
        return results

    async def arun(self) -> Any:
        """As `run`, to be awaited."""
        if not isinstance(self.inputs, Items):
            return await super().arun()
        results: list[Any] = []
        try:
            async for result in self.predictor.amap(self.inputs.value, timeout=self.timeout):
                results.append(result)
        except InferenceError:
            self.failed = len(results)
            raise
        return results


class StreamCall(Call):
    """One item, whose result comes piece by piece.

    Until the first piece is there, an error is raised, so that it can be answered with a
    status of its own.
    """

    def run(self) -> Any:
        """Wait for the first chunk; return it with the iterator of the others."""
        chunks = self.predictor.stream(self.inputs.value, timeout=self.timeout)
        return next(chunks, _NOTHING), chunks

    async def arun(self) -> Any:
        """As `run`, to be awaited."""
        chunks = self.predictor.astream(self.inputs.value, timeout=self.timeout)
        return await anext(chunks, _NOTHING), chunks


#: Turns a chunk or an error into what stands in an event.
Present = Callable[[Any], Any]


def events(
    first: Any, chunks: Generator[Any, None, None], present: Present, failure: Present
) -> Iterator[str]:
    """The events of a stream. Closing the iterator ends the run."""
    with closing(chunks):
        try:
            if first is not _NOTHING:
                yield _event("chunk", present(first))
            for chunk in chunks:
                yield _event("chunk", present(chunk))
            yield _event("end", None)
        except InferenceError as error:
            yield _event("failure", failure(error))


async def aevents(
    first: Any, chunks: AsyncGenerator[Any, None], present: Present, failure: Present
) -> AsyncIterator[str]:
    """As `events`, for `async for`."""
    async with aclosing(chunks):
        try:
            if first is not _NOTHING:
                yield _event("chunk", present(first))
            async for chunk in chunks:
                yield _event("chunk", present(chunk))
            yield _event("end", None)
        except InferenceError as error:
            yield _event("failure", failure(error))


def _event(kind: str, value: Any) -> str:
    # Without line breaks: one would end the event's data.
    return f"event: {kind}\ndata: {json.dumps(value)}\n\n"
