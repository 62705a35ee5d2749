"""A client's connection to one worker: a socket, an arena, one call at a time."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import time
from typing import Any

from django_inference.host.arena import Arena
from django_inference.host.codec import SPILLED, UNLIMITED, Codec
from django_inference.host.control import connect
from django_inference.host.protocol import LENGTH, MAX_FRAME, PREDICT, Call, Reply
from django_inference.nested import outer

#: Seconds that one wait of the system lasts at the most.
LONGEST_WAIT = 1e6
#: Seconds by which the system may end a wait too early: the time-outs of one predictor are
#: alike, so the system need not be told a new one for every call.
ROUNDING = 0.05
#: As C has it: seconds, microseconds.
TIMEVAL = struct.Struct("ll")


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
        #: Seconds after which the system ends a wait; negative while the socket does not block.
        self._wait = -1.0
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

    def encode(
        self,
        payload: Any,
        deadline: float,
        *,
        priority: int,
        alone: bool,
        kind: int = PREDICT,
    ) -> bytes:
        """Put a call into the arena and return its frame.

        Raises:
            TypeError: a value cannot be sent.
            OverflowError: an integer needs more than 64 bits.
            ValueError: it is longer than `max_request_bytes`.
        """
        self._codec.arena.mark = 0
        call = Call(deadline, time.monotonic(), alone, priority, payload, kind, outer().chain)
        return self._codec.encode(call)

    def exchange(self, frame: bytes, deadline: float) -> Reply:
        """Send a call and wait for its reply.

        Raises:
            ConnectionError: the worker is gone.
            TimeoutError: the deadline has passed.
            ProtocolError: the reply cannot be read.
        """
        sock = self._socket
        wait = deadline - time.monotonic()
        if not wait - ROUNDING < self._wait <= wait:
            self._wait_at_most(wait)
        try:
            sock.sendall(frame)
        except BlockingIOError:
            raise TimeoutError from None
        have = 0
        while not self._is_complete(have):
            # One system call, in which other threads may run, where a socket with a timeout
            # of Python's own makes two.
            try:
                count = sock.recv_into(self._view[have:])
            except BlockingIOError:
                self._wait_at_most(deadline - time.monotonic())
                continue
            if not count:
                raise ConnectionResetError("the worker has closed the connection")
            have += count
        return self._reply(have)

    async def aexchange(self, frame: bytes, deadline: float) -> Reply:
        """As `exchange`, without holding the event loop."""
        loop = asyncio.get_running_loop()
        sock = self._socket
        if self._wait >= 0:
            sock.setblocking(False)
            self._wait = -1.0
        async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
            await loop.sock_sendall(sock, frame)
            have = 0
            while not self._is_complete(have):
                count = await loop.sock_recv_into(sock, self._view[have:])
                if not count:
                    raise ConnectionResetError("the worker has closed the connection")
                have += count
        return self._reply(have)

    def hang_up(self) -> None:
        """End the connection, even if a child of this process has a copy of the socket."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Let go of the socket and of the arena. The mark stays readable."""
        self._socket.close()
        self._codec.close()

    def _wait_at_most(self, seconds: float) -> None:
        """Have the system end every wait then, in place of a loop with a clock.

        Raises:
            TimeoutError: that is now.
        """
        if seconds <= 0:
            raise TimeoutError
        if self._wait < 0:
            self._socket.setblocking(True)
        # A little less, so that the next call with the same time-out finds it small enough.
        seconds = min(max(seconds - ROUNDING / 2, seconds / 2, 0.001), LONGEST_WAIT)
        whole = int(seconds)
        timeval = TIMEVAL.pack(whole, int((seconds - whole) * 1e6))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeval)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeval)
        self._wait = seconds

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
