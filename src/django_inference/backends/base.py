"""What every backend has."""

from __future__ import annotations

import hashlib
import time
from abc import ABC, abstractmethod
from collections.abc import (
    AsyncGenerator,
    Callable,
    Generator,
    Mapping,
)
from functools import cached_property, partial
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NamedTuple

import msgspec
from django.core.checks import CheckMessage

from django_inference import nested
from django_inference.backends import streaming
from django_inference.conf import PredictorSettings, parse_options
from django_inference.exceptions import InvalidInput
from django_inference.frames import as_item, as_payload
from django_inference.specs import (
    NORMAL,
    PRIORITIES,
    CacheCounts,
    EngineOptions,
    Priority,
    Status,
)
from django_inference.tensors import Signature

if TYPE_CHECKING:
    from django_inference.backends.caching import CachedCalls

#: Seconds that a call waits at the most: the system counts milliseconds in 32 bits.
LONGEST_TIMEOUT = 1e6


class BackendOptions(EngineOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`OPTIONS` that every backend takes.

    Attributes:
        timeout: seconds that a call waits at the most, unless it says otherwise.
        preload: the model is asked for when a server process starts.
        cache: alias of the Django cache that answers are kept in; None keeps none.
        cache_timeout: seconds that an answer is kept; None keeps it until there is no room.
        cache_max_bytes: a longer answer is not kept.
        fallback: alias of the predictor that answers where this one cannot; None is nobody.
        fallback_after: seconds that this one has before the fallback is asked; None is half
            of the time that the call has.
    """

    timeout: Annotated[float, msgspec.Meta(gt=0)] = 10.0
    preload: bool = True
    cache: Annotated[str, msgspec.Meta(min_length=1)] | None = None
    cache_timeout: Annotated[int, msgspec.Meta(ge=1)] | None = 300
    cache_max_bytes: Annotated[int, msgspec.Meta(ge=1)] = 1 << 20
    fallback: Annotated[str, msgspec.Meta(min_length=1)] | None = None
    fallback_after: Annotated[float, msgspec.Meta(gt=0)] | None = None


class Serving(NamedTuple):
    """Who answers calls now.

    Attributes:
        version: its digest.
        still: says whether it has answered every call since.
    """

    version: str
    still: Callable[[], bool]


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

    #: Somebody sums up what the caches of all processes have saved: `report_cache` says it.
    sums_up: ClassVar[bool] = False

    options: Any

    def __init__(self, settings: PredictorSettings, *, declared_at: float | None = None) -> None:
        self.alias = settings.alias
        self.settings = settings
        self.options = parse_options(settings, self.options_class)
        self.declared_at = time.time() if declared_at is None else declared_at
        self.cached: CachedCalls | None = None
        self._answer, self._aanswer = self.call, self.acall
        if self.options.cache is not None:
            # Not at the top: it needs numpy, and the clients of caches, which most are spared.
            from django_inference.backends.caching import before

            self.cached = before(self)
            self._answer, self._aanswer = self.cached.call, self.cached.acall

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

    def chunks(self, item: Any, priority: int = NORMAL) -> streaming.Chunks:
        """The chunks of one item. Most backends can stream, but need not.

        Raises:
            InvalidInput: it cannot.
        """
        raise InvalidInput(f"{type(self).__name__} does not stream.", alias=self.alias)

    def serving(self, deadline: float) -> Serving | None:
        """Who answers now, for the cache; None where chance decides.

        A backend that knows nothing of versions goes by its settings.
        """
        return Serving(self._declared, lambda: True)

    async def aserving(self, deadline: float) -> Serving | None:
        """As `serving`, without holding the event loop."""
        return self.serving(deadline)

    def report_cache(self, counts: CacheCounts) -> None:
        """Tell whoever sums up what the cache of this process has saved since the last time."""

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
        if self.cached is not None:
            self.cached.close()

    #: Calls of `map` that are worth having under way at once.
    concurrency: int = 2

    # The same for every backend: what callers hand in, in the shape that `call` takes.

    def predict(
        self, inputs: Any, *, timeout: float | None = None, priority: Priority = "normal"
    ) -> Any:
        """Predict named tensors (a mapping, or one array) or a list of items."""
        return self._answer(self._payload(inputs), self.deadline(timeout), self._urgency(priority))

    async def apredict(
        self, inputs: Any, *, timeout: float | None = None, priority: Priority = "normal"
    ) -> Any:
        """As `predict`, to be awaited."""
        return await self._aanswer(
            self._payload(inputs), self.deadline(timeout), self._urgency(priority)
        )

    def predict_one(
        self, item: Any, *, timeout: float | None = None, priority: Priority = "normal"
    ) -> Any:
        """Predict one item."""
        items = [self._item(item)]
        return self._answer(items, self.deadline(timeout), self._urgency(priority))[0]

    async def apredict_one(
        self, item: Any, *, timeout: float | None = None, priority: Priority = "normal"
    ) -> Any:
        """As `predict_one`, to be awaited."""
        items = [self._item(item)]
        return (await self._aanswer(items, self.deadline(timeout), self._urgency(priority)))[0]

    def stream(
        self, item: Any, *, timeout: float | None = None, priority: Priority = "normal"
    ) -> Generator[Any, None, None]:
        """Predict one item; yield the result piece by piece."""
        chunks = self.chunks(item, self._urgency(priority))
        return streaming.iterate(chunks, partial(self.deadline, timeout))

    def astream(
        self, item: Any, *, timeout: float | None = None, priority: Priority = "normal"
    ) -> AsyncGenerator[Any, None]:
        """As `stream`, as an asynchronous generator."""
        chunks = self.chunks(item, self._urgency(priority))
        return streaming.aiterate(chunks, partial(self.deadline, timeout))

    def deadline(self, timeout: float | None) -> float:
        """The `time.monotonic()` at which a call that begins now has to end.

        Raises:
            PredictionFailed: it is made from inside of a run that waits for this model.
        """
        seconds = self.options.timeout if timeout is None else timeout
        return nested.bounded(self.alias, time.monotonic() + min(seconds, LONGEST_TIMEOUT))

    @cached_property
    def _declared(self) -> str:
        encoder = msgspec.msgpack.Encoder(order="deterministic", enc_hook=repr)
        return hashlib.sha256(encoder.encode(self.settings)).hexdigest()[:12]

    def _urgency(self, priority: str) -> int:
        try:
            return nested.urgency(PRIORITIES.index(priority), NORMAL)
        except ValueError:
            raise InvalidInput(
                f"priority is one of {', '.join(PRIORITIES)}, not {priority!r}.", alias=self.alias
            ) from None

    def _payload(self, inputs: Any) -> Any:
        inputs = self._readable(as_payload, inputs)
        if isinstance(inputs, (dict, list)) or hasattr(inputs, "__array__"):
            return inputs
        if isinstance(inputs, Mapping):
            return dict(inputs)
        raise InvalidInput(
            "predict() takes named tensors, a data frame or a list of items, not "
            f"{type(inputs).__name__}; for a single item call predict_one().",
            alias=self.alias,
        )

    def _item(self, item: Any) -> Any:
        return self._readable(as_item, item)

    def _readable(self, read: Callable[[Any], Any], value: Any) -> Any:
        try:
            return read(value)
        except InvalidInput as error:
            error.alias = self.alias
            raise
