"""A worker's end of the connection to one client thread."""

from __future__ import annotations

import logging
import socket
import time

import msgspec

from django_inference.engine.streams import Stream
from django_inference.exceptions import InvalidInput
from django_inference.host.arena import Arena
from django_inference.host.codec import SPILLED, Codec
from django_inference.host.protocol import (
    LENGTH,
    MAX_FRAME,
    NEXT,
    OPEN,
    PREDICT,
    Call,
    Failure,
    ProtocolError,
    Reply,
)
from django_inference.specs import Supervision

logger = logging.getLogger("django_inference.worker")


class Hangup(Exception):
    """The client has closed the connection, or has to be dropped."""


class Connection:
    """One client thread's connection, with its arena. One call, or one stream, at a time.

    Args:
        sock: not blocking.
        rules: with the limits of calls and replies.

    Attributes:
        answered_at: `time.monotonic()` of the last answer.
    """

    def __init__(self, sock: socket.socket, rules: Supervision) -> None:
        self._sock = sock
        self._rules = rules
        self._codec: Codec | None = None
        self._partial = bytearray()
        self._is_waiting = False
        self._stream: Stream | None = None
        self.is_closed = False
        self.answered_at = 0.0

    @property
    def is_idle(self) -> bool:
        """Whether it has no call that waits for its answer, and no stream."""
        return not self._is_waiting and self._stream is None

    def fileno(self) -> int:
        """The descriptor to wait for."""
        return self._sock.fileno()

    def read(self, buffer: memoryview) -> Call | None:
        """Return the call, or None while it is not complete. A call of a stream holds it.

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
            call: Call = self._codec.decode(frame[LENGTH.size :], spilled=length >= SPILLED)
        except ProtocolError as error:
            # Without an answer the client would take this process for dead and try again.
            self.reply(Reply(Failure.of(InvalidInput(f"the input cannot be read: {error}")), None))
            raise
        if call.kind != PREDICT or self._stream is not None:
            call = self._of_stream(call)
        self._is_waiting = True
        return call

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
        self.answered_at = time.monotonic()
        try:
            # One call at a time: the socket's buffer is empty, and a frame is shorter.
            if self._sock.send(frame) != len(frame):
                self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            logger.debug("a client left before its answer")

    def end_stream(self) -> None:
        """Let the engine close the stream, if there is one; calls may follow."""
        if self._stream is not None:
            self._stream.is_over = True
            self._stream = None

    def close(self) -> None:
        """Let go of the socket and of the arena, and of the stream."""
        self.is_closed = True
        self.end_stream()
        self._sock.close()
        if self._codec is not None:
            self._codec.close()

    def _of_stream(self, call: Call) -> Call:
        """Put the stream into a call for one of its chunks.

        Raises:
            ProtocolError: there is none to go on with, or one that is not over.
        """
        if (call.kind == NEXT) is (self._stream is None):
            raise ProtocolError("a stream is opened once, gone on with to its end, or hung up")
        if call.kind == OPEN:
            self._stream = Stream(call.payload)
        return msgspec.structs.replace(call, payload=self._stream)

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
