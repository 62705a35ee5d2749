"""One batch of `map`: its items, and what has become of each."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Generator, Iterable, Iterator
from functools import partial
from itertools import islice
from typing import Any, Protocol

from django_inference.backends.mapping.options import MapOptions
from django_inference.driving import Step
from django_inference.exceptions import InferenceError
from django_inference.specs import Priority


class Predicts(Protocol):
    """What `map` needs of a backend, or of one with a fallback."""

    @property
    def concurrency(self) -> int:
        """Calls that are worth having under way at once."""

    @property
    def options(self) -> Any:
        """Of the backend."""

    def predict(
        self, inputs: Any, *, timeout: float | None = None, priority: Priority = "normal"
    ) -> Any:
        """Predict a list of items."""

    def predict_one(
        self, item: Any, *, timeout: float | None = None, priority: Priority = "normal"
    ) -> Any:
        """Predict one item."""

    async def apredict(
        self, inputs: Any, *, timeout: float | None = None, priority: Priority = "normal"
    ) -> Any:
        """Predict a list of items."""

    async def apredict_one(
        self, item: Any, *, timeout: float | None = None, priority: Priority = "normal"
    ) -> Any:
        """Predict one item."""


class Batch:
    """Items that are predicted by one call.

    Args:
        number: of the batch in the run, from 0.
        items: as many as a batch has; the last one may have fewer.

    Attributes:
        results: by the item's place in the batch; from a checkpoint before the call.
        errors: likewise, of the items that cannot be predicted.
        recalled: how many of the results a checkpoint has known.
    """

    def __init__(self, number: int, items: list[Any]) -> None:
        self.number = number
        self.items = items
        self.results: dict[int, Any] = {}
        self.errors: dict[int, InferenceError] = {}
        self.recalled = 0

    @property
    def missing(self) -> list[int]:
        """The places of the items whose results are not known."""
        return [place for place in range(len(self.items)) if place not in self.results]

    def predicted(self, backend: Predicts, options: MapOptions) -> Generator[Step, Any, None]:
        """Predict what is missing: all at once, or one by one where an item is at fault.

        Without `return_exceptions` the first such item is the last that is tried.

        Raises:
            InferenceError: the model as a whole cannot answer.
        """

        def asked(method: str, inputs: Any) -> Step:
            given = {"timeout": options.timeout, "priority": options.priority}
            call, acall = getattr(backend, method), getattr(backend, f"a{method}")
            return Step(partial(call, inputs, **given), partial(acall, inputs, **given))

        missing = self.missing
        try:
            results = yield asked("predict", [self.items[place] for place in missing])
        except options.of_an_item as error:
            if len(missing) == 1:
                self.errors[missing[0]] = error
                return
        else:
            self.results |= zip(missing, results, strict=True)
            return
        for place in missing:
            try:
                self.results[place] = yield asked("predict_one", self.items[place])
            except options.of_an_item as error:
                self.errors[place] = error
                if not options.return_exceptions:
                    return


def chunks(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Lists of so many items, the last one perhaps shorter; read as they are taken."""
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk


async def achunks(items: Iterable[Any] | AsyncIterable[Any], size: int) -> AsyncIterator[list[Any]]:
    """As `chunks`; `items` may be an asynchronous iterable too."""
    if not isinstance(items, AsyncIterable):
        for chunk in chunks(items, size):
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
