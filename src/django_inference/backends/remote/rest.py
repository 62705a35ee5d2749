"""One server over HTTP, by httpx."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from functools import cached_property, partial
from typing import Any
from weakref import WeakKeyDictionary

import httpx

from django_inference.backends.remote.addresses import Address
from django_inference.backends.remote.credentials import Credentials
from django_inference.backends.remote.failures import Failure, broken, invalid, lost, of_status
from django_inference.backends.remote.options import RemoteOptions
from django_inference.backends.remote.questions import HttpAsk, HttpReply, Question
from django_inference.exceptions import RemoteError

#: Seconds that a connection may take to be made, so that another server can still be asked.
CONNECT_TIMEOUT = 3.0
#: Seconds that an unused connection is kept; most servers keep them for longer.
KEPT_FOR = 4.0
#: Longer bodies are sent in the pieces that they are made of, and not joined before.
_JOINED = 1 << 16


class RestTransport:
    """Connections to one server.

    Args:
        address: of the server.
        options: of the backend.
        credentials: of every request.
    """

    def __init__(self, address: Address, options: RemoteOptions, credentials: Credentials) -> None:
        self._url = address.url
        self._is_secure = address.is_secure
        self._options = options
        self._credentials = credentials
        self._of_loops: WeakKeyDictionary[
            asyncio.AbstractEventLoop, tuple[httpx.AsyncClient, Any]
        ] = WeakKeyDictionary()

    def send(self, question: Question, deadline: float, facts: dict[str, Any]) -> Any:
        """Ask and wait.

        Raises:
            Failure: there is no good answer.
            TimeoutError: there is none in time.
        """
        request = self._request(self._client, question, deadline, facts)
        try:
            response = self._client.send(request, stream=True)
            try:
                body = self._joined(response.iter_raw(), deadline)
            finally:
                response.close()
        except (httpx.HTTPError, OSError) as error:
            raise self._failure(error) from error
        return self._answer(question, response, body, facts)

    async def asend(self, question: Question, deadline: float, facts: dict[str, Any]) -> Any:
        """As `send`, without holding the event loop."""
        client = await self._of_this_loop()
        request = self._request(client, question, deadline, facts)
        try:
            async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                response = await client.send(request, stream=True)
                try:
                    body = await self._ajoined(response.aiter_raw(), deadline)
                finally:
                    await response.aclose()
        except (httpx.HTTPError, OSError) as error:
            raise self._failure(error) from error
        return self._answer(question, response, body, facts)

    def close(self) -> None:
        """Hang up; connections of event loops end with these."""
        if "_client" in self.__dict__:
            self._client.close()

    @cached_property
    def _client(self) -> httpx.Client:
        return httpx.Client(**self._settings())

    @cached_property
    def _context(self) -> Any:
        return self._credentials.context() if self._is_secure else False

    def _settings(self) -> dict[str, Any]:
        try:
            verify = self._context
        except OSError as error:
            raise Failure(RemoteError(f"OPTIONS['tls_…'] cannot be used: {error}")) from error
        most = self._options.connections
        limits = httpx.Limits(
            max_connections=most,
            max_keepalive_connections=min(most, 16),
            keepalive_expiry=KEPT_FOR,
        )
        # Neither proxies nor passwords that the environment has for other purposes.
        return {"verify": verify, "limits": limits, "trust_env": False}

    async def _of_this_loop(self) -> httpx.AsyncClient:
        loop = asyncio.get_running_loop()
        known = self._of_loops.get(loop)
        if known is None:
            client = httpx.AsyncClient(**self._settings())
            # An event loop that ends closes its asynchronous generators, and this the client.
            forget = partial(self._of_loops.pop, loop, None)
            known = self._of_loops[loop] = client, (keeper := _kept(client, forget))
            await anext(keeper)
        return known[0]

    def _request(
        self,
        client: httpx.Client | httpx.AsyncClient,
        question: Question,
        deadline: float,
        facts: dict[str, Any],
    ) -> httpx.Request:
        ask = question.http(deadline - time.monotonic(), facts)
        length = ask.length
        if length > self._options.max_request_bytes:
            raise invalid(
                f"it is {length} bytes long, more than the {self._options.max_request_bytes} of "
                "max_request_bytes."
            )
        headers = [*self._credentials.headers(), *ask.headers.items()]
        headers.append(("accept-encoding", "identity"))
        content: Any = None
        if ask.body:
            if length > _JOINED and len(ask.body) > 1:
                headers.append(("content-length", str(length)))
                content = _Pieces(ask)
            else:
                content = b"".join(ask.body)
        request = client.build_request(
            ask.method, self._url + ask.path, content=content, headers=headers
        )
        request.extensions["timeout"] = _Left(deadline)
        return request

    def _joined(self, pieces: Iterator[bytes], deadline: float) -> bytes:
        found, length = [], 0
        for piece in pieces:
            length += len(piece)
            self._check(length, deadline)
            found.append(piece)
        return found[0] if len(found) == 1 else b"".join(found)

    async def _ajoined(self, pieces: AsyncIterator[bytes], deadline: float) -> bytes:
        found, length = [], 0
        async for piece in pieces:
            length += len(piece)
            self._check(length, deadline)
            found.append(piece)
        return found[0] if len(found) == 1 else b"".join(found)

    def _check(self, length: int, deadline: float) -> None:
        if length > self._options.max_response_bytes:
            raise broken(
                self._url,
                f"it is longer than {self._options.max_response_bytes} bytes (max_response_bytes).",
            )
        if time.monotonic() > deadline:
            raise TimeoutError

    def _failure(self, error: Exception) -> Exception:
        is_late = isinstance(error, httpx.TimeoutException | TimeoutError)
        if is_late and not isinstance(error, httpx.ConnectTimeout):
            return TimeoutError(str(error))
        return lost(self._url, str(error) or type(error).__name__)

    def _answer(
        self, question: Question, response: httpx.Response, body: bytes, facts: dict[str, Any]
    ) -> Any:
        # httpx has the names in lower case.
        headers = dict(response.headers)
        if response.status_code != 200:
            raise of_status(
                response.status_code, body, headers, url=self._url, model=question.model
            )
        return question.of_http(HttpReply(200, headers, body), facts)


class _Left(dict[str, float]):
    """The timeouts of one request: at each wait, what is left until the deadline."""

    def __init__(self, deadline: float) -> None:
        super().__init__()
        self._deadline = deadline

    def get(self, name: str, default: Any = None) -> float:
        """Seconds that a wait of that name may take."""
        left = max(0.001, self._deadline - time.monotonic())
        return min(left, CONNECT_TIMEOUT) if name == "connect" else left


class _Pieces(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body that is written piece by piece."""

    def __init__(self, ask: HttpAsk) -> None:
        self._ask = ask

    def __iter__(self) -> Iterator[bytes]:
        yield from map(bytes, self._ask.body)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._ask.body:
            yield bytes(piece)


async def _kept(
    client: httpx.AsyncClient, forget: Callable[[], object]
) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        forget()
        await client.aclose()
