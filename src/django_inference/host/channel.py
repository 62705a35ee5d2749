"""A client's connection to one worker: a socket, an arena, one call at a time."""

from __future__ import annotations

import asyncio
import select
import socket
import time
from typing import Any

from django_inference.host.arena import Arena
from django_inference.host.codec import SPILLED, UNLIMITED, Codec
from django_inference.host.control import connect
from django_inference.host.protocol import LENGTH, MAX_FRAME, Call, Reply

#: Seconds that one wait lasts at the most: `poll` counts milliseconds in 32 bits.
LONGEST_WAIT = 1e6


class Channel:
    """Made by a client thread or task when no idle one is there.

    Args:
        path: of the worker's socket.
        timeout: seconds to connect.
        max_request_bytes: a longer call is not sent.

    Raises:
        OSError: nobody listens there.
    """

    def __init__(self, path: str, timeout: float, max_request_bytes: int = UNLIMITED) -> None:
        self.path = path
        self._socket = connect(path, timeout)
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)
        arena = Arena()
        self._codec = Codec(arena, Reply, max_sent=max_request_bytes)
        self._buffer = bytearray(LENGTH.size + MAX_FRAME)
        self._view = memoryview(self._buffer)
        try:
            socket.send_fds(self._socket, [b"!"], [arena.fd])
            self._socket.setblocking(False)
        except BaseException:
            self.close()
            raise

    @property
    def mark(self) -> int:
        """How many units shared the batch with the last call; 0 if it was not run."""
        return self._codec.arena.mark

    def encode(self, payload: Any, deadline: float, *, priority: int, alone: bool) -> bytes:
        """Put a call into the arena and return its frame.

        Raises:
            TypeError: a value cannot be sent.
            OverflowError: an integer needs more than 64 bits.
            ValueError: it is longer than `max_request_bytes`.
        """
        self._codec.arena.mark = 0
        return self._codec.encode(Call(deadline, time.monotonic(), alone, priority, payload))

    def exchange(self, frame: bytes, deadline: float) -> Reply:
        """Send a call and wait for its reply.

        Raises:
            ConnectionError: the worker is gone.
            TimeoutError: the deadline has passed.
            ProtocolError: the reply cannot be read.
        """
        sock = self._socket
        sent = sock.send(frame)
        if sent < len(frame):
            # The buffers of this system are shorter than a frame.
            sock.settimeout(_seconds_until(deadline))
            sock.sendall(frame[sent:])
            sock.setblocking(False)
        have = 0
        while not self._is_complete(have):
            # Half the system calls of a socket with a timeout.
            if not self._poll.poll(_seconds_until(deadline) * 1000):
                raise TimeoutError
            count = sock.recv_into(self._view[have:])
            if not count:
                raise ConnectionResetError("the worker has closed the connection")
            have += count
        return self._reply(have)

    async def aexchange(self, frame: bytes, deadline: float) -> Reply:
        """As `exchange`, without holding the event loop."""
        loop = asyncio.get_running_loop()
        sock = self._socket
        async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
            await loop.sock_sendall(sock, frame)
            have = 0
            while not self._is_complete(have):
                count = await loop.sock_recv_into(sock, self._view[have:])
                if not count:
                    raise ConnectionResetError("the worker has closed the connection")
                have += count
        return self._reply(have)

    def close(self) -> None:
        """Hang up. The mark stays readable."""
        self._socket.close()
        self._codec.close()

    def _is_complete(self, have: int) -> bool:
        if have < LENGTH.size:
            return False
        end = LENGTH.size + (LENGTH.unpack_from(self._buffer)[0] & ~SPILLED)
        if end > len(self._buffer) or have > end:
            raise ConnectionAbortedError("the worker sent a frame of a false length")
        return bool(have == end)

    def _reply(self, have: int) -> Reply:
        (length,) = LENGTH.unpack_from(self._buffer)
        reply: Reply = self._codec.decode(self._view[LENGTH.size : have], spilled=length >= SPILLED)
        return reply


def _seconds_until(deadline: float) -> float:
    return min(max(0.001, deadline - time.monotonic()), LONGEST_WAIT)
