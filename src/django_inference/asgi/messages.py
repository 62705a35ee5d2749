"""What ASGI hands in, and what is handed back. Source: the HTTP part of its specification."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

import msgspec

from django_inference.wire.compression import BodyTooLong, inflate

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]

_encode = msgspec.json.Encoder().encode
_JSON = (b"content-type", b"application/json")


class Gone(Exception):
    """The client has hung up before its body was here."""


class Request:
    """One request.

    Args:
        scope: of the connection.
        receive: gives its body.

    Attributes:
        method: of HTTP; `GET` for `HEAD`.
        path: decoded.
        headers: by names in lower case; of several with one name the last.
        peer: the address that it came from.
    """

    def __init__(self, scope: Message, receive: Receive) -> None:
        self.method: str = "GET" if scope["method"] == "HEAD" else scope["method"]
        self.path: str = scope["path"]
        self.headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        client = scope.get("client")
        self.peer = f"{client[0]}:{client[1]}" if client else ""
        self._receive = receive

    async def body(self, limit: int) -> bytes:
        """The body, unpacked where it came compressed.

        Args:
            limit: bytes that it may have, as it came and unpacked.

        Raises:
            BodyTooLong: it has more.
            InvalidInput: it is not compressed as it says.
            Gone: there is nobody any more.
        """
        said = self.headers.get("content-length", "")
        if said.isascii() and said.isdigit() and (len(said) > 18 or int(said) > limit):
            raise _too_long(limit)
        parts: list[bytes] = []
        length = 0
        while True:
            message = await self._receive()
            if message["type"] != "http.request":
                raise Gone
            part = message.get("body", b"")
            length += len(part)
            if length > limit:
                raise _too_long(limit)
            parts.append(part)
            if not message.get("more_body", False):
                break
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        encoding = self.headers.get("content-encoding", "")
        if not encoding:
            return body
        # A short one may be much longer when it is unpacked.
        unpacked: bytes = await asyncio.to_thread(inflate, body, encoding, limit)
        return unpacked


class Answer(msgspec.Struct, frozen=True):
    """A response.

    Attributes:
        body: its bytes.
        status: of HTTP.
        headers: beside the length.
    """

    body: bytes
    status: int = 200
    headers: tuple[tuple[bytes, bytes], ...] = (_JSON,)

    async def send(self, send: Send, *, with_body: bool = True) -> None:
        """Send it."""
        length = (b"content-length", b"%d" % len(self.body))
        start = {
            "type": "http.response.start",
            "status": self.status,
            "headers": [*self.headers, length],
        }
        await send(start)
        await send({"type": "http.response.body", "body": self.body if with_body else b""})


def as_json(value: Any, status: int = 200, **headers: str) -> Answer:
    """A value as JSON.

    Args:
        value: that msgspec can write, or bytes that are JSON already.
        status: of HTTP.
        headers: with `_` for `-`.
    """
    more = tuple(
        (name.replace("_", "-").encode(), said.encode("latin-1", "replace"))
        for name, said in headers.items()
    )
    body = value if isinstance(value, bytes) else _encode(value)
    return Answer(body, status, (_JSON, *more))


def _too_long(limit: int) -> BodyTooLong:
    return BodyTooLong(f"the body has more than {limit} bytes.")
