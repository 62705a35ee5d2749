"""What both remote backends do alike."""

from __future__ import annotations

import logging
import threading
import time
from abc import abstractmethod
from functools import cached_property
from typing import TYPE_CHECKING, Any

from django.core.checks import CheckMessage

from django_inference.backends.base import BaseBackend, Serving
from django_inference.backends.remote.checks import check_remote
from django_inference.backends.remote.options import RemoteOptions
from django_inference.backends.streaming import Chunks
from django_inference.conf import PredictorSettings
from django_inference.exceptions import InferenceError
from django_inference.specs import NORMAL, ErrorReport, State, Status
from django_inference.tensors import Signature

if TYPE_CHECKING:
    from django_inference.backends.remote.client import RemoteClient
    from django_inference.backends.remote.protocols import Protocol

logger = logging.getLogger("django_inference")

#: Seconds that `status` takes at the most to ask the servers.
LOOK = 1.0


class RemoteBackend(BaseBackend):
    """Calls servers on other machines. Nothing is dialled before the first call."""

    options_class = RemoteOptions
    concurrency = 4

    @classmethod
    def check(cls, settings: PredictorSettings) -> list[CheckMessage]:
        """Look at endpoints, certificates and packages. No server is asked."""
        return check_remote(settings)

    @abstractmethod
    def protocol(self) -> Protocol:
        """The questions about the model."""

    def call(self, payload: Any, deadline: float, priority: int = NORMAL) -> Any:
        """Predict on one of the servers and wait."""
        return self._client.call(payload, deadline, priority)

    async def acall(self, payload: Any, deadline: float, priority: int = NORMAL) -> Any:
        """Predict on one of the servers without holding the event loop."""
        return await self._client.acall(payload, deadline, priority)

    def chunks(self, item: Any, priority: int = NORMAL) -> Chunks:
        """Chunks from one of the servers, over gRPC."""
        # Not at the top: what it needs is spared those who do not stream.
        from django_inference.backends.remote.streams import RemoteStream

        return RemoteStream(self._client, self.alias, item, priority)

    def serving(self, deadline: float) -> Serving | None:
        """The version that the servers told of; None while they tell of different ones."""
        return self._client.serving(self._declared, self._client.described(deadline))

    async def aserving(self, deadline: float) -> Serving | None:
        """As `serving`, without holding the event loop."""
        return self._client.serving(self._declared, await self._client.adescribed(deadline))

    def signature(self, deadline: float) -> Signature | None:
        """The tensors of the model, as a server tells them; waits until one does."""
        return self._client.described(deadline).signature

    def status(self) -> Status:
        """What the servers say. Each is asked after its health, within a second altogether."""
        client = self._client
        client.look(time.monotonic() + LOOK)
        endpoints = client.pool.endpoints()
        failed = [endpoint for endpoint in endpoints if endpoint.error is not None]
        report = None
        if failed:
            last = max(failed, key=lambda endpoint: endpoint.error_at)
            report = ErrorReport(message=f"{last.error}", at=last.error_at)
        if any(endpoint.is_healthy for endpoint in endpoints):
            state = State.READY
        elif any(endpoint.is_up for endpoint in endpoints):
            state = State.UNLOADED
        else:
            state = State.FAILED
        known = client.known
        return Status(
            alias=self.alias,
            state=state,
            version=known.version if known is not None else "",
            signature=known.signature if known is not None else None,
            endpoints=client.pool.status(),
            error=report,
        )

    def preload(self) -> None:
        """Order the model to be loaded where it is not, if the protocol has such an order."""
        threading.Thread(target=self._preload, name="inference-preload", daemon=True).start()

    def reload(self) -> None:
        """Order every server to load the model again. A load that takes long is not waited for.

        Raises:
            LookupError: the protocol has no such order.
            InferenceError: no server has taken it.
        """
        self._client.order(self.protocol().load(), self.deadline(None))

    def unload(self) -> None:
        """Order every server to unload the model, for everybody who calls it.

        Raises:
            LookupError: the protocol has no such order.
            InferenceError: no server has taken it.
        """
        self._client.order(self.protocol().unload(), self.deadline(None))

    def close(self) -> None:
        """Hang up. The model stays loaded."""
        super().close()
        if "_client" in self.__dict__:
            self._client.close()

    @cached_property
    def _client(self) -> RemoteClient:
        # Not at the top: it needs numpy and the clients of a wire.
        from django_inference.backends.remote.client import RemoteClient

        cut = self.options.max_batch_size if "max_batch_size" in self.settings.options else None
        return RemoteClient(self.alias, self.options, self.protocol(), cut)

    def _preload(self) -> None:
        try:
            self._client.look(self.deadline(None))
            if not any(endpoint.is_healthy for endpoint in self._client.pool.endpoints()):
                self._client.order(self.protocol().load(), self.deadline(None))
        except (InferenceError, LookupError) as error:
            logger.warning("preload failed alias=%s: %s", self.alias, error)
