"""One server, as one process knows it."""

from __future__ import annotations

import time
from typing import Any, Protocol

from django_inference.backends.remote.addresses import Address
from django_inference.backends.remote.breaker import Breaker
from django_inference.backends.remote.credentials import Credentials
from django_inference.backends.remote.failures import Failure, late, unreadable
from django_inference.backends.remote.options import RemoteOptions
from django_inference.backends.remote.questions import Question
from django_inference.exceptions import InferenceError, InvalidInput, RemoteError
from django_inference.specs import EndpointStatus


class Transport(Protocol):
    """How one server is spoken to."""

    def send(self, question: Question, deadline: float, facts: dict[str, Any]) -> Any:
        """Ask and wait."""

    async def asend(self, question: Question, deadline: float, facts: dict[str, Any]) -> Any:
        """As `send`, without holding the event loop."""

    def close(self) -> None:
        """Hang up."""


class Endpoint:
    """One server. What changes is guarded by the pool's lock.

    Args:
        address: of the server.
        options: of the backend.
        credentials: of every request.

    Attributes:
        outstanding: calls that it has not answered yet.
        is_healthy: whether it said so last; None before it was asked.
        requests: that were sent, and `failures` that were lost.
        facts: what questions keep of it; forgotten when it is lost.
        error: why it failed last, at `error_at` (seconds since the epoch).
    """

    def __init__(self, address: Address, options: RemoteOptions, credentials: Credentials) -> None:
        self.address = address
        self.breaker = Breaker(options.breaker_failures, options.breaker_seconds)
        self.outstanding = self.requests = self.failures = 0
        self.is_healthy: bool | None = None
        self.facts: dict[str, Any] = {}
        self.error: InferenceError | None = None
        self.error_at = 0.0
        self._transport = _transport(address, options, credentials)

    def send(self, question: Question, deadline: float, over: float) -> Any:
        """Ask and wait until `time.monotonic()` is `deadline`; at `over` the call ends.

        Raises:
            Failure: there is no good answer.
        """
        facts = self.facts
        try:
            first = self._first(question, facts)
            if first is not None:
                try:
                    self._transport.send(first, deadline, facts)
                except Failure as failure:
                    self._does_not_know(first, facts, failure)
            return self._transport.send(question, deadline, facts)
        except Exception as error:
            raise self._failure(error, over) from error

    async def asend(self, question: Question, deadline: float, over: float) -> Any:
        """As `send`, without holding the event loop."""
        facts = self.facts
        try:
            first = self._first(question, facts)
            if first is not None:
                try:
                    await self._transport.asend(first, deadline, facts)
                except Failure as failure:
                    self._does_not_know(first, facts, failure)
            return await self._transport.asend(question, deadline, facts)
        except Exception as error:
            raise self._failure(error, over) from error

    def close(self) -> None:
        """Hang up."""
        self._transport.close()

    @property
    def is_up(self) -> bool:
        """Whether the server itself answers, whatever it says of the model."""
        return self.is_healthy is not None and not isinstance(self.error, RemoteError)

    def failed(self, error: InferenceError) -> None:
        """Take note of why."""
        self.error, self.error_at = error, time.time()

    def status(self) -> EndpointStatus:
        """How it fares."""
        return EndpointStatus(
            url=self.address.url,
            healthy=self.is_healthy,
            circuit="open" if self.breaker.is_open else "closed",
            outstanding=self.outstanding,
            requests=self.requests,
            failures=self.failures,
        )

    def _first(self, question: Question, facts: dict[str, Any]) -> Question | None:
        return question.first(facts) if self.address.wire == "rest" else None

    def _does_not_know(self, first: Question, facts: dict[str, Any], failure: Failure) -> None:
        if failure.is_lost:
            raise failure
        first.unanswered(facts)

    def _failure(self, error: Exception, over: float) -> Failure:
        if isinstance(error, Failure):
            return error
        if isinstance(error, TimeoutError):
            # A server may give up a moment before the caller does.
            is_over = over - time.monotonic() < 0.005
            return late(self.address.url, is_call_over=is_over)
        if isinstance(error, InvalidInput | ValueError):
            return unreadable(self.address.url, error)
        if isinstance(error, InferenceError):
            return Failure(error)
        raise error


def _transport(address: Address, options: RemoteOptions, credentials: Credentials) -> Transport:
    # Each only where it is used: a site may have installed one of the two.
    if address.wire == "grpc":
        from django_inference.backends.remote.rpc import GrpcTransport

        return GrpcTransport(address, options, credentials)
    from django_inference.backends.remote.rest import RestTransport

    return RestTransport(address, options, credentials)
