"""The model in the model host: once per machine, whatever the number of web workers."""

from __future__ import annotations

import os
import time
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec
from django.core.checks import CheckMessage

from django_inference.backends.base import BackendOptions, BaseBackend, Serving
from django_inference.backends.model_checks import check_hosted_model
from django_inference.backends.models import model_spec
from django_inference.backends.streaming import Chunks
from django_inference.conf import PredictorSettings, host_settings
from django_inference.exceptions import ModelNotReady
from django_inference.host.control import Conversation, HostUnavailable, Refused
from django_inference.host.protocol import (
    ClientMessage,
    Declare,
    HostMessage,
    Inspect,
    Promote,
    ProtocolError,
    Reload,
    Report,
    Rollback,
    Saved,
    Unload,
)
from django_inference.specs import NORMAL, CacheCounts, State, Status, Supervision
from django_inference.tensors import Signature

if TYPE_CHECKING:
    from django_inference.host.client import ModelClient
    from django_inference.host.route import Route


#: `OPTIONS` of `HostBackend`: those of every backend, and those of `Supervision`.
HostOptions: type[BackendOptions] = msgspec.defstruct(  # type: ignore[assignment]
    "HostOptions",
    [(field.name, field.type, field.default) for field in msgspec.structs.fields(Supervision)],
    bases=(BackendOptions,),
    module=__name__,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
)


class HostBackend(BaseBackend):
    """Calls the model host, and starts it when nobody has yet."""

    options_class = HostOptions
    sums_up = True

    def __init__(self, settings: PredictorSettings, *, declared_at: float | None = None) -> None:
        super().__init__(settings, declared_at=declared_at)
        self._host = host_settings()
        supervision = Supervision(
            **{name: getattr(self.options, name) for name in Supervision.__struct_fields__}
        )
        self._spec = model_spec(settings, self.options, supervision)
        self.concurrency = self.options.replicas + 1

    @classmethod
    def check(cls, settings: PredictorSettings) -> list[CheckMessage]:
        """Look at runtime, artifact, framework and trust."""
        return check_hosted_model(settings)

    def call(self, payload: Any, deadline: float, priority: int = NORMAL) -> Any:
        """Predict in a worker of the host and wait."""
        return self._client.call(payload, deadline, priority)

    async def acall(self, payload: Any, deadline: float, priority: int = NORMAL) -> Any:
        """Predict in a worker of the host without holding the event loop."""
        return await self._client.acall(payload, deadline, priority)

    def chunks(self, item: Any, priority: int = NORMAL) -> Chunks:
        """Chunks from a worker of the host."""
        return self._client.stream(item, priority)

    def serving(self, deadline: float) -> Serving | None:
        """The version that all calls go to; waits for the load."""
        return self._serving(self._client.route(deadline))

    async def aserving(self, deadline: float) -> Serving | None:
        """As `serving`, without holding the event loop."""
        return self._serving(await self._client.aroute(deadline))

    def report_cache(self, counts: CacheCounts) -> None:
        """Have the host sum up what the caches of all processes have saved."""
        self._ask(Saved(self.alias, counts), autostart=False)

    def signature(self, deadline: float) -> Signature | None:
        """The tensors of the model; waits for the load."""
        return self._client.signature(deadline)

    def status(self) -> Status:
        """What the host says; UNLOADED where there is no host."""
        absent = Status(alias=self.alias, state=State.UNLOADED)
        if self.cached is not None:
            self.cached.counts.flush()
        try:
            report = self._ask(Inspect(), autostart=False)
        except HostUnavailable:
            return absent
        assert isinstance(report, Report)
        mine = [status for status in report.statuses if status.alias == self.alias]
        return msgspec.structs.replace(mine[0] if mine else absent, host_pid=report.pid)

    def preload(self) -> None:
        """Have the host load the model; start the host if need be."""
        self._ask(Declare(self._spec, self.declared_at, pid=os.getpid()))

    def reload(self) -> None:
        """Have the host load the model again, and then move the traffic."""
        self.preload()
        self._ask(Reload(self.alias))

    def rollback(self) -> None:
        """Have the host serve the version before this one, until other settings are declared.

        Raises:
            LookupError: there is none, or its files have been replaced.
        """
        self._order(Rollback(self.alias))

    def promote(self) -> None:
        """Have the host give the version on trial all the traffic.

        Raises:
            LookupError: none is on trial.
        """
        self._order(Promote(self.alias))

    def unload(self) -> None:
        """Have the host give the model's memory back, for every process on this machine."""
        try:
            self._ask(Unload(self.alias), autostart=False)
        except HostUnavailable:
            return

    def close(self) -> None:
        """Close the connections; the model stays loaded."""
        super().close()
        if "_client" in self.__dict__:
            self._client.close()

    @cached_property
    def _client(self) -> ModelClient:
        # Not at the top: it needs numpy, which a web worker is spared until it predicts.
        from django_inference.host.client import ModelClient

        return ModelClient(self._host, self._spec, self.declared_at)

    def _serving(self, route: Route) -> Serving | None:
        is_tried = route.trial is not None and route.trial.canary > 0
        if is_tried or not route.version:
            return None
        return Serving(route.version, lambda: self._client.is_current(route))

    def _order(self, message: ClientMessage) -> None:
        try:
            self._ask(message, autostart=False)
        except HostUnavailable as error:
            raise LookupError(str(error)) from error

    def _ask(self, message: ClientMessage, *, autostart: bool = True) -> HostMessage:
        deadline = time.monotonic() + self._host.start_timeout
        try:
            with Conversation(self._host, deadline, autostart=autostart) as conversation:
                return conversation.ask(message)
        except HostUnavailable as error:
            error.alias = self.alias
            raise
        except Refused as error:
            raise LookupError(str(error)) from error
        except (EOFError, OSError, ProtocolError) as error:
            raise ModelNotReady(
                f"the model host did not answer: {error}", alias=self.alias, retry_after=1.0
            ) from error
