"""gRPC's health service, which follows the models.

The empty name stands for the server, as do the names of its services; an alias stands for its
model. While the server drains, none of them serves.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any, TypeVar

import grpc
from grpc_health.v1 import health_pb2
from grpc_health.v1.health import aio

from django_inference.conf import InvalidPredictor
from django_inference.exceptions import InferenceError
from django_inference.registry import predictors
from django_inference.serving.open_inference import model_ready, server_ready

logger = logging.getLogger("django_inference.grpc")

SERVICE = "grpc.health.v1.Health"
_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING

#: Seconds within which a watcher is told that nothing serves any more.
_LAST_WORD = 0.2

Item = TypeVar("Item")


class Health:
    """What is known of the health of the server.

    Args:
        services: names that stand for the server.

    Attributes:
        servicer: answers the health service.
    """

    def __init__(self, services: Iterable[str]) -> None:
        self._drains = asyncio.Event()
        self.servicer = _Servicer(self._drains)
        self._services = ("", *services)

    @property
    def drains(self) -> bool:
        """Whether the server is about to leave."""
        return self._drains.is_set()

    async def until_drained(self, items: AsyncIterator[Item]) -> AsyncIterator[Item]:
        """Items, until there are no more or the server is about to leave.

        A client may leave a stream open for ever, and the server shall not wait for that.
        """
        while True:
            following = asyncio.ensure_future(anext(items, None))
            await _first(following, self._drains)
            if not following.done():
                following.cancel()
                return
            if (item := following.result()) is None:
                return
            yield item

    async def follow(self, interval: float = 1.0) -> None:
        """Look at the models for ever.

        Args:
            interval: seconds between two looks.
        """
        while True:
            try:
                await self.look()
            except Exception:
                logger.exception("health of the models is not known")
            await asyncio.sleep(interval)

    async def look(self) -> None:
        """Look at the models once."""
        for name, is_ready in (await asyncio.to_thread(self._states)).items():
            await self.servicer.set(name, _SERVING if is_ready else _NOT_SERVING)

    async def drain(self) -> None:
        """Say from now on that nothing serves."""
        await self.servicer.enter_graceful_shutdown()
        self._drains.set()

    def _states(self) -> Mapping[str, bool]:
        states = {alias: _is_ready(alias) for alias in predictors}
        return states | dict.fromkeys(self._services, server_ready())


class _Servicer(aio.HealthServicer):
    """gRPC's own, whose watchers do not keep the server from leaving."""

    def __init__(self, drains: asyncio.Event) -> None:
        super().__init__()
        self._drains = drains

    async def Watch(
        self,
        request: health_pb2.HealthCheckRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> None:
        watching = asyncio.ensure_future(super().Watch(request, context))
        try:
            await _first(watching, self._drains)
            await asyncio.wait({watching}, timeout=_LAST_WORD)
        finally:
            watching.cancel()


async def _first(one: asyncio.Future[Any], other: asyncio.Event) -> None:
    """Return when one of them has come."""
    set_by_now = asyncio.ensure_future(other.wait())
    try:
        await asyncio.wait({one, set_by_now}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        set_by_now.cancel()


def _is_ready(alias: str) -> bool:
    try:
        return model_ready(alias)
    except (InferenceError, InvalidPredictor):
        return False
