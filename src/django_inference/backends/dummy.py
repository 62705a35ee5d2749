"""A backend for tests: records what it was asked, answers what it was told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from django_inference.backends.base import BackendOptions, BaseBackend
from django_inference.conf import PredictorSettings
from django_inference.engine.streams import OVER
from django_inference.specs import NORMAL, Priority, State, Status
from django_inference.tensors import Signature


class DummyOptions(BackendOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`OPTIONS` of `DummyBackend`.

    Attributes:
        result: what every call returns, until `returns()` says otherwise.
    """

    result: Any = None


class Call(msgspec.Struct, frozen=True):
    """One recorded call.

    Attributes:
        method: `predict`, `predict_one` or `stream`.
        inputs: as the caller handed them in.
    """

    method: str
    inputs: Any


class DummyBackend(BaseBackend):
    """Loads nothing and starts nothing.

    Attributes:
        calls: what was asked so far, the oldest first.
    """

    options_class = DummyOptions

    def __init__(self, settings: PredictorSettings, *, declared_at: float | None = None) -> None:
        super().__init__(settings, declared_at=declared_at)
        self.calls: list[Call] = []
        self._result = self.options.result
        self._signature: Signature | None = None
        self._is_loaded = False

    def returns(self, result: Any, *, signature: Signature | None = None) -> None:
        """Answer with a value, with what a function of the inputs returns, or by raising.

        A stream yields the elements of a list, tuple or iterator, and raises those that are
        exceptions; anything else is its only chunk.

        Args:
            result: a value, a callable that is given the inputs, or an exception.
            signature: what the model claims to take and give.
        """
        self._result = result
        self._signature = signature

    def predict(
        self, inputs: Any, *, timeout: float | None = None, priority: Priority = "normal"
    ) -> Any:
        """Record the call and answer it."""
        return self._record("predict", self._payload(inputs))

    async def apredict(
        self, inputs: Any, *, timeout: float | None = None, priority: Priority = "normal"
    ) -> Any:
        """Record the call and answer it."""
        return self._record("predict", self._payload(inputs))

    def predict_one(
        self, item: Any, *, timeout: float | None = None, priority: Priority = "normal"
    ) -> Any:
        """Record the call and answer it."""
        return self._record("predict_one", self._item(item))

    async def apredict_one(
        self, item: Any, *, timeout: float | None = None, priority: Priority = "normal"
    ) -> Any:
        """Record the call and answer it."""
        return self._record("predict_one", self._item(item))

    def call(self, payload: Any, deadline: float, priority: int = NORMAL) -> Any:
        """Record the call and answer it."""
        return self._record("predict", payload)

    async def acall(self, payload: Any, deadline: float, priority: int = NORMAL) -> Any:
        """Record the call and answer it."""
        return self._record("predict", payload)

    def chunks(self, item: Any, priority: int = NORMAL) -> DummyStream:
        """Record the call when the first chunk is asked for."""
        return DummyStream(lambda: self._record("stream", item))

    def signature(self, deadline: float) -> Signature | None:
        """What `returns()` was told."""
        return self._signature

    def status(self) -> Status:
        """READY after a call or a preload."""
        return Status(
            alias=self.alias,
            state=State.READY if self._is_loaded else State.UNLOADED,
            signature=self._signature,
        )

    def preload(self) -> None:
        """Be READY."""
        self._is_loaded = True

    def reload(self) -> None:
        """Be READY."""
        self._is_loaded = True

    def unload(self) -> None:
        """Be UNLOADED."""
        self._is_loaded = False

    def _record(self, method: str, inputs: Any) -> Any:
        self.calls.append(Call(method, inputs))
        self._is_loaded = True
        result = self._result
        if isinstance(result, Exception):
            raise result
        return result(inputs) if callable(result) else result


class DummyStream:
    """Yields what there is.

    Args:
        answer: is called once, at the first chunk.
    """

    def __init__(self, answer: Callable[[], Any]) -> None:
        self._answer = answer
        self._chunks: Iterator[Any] | None = None

    def next(self, deadline: float) -> Any:
        """Return the next chunk."""
        if self._chunks is None:
            result = self._answer()
            self._chunks = iter(result if isinstance(result, list | tuple | Iterator) else [result])
        chunk = next(self._chunks, OVER)
        if isinstance(chunk, Exception):
            raise chunk
        return chunk

    async def anext(self, deadline: float) -> Any:
        """Return the next chunk."""
        return self.next(deadline)

    def close(self) -> None:
        """Close a generator."""
        close = getattr(self._chunks, "close", None)
        if close is not None:
            close()
