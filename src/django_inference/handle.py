"""The handle on one declared model.

Not in a module named `predictor`: a submodule of that name would hide the object in
`from django_inference import predictor`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from typing import Any

import msgspec

from django_inference.backends.base import BaseBackend
from django_inference.specs import Priority, Status
from django_inference.tensors import Signature


class Predictor:
    """The handle on one declared model, made by `predictors`. Threads may share it.

    What a call may raise is listed in `django_inference.exceptions`. `timeout` is in
    seconds, `OPTIONS["timeout"]` when left out, and counts from the call: a model that is
    still being loaded is waited for within it.

    Attributes:
        alias: its name in `INFERENCE`.
        backend: where it runs.
    """

    def __init__(self, backend: BaseBackend) -> None:
        self.alias = backend.alias
        self.backend = backend

    def __repr__(self) -> str:
        """As in `<Predictor 'detector' on HostBackend>`."""
        return f"<Predictor {self.alias!r} on {type(self.backend).__name__}>"

    def predict(
        self, inputs: Any, *, timeout: float | None = None, priority: Priority = "normal"
    ) -> Any:
        """Predict a batch.

        Args:
            inputs: named tensors, `{name: array}` with the batch on axis 0; one such array
                alone where the model has one input; or a list of items.
            timeout: in seconds.
            priority: `high`, `normal` or `low`: what is more urgent is run first.

        Returns:
            `{name: array}` for tensors, with as many rows; a list with one result an item
            for a list.
        """
        return self.backend.predict(inputs, timeout=timeout, priority=priority)

    async def apredict(
        self, inputs: Any, *, timeout: float | None = None, priority: Priority = "normal"
    ) -> Any:
        """As `predict`, to be awaited."""
        return await self.backend.apredict(inputs, timeout=timeout, priority=priority)

    def predict_one(
        self, item: Any, *, timeout: float | None = None, priority: Priority = "normal"
    ) -> Any:
        """Predict one item: what the runtime's `preprocess` takes, or one row of tensors.

        Returns:
            Its one result; for tensors `{name: array}` without the batch axis.
        """
        return self.backend.predict_one(item, timeout=timeout, priority=priority)

    async def apredict_one(
        self, item: Any, *, timeout: float | None = None, priority: Priority = "normal"
    ) -> Any:
        """As `predict_one`, to be awaited."""
        return await self.backend.apredict_one(item, timeout=timeout, priority=priority)

    def map(self, items: Iterable[Any], *, timeout: float | None = None) -> Iterator[Any]:
        """Predict many items, spread over batches and replicas.

        Args:
            items: any iterable; it is read as results are taken, so it may be endless.
            timeout: seconds for each batch.

        Yields:
            One result an item, in order. The first item that cannot be predicted raises,
            after the results of those before it.
        """
        return self.backend.map(items, timeout=timeout)

    def amap(
        self, items: Iterable[Any] | AsyncIterable[Any], *, timeout: float | None = None
    ) -> AsyncIterator[Any]:
        """As `map`, for `async for`."""
        return self.backend.amap(items, timeout=timeout)

    @property
    def signature(self) -> Signature | None:
        """The tensors of the model, read from its artifact; None where it has none.

        The model is loaded for it if need be, so this may raise what a call may raise.
        """
        return self.backend.signature(self.backend.deadline(None))

    async def asignature(self) -> Signature | None:
        """As `signature`, to be awaited."""
        return await asyncio.to_thread(lambda: self.signature)

    def status(self) -> Status:
        """How the predictor fares. Loads nothing, starts nothing, and is quick."""
        status = self.backend.status()
        kind = type(self.backend)
        return msgspec.structs.replace(status, backend=f"{kind.__module__}.{kind.__qualname__}")

    async def astatus(self) -> Status:
        """As `status`, to be awaited."""
        return await asyncio.to_thread(self.status)

    def preload(self, *, wait: bool = False, timeout: float | None = None) -> None:
        """Have the model loaded before the first call needs it.

        Args:
            wait: return when it is ready, not at once.
            timeout: seconds to wait.
        """
        self.backend.preload()
        if wait:
            self.backend.signature(self.backend.deadline(timeout))

    async def apreload(self, *, wait: bool = False, timeout: float | None = None) -> None:
        """As `preload`, to be awaited."""
        await asyncio.to_thread(self.preload, wait=wait, timeout=timeout)

    def reload(self) -> None:
        """Load again beside what runs; traffic moves when that is ready. Does not wait."""
        self.backend.reload()

    async def areload(self) -> None:
        """As `reload`, to be awaited."""
        await asyncio.to_thread(self.reload)

    def rollback(self) -> None:
        """Serve the version before this one again, until other settings are declared.

        Raises:
            LookupError: there is none, or its files have been replaced.
        """
        self.backend.rollback()

    async def arollback(self) -> None:
        """As `rollback`, to be awaited."""
        await asyncio.to_thread(self.rollback)

    def promote(self) -> None:
        """Give the version on trial (`OPTIONS` `canary` or `shadow`) all the traffic.

        Raises:
            LookupError: none is on trial.
        """
        self.backend.promote()

    async def apromote(self) -> None:
        """As `promote`, to be awaited."""
        await asyncio.to_thread(self.promote)

    def unload(self) -> None:
        """Give the model's memory back; running calls are answered first.

        The next call loads it again.
        """
        self.backend.unload()

    async def aunload(self) -> None:
        """As `unload`, to be awaited."""
        await asyncio.to_thread(self.unload)
