"""What every backend has."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from typing import Annotated, Any, ClassVar

import msgspec
from django.core.checks import CheckMessage

from django_inference.backends import mapping
from django_inference.conf import PredictorSettings, parse_options
from django_inference.exceptions import InvalidInput
from django_inference.specs import NORMAL, PRIORITIES, EngineOptions, Priority, Status
from django_inference.tensors import Signature

#: Seconds that a call waits at the most: the system counts milliseconds in 32 bits.
LONGEST_TIMEOUT = 1e6


class BackendOptions(EngineOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`OPTIONS` that every backend takes.

    Attributes:
        timeout: seconds that a call waits at the most, unless it says otherwise.
        preload: the model is asked for when a server process starts.
    """

    timeout: Annotated[float, msgspec.Meta(gt=0)] = 10.0
    preload: bool = True


class BaseBackend(ABC):
    """Runs the predictions of one predictor somewhere.

    Args:
        settings: of the predictor; its `OPTIONS` must fit `options_class`.
        declared_at: seconds since the epoch at which the settings were read; now when
            left out.

    Raises:
        InvalidPredictor: they do not.
    """

    #: The keyword arguments that `OPTIONS` may hold, with their types and defaults.
    options_class: ClassVar[type[BackendOptions]] = BackendOptions

    options: Any

    def __init__(self, settings: PredictorSettings, *, declared_at: float | None = None) -> None:
        self.alias = settings.alias
        self.settings = settings
        self.options = parse_options(settings, self.options_class)
        self.declared_at = time.time() if declared_at is None else declared_at

    @classmethod
    def check(cls, settings: PredictorSettings) -> list[CheckMessage]:
        """Look for mistakes that can be seen without loading anything."""
        return []

    @abstractmethod
    def call(self, payload: Any, deadline: float, priority: int = NORMAL) -> Any:
        """Predict and wait.

        Args:
            payload: a dict of named tensors, one array, or a list of items.
            deadline: `time.monotonic()` after which `PredictionTimeout` or
                `ModelNotReady` is raised.
            priority: index of `specs.PRIORITIES`.
        """

    @abstractmethod
    async def acall(self, payload: Any, deadline: float, priority: int = NORMAL) -> Any:
        """As `call`, without holding the event loop."""

    @abstractmethod
    def signature(self, deadline: float) -> Signature | None:
        """The tensors of the model, once it is loaded; None where it declares none."""

    @abstractmethod
    def status(self) -> Status:
        """How the predictor fares. Never loads or starts anything."""

    @abstractmethod
    def preload(self) -> None:
        """Ask for the model; return before it is loaded."""

    @abstractmethod
    def reload(self) -> None:
        """Load again beside what runs; traffic moves when that is ready."""

    def rollback(self) -> None:
        """Serve the version before this one again.

        Raises:
            LookupError: there is none, or this backend keeps no versions.
        """
        raise LookupError(f"{type(self).__name__} keeps no former versions.")

    def promote(self) -> None:
        """Give the version on trial all the traffic.

        Raises:
            LookupError: none is on trial, or this backend keeps no versions.
        """
        raise LookupError(f"{type(self).__name__} tries no versions.")

    @abstractmethod
    def unload(self) -> None:
        """Give the model's memory back. The next call loads it again."""

    def close(self) -> None:
        """Let go of threads and connections; what other processes use stays."""

    #: Calls of `map` that are worth having under way at once.
    concurrency: int = 2

    # The same for every backend: what callers hand in, in the shape that `call` takes.

    def predict(
        self, inputs: Any, *, timeout: float | None = None, priority: Priority = "normal"
    ) -> Any:
        """Predict named tensors (a mapping, or one array) or a list of items."""
        return self.call(self._payload(inputs), self.deadline(timeout), self._urgency(priority))

    async def apredict(
        self, inputs: Any, *, timeout: float | None = None, priority: Priority = "normal"
    ) -> Any:
        """As `predict`, to be awaited."""
        return await self.acall(
            self._payload(inputs), self.deadline(timeout), self._urgency(priority)
        )

    def predict_one(
        self, item: Any, *, timeout: float | None = None, priority: Priority = "normal"
    ) -> Any:
        """Predict one item."""
        return self.call([item], self.deadline(timeout), self._urgency(priority))[0]

    async def apredict_one(
        self, item: Any, *, timeout: float | None = None, priority: Priority = "normal"
    ) -> Any:
        """As `predict_one`, to be awaited."""
        return (await self.acall([item], self.deadline(timeout), self._urgency(priority)))[0]

    def map(self, items: Iterable[Any], *, timeout: float | None = None) -> Iterator[Any]:
        """Predict many items, several batches at a time; yield the results in order."""
        return mapping.map_items(self, items, timeout)

    def amap(
        self, items: Iterable[Any] | AsyncIterable[Any], *, timeout: float | None = None
    ) -> AsyncIterator[Any]:
        """As `map`, as an asynchronous iterator."""
        return mapping.amap_items(self, items, timeout)

    def deadline(self, timeout: float | None) -> float:
        """The `time.monotonic()` at which a call that begins now has to end."""
        seconds = self.options.timeout if timeout is None else timeout
        return time.monotonic() + min(seconds, LONGEST_TIMEOUT)

    def _urgency(self, priority: str) -> int:
        try:
            return PRIORITIES.index(priority)
        except ValueError:
            raise InvalidInput(
                f"priority is one of {', '.join(PRIORITIES)}, not {priority!r}.", alias=self.alias
            ) from None

    def _payload(self, inputs: Any) -> Any:
        if isinstance(inputs, (dict, list)) or hasattr(inputs, "__array__"):
            return inputs
        if isinstance(inputs, Mapping):
            return dict(inputs)
        if isinstance(inputs, tuple):
            return list(inputs)
        raise InvalidInput(
            "predict() takes named tensors or a list of items, not "
            f"{type(inputs).__name__}; for a single item call predict_one().",
            alias=self.alias,
        )
