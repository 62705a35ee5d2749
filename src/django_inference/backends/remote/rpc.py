"""One server over gRPC, by grpcio."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Callable
from functools import cached_property, partial
from typing import Any

# A process that has called a server may fork: without this, gRPC hangs in the child.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "1")

import grpc  # noqa: E402

from django_inference.backends.remote.addresses import Address  # noqa: E402
from django_inference.backends.remote.credentials import Credentials  # noqa: E402
from django_inference.backends.remote.failures import (  # noqa: E402
    Failure,
    broken,
    cut,
    invalid,
    lost,
    not_ready,
    of_words,
    overloaded,
    refused,
    seconds,
    unknown_model,
)
from django_inference.backends.remote.options import RemoteOptions  # noqa: E402
from django_inference.backends.remote.questions import Question  # noqa: E402
from django_inference.backends.remote.reading import Reading  # noqa: E402
from django_inference.exceptions import PredictionTimeout, RemoteError  # noqa: E402

#: Milliseconds between two attempts to connect, at the least and at the most.
RECONNECT = 100, 1_000
#: Milliseconds that one attempt may take.
CONNECT_TIMEOUT = 3_000

#: How gRPC itself says that there is no connection, or no more.
_LOST = re.compile(
    r"(?i)connect|socket closed|broken pipe|goaway|rst_stream|stream removed|recvmsg|sendmsg"
    r"|keepalive|name resol|dns|endpoint closing|transport|eof|handshake|ssl|tls"
)
_TOO_LARGE = re.compile(r"(?i)(sent|received) message larger than max")

Code = grpc.StatusCode


class GrpcTransport:
    """A channel to one server; it connects by itself.

    Args:
        address: of the server.
        options: of the backend.
        credentials: of every call.
    """

    def __init__(self, address: Address, options: RemoteOptions, credentials: Credentials) -> None:
        self._url = address.url
        self._address = address
        self._options = options
        self._credentials = credentials
        self._methods: dict[str, Callable[..., Any]] = {}

    def send(self, question: Question, deadline: float, facts: dict[str, Any]) -> Any:
        """Ask and wait.

        Raises:
            Failure: there is no good answer.
            TimeoutError: there is none in time.
        """
        method, message, left = self._asked(question, deadline)
        if isinstance(method, grpc.StreamStreamMultiCallable):
            reading = self._opened(question, method, message)
            return reading, reading.next(deadline)
        try:
            answer = method(message, timeout=left, metadata=self._credentials.headers())
        except grpc.RpcError as error:
            raise self._failure(question, error) from error
        return question.of_grpc(answer)

    async def asend(self, question: Question, deadline: float, facts: dict[str, Any]) -> Any:
        """As `send`, without holding the event loop.

        By the same channel: those of `grpc.aio` belong to one event loop each.
        """
        method, message, left = self._asked(question, deadline)
        if isinstance(method, grpc.StreamStreamMultiCallable):
            reading = self._opened(question, method, message)
            return reading, await reading.anext(deadline)
        call = method.future(  # type: ignore[attr-defined]
            message, timeout=left, metadata=self._credentials.headers()
        )
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        call.add_done_callback(partial(_tell, loop, done))
        try:
            await done
        except asyncio.CancelledError:
            call.cancel()
            raise
        try:
            answer = call.result()
        except grpc.RpcError as error:
            raise self._failure(question, error) from error
        return question.of_grpc(answer)

    def close(self) -> None:
        """Hang up."""
        if "_channel" in self.__dict__:
            self._channel.close()

    @cached_property
    def _channel(self) -> grpc.Channel:
        least, most = RECONNECT
        settings = [
            ("grpc.max_send_message_length", _limit(self._options.max_request_bytes)),
            ("grpc.max_receive_message_length", _limit(self._options.max_response_bytes)),
            ("grpc.initial_reconnect_backoff_ms", least),
            ("grpc.max_reconnect_backoff_ms", most),
            ("grpc.min_reconnect_backoff_ms", CONNECT_TIMEOUT),
            # Whoever else calls the server shall not decide when it is tried again.
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.enable_retries", 0),
            ("grpc.enable_http_proxy", 0),
        ]
        target = self._address.target
        if not self._address.is_secure:
            return grpc.insecure_channel(target, options=settings)
        try:
            files = self._credentials.files()
        except OSError as error:
            raise Failure(RemoteError(f"OPTIONS['tls_…'] cannot be used: {error}")) from error
        return grpc.secure_channel(target, grpc.ssl_channel_credentials(*files), options=settings)

    def _asked(self, question: Question, deadline: float) -> tuple[Callable[..., Any], Any, float]:
        left = deadline - time.monotonic()
        ask = question.grpc(left)
        method = self._methods.get(ask.method)
        if method is None:
            kind = self._channel.stream_stream if ask.streams else self._channel.unary_unary
            method = self._methods[ask.method] = kind(
                ask.method,
                request_serializer=type(ask.message).SerializeToString,
                response_deserializer=ask.answer.FromString,
            )
        return method, ask.message, max(0.0, left)

    def _opened(self, question: Question, method: Any, message: Any) -> Reading:
        # Without a timeout: each answer is waited for by itself.
        call = method(iter((message,)), metadata=self._credentials.headers())
        return Reading(call, question.of_grpc, partial(self._failure, question))

    def _failure(self, question: Question, error: Any) -> Exception:
        url, code = self._url, error.code()
        said = cut(error.details() or "") or code.name
        retry_after = _retry_after(error)
        if code is Code.DEADLINE_EXCEEDED:
            if said == "Deadline Exceeded":
                return TimeoutError(said)
            return Failure(PredictionTimeout(f"{url} gave up: {said}"))
        if code is Code.UNAVAILABLE:
            if _LOST.search(said) and retry_after is None:
                return lost(url, said)
            return not_ready(url, said, retry_after)
        if code in (Code.INTERNAL, Code.UNKNOWN, Code.CANCELLED) and _LOST.search(said):
            return lost(url, said)
        if code in (Code.INVALID_ARGUMENT, Code.OUT_OF_RANGE):
            return of_words(said, url=url, model=question.model) or invalid(said)
        if code is Code.RESOURCE_EXHAUSTED:
            if found := _TOO_LARGE.search(said):
                is_ours = found[1].lower() == "sent" or said.lower().startswith("server")
                return invalid(said) if is_ours else broken(url, said)
            return overloaded(url, said, retry_after)
        if code is Code.NOT_FOUND:
            unknown = unknown_model(url, question.model, said)
            return of_words(said, url=url, model=question.model) or unknown
        if code is Code.FAILED_PRECONDITION:
            return not_ready(url, said, retry_after)
        if code in (Code.UNAUTHENTICATED, Code.PERMISSION_DENIED):
            return refused(url, said)
        if code is Code.CANCELLED:
            return Failure(PredictionTimeout(f"{url} gave up: {said}"))
        return broken(url, f"{code.name}: {said}")


def _tell(loop: asyncio.AbstractEventLoop, done: asyncio.Future[None], call: Any) -> None:
    """From gRPC's thread to the task."""

    def tell() -> None:
        if not done.done():
            done.set_result(None)

    try:
        loop.call_soon_threadsafe(tell)
    except RuntimeError:
        # The loop has ended, and nobody waits.
        return


def _retry_after(error: Any) -> float | None:
    for name, value in error.trailing_metadata() or ():
        if name == "retry-after":
            return seconds(value if isinstance(value, str) else None)
    return None


def _limit(most: int) -> int:
    """As gRPC counts: in 31 bits."""
    return min(most, (1 << 31) - 1)
