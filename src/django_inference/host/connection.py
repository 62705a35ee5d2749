"""A worker's end of the connection to one client thread."""

from __future__ import annotations

import logging
import socket
from typing import Any

from django_inference.engine.batching import Request
from django_inference.exceptions import InferenceError, InvalidInput, PredictionFailed
from django_inference.host.arena import Arena
from django_inference.host.codec import SPILLED, Codec
from django_inference.host.protocol import LENGTH, MAX_FRAME, Call, Failure, ProtocolError, Reply
from django_inference.specs import Supervision, one_line

logger = logging.getLogger("django_inference.worker")


class Hangup(Exception):
    """The client has closed the connection, or has to be dropped."""


class Connection:
    """One client thread's connection, with its arena. One call at a time.

    Args:
        sock: not blocking.
        rules: with the limits of calls and replies.
    """

    def __init__(self, sock: socket.socket, rules: Supervision) -> None:
        self._sock = sock
        self._rules = rules
        self._codec: Codec | None = None
        self._partial = bytearray()
        self._is_waiting = False
        self.is_closed = False

    def fileno(self) -> int:
        """The descriptor to wait for."""
        return self._sock.fileno()

    def read(self, buffer: memoryview) -> HostRequest | None:
        """Return the call, or None while it is not complete.

        Args:
            buffer: scratch space, longer than any frame.

        Raises:
            Hangup: the client is gone.
            ProtocolError: it sent what it must not.
        """
        if self._codec is None:
            self._greet()
            if self._codec is None:
                return None
        try:
            count = self._sock.recv_into(buffer)
        except BlockingIOError:
            return None
        except OSError as error:
            raise Hangup from error
        if count == 0:
            raise Hangup
        if self._is_waiting:
            raise ProtocolError("a call came before the last one was answered")
        frame = buffer[:count]
        if self._partial:
            self._partial += frame
            frame = memoryview(bytes(self._partial))
        if len(frame) < LENGTH.size:
            self._partial = bytearray(frame)
            return None
        (length,) = LENGTH.unpack_from(frame)
        end = LENGTH.size + (length & ~SPILLED)
        if end > LENGTH.size + MAX_FRAME or len(frame) > end:
            raise ProtocolError(f"a frame of {end} bytes was announced, {len(frame)} came")
        if len(frame) < end:
            self._partial = bytearray(frame)
            return None
        if self._partial:
            self._partial = bytearray()
        try:
            call = self._codec.decode(frame[LENGTH.size :], spilled=length >= SPILLED)
        except ProtocolError as error:
            # Without an answer the client would take this process for dead and try again.
            self.reply(Reply(Failure.of(InvalidInput(f"the input cannot be read: {error}")), None))
            raise
        self._is_waiting = True
        return HostRequest(self, call)

    def begins(self, batch: int) -> None:
        """Leave a mark for the client, should the run kill this process."""
        assert self._codec is not None
        self._codec.arena.mark = batch

    def reply(self, reply: Reply) -> None:
        """Send the answer; a client that cannot take it is dropped at the next read."""
        assert self._codec is not None
        if self.is_closed:
            return
        frame = self._codec.encode(reply)
        self._is_waiting = False
        try:
            # One call at a time: the socket's buffer is empty, and a frame is shorter.
            if self._sock.send(frame) != len(frame):
                self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            logger.debug("a client left before its answer")

    def close(self) -> None:
        """Let go of the socket and of the arena."""
        self.is_closed = True
        self._sock.close()
        if self._codec is not None:
            self._codec.close()

    def _greet(self) -> None:
        """Take the arena, which comes with the first byte."""
        try:
            data, fds, _, _ = socket.recv_fds(self._sock, 1, 1)
        except BlockingIOError:
            return
        except OSError as error:
            raise Hangup from error
        if not data:
            raise Hangup
        if len(fds) != 1:
            raise ProtocolError("the first byte came without an arena")
        try:
            self._codec = Codec(
                Arena(fds[0]),
                Call,
                max_sent=self._rules.max_response_bytes,
                max_received=self._rules.max_request_bytes,
            )
        except ValueError as error:
            raise ProtocolError(str(error)) from error


class HostRequest(Request):
    """A request whose answer goes back over a connection."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection, call: Call) -> None:
        super().__init__(call.payload, call.deadline, call.sent_at, call.alone, call.priority)
        self._connection = connection

    @property
    def is_abandoned(self) -> bool:
        """Whether the client has hung up: it gave up, or is gone."""
        return self._connection.is_closed

    def begins(self, batch: int) -> None:
        """Leave a mark for the client, should the run kill this process."""
        self._connection.begins(batch)

    def answer(self, outcome: Any) -> None:
        """Send the answer."""
        if isinstance(outcome, InferenceError):
            reply = Reply(Failure.of(outcome), None)
        else:
            reply = Reply(None, outcome)
        try:
            self._connection.reply(reply)
        except Exception as error:
            # Whatever the model has returned: an array of another library may raise anything.
            failure = PredictionFailed(f"the result cannot be sent: {one_line(error)}")
            self._connection.reply(Reply(Failure.of(failure), None))
