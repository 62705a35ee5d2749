"""Calls and replies as frames, their tensors in the arena.

A tensor becomes a msgpack extension that says where it lies: dtype, shape and offset.
Everything else is plain msgpack. A frame that would be too long for the socket is put
into the arena as well, and the frame says where (`SPILLED`).

Before the payload stands a head of fixed length: what changes with every message while the
payload looks like the last one, see `layout`.
"""

from __future__ import annotations

import struct
import sys
from typing import Any

import msgspec
import numpy as np

from django_inference.host.arena import ALIGNMENT, HEADER, Arena
from django_inference.host.layout import Layout, Place, is_named_tensors
from django_inference.host.lending import Loans
from django_inference.host.protocol import (
    LENGTH,
    MAX_FRAME,
    NEXT,
    OPEN,
    Call,
    Failure,
    ProtocolError,
    Reply,
)
from django_inference.packing import dtype_named, length_of
from django_inference.specs import PRIORITIES
from django_inference.values import OBJECTS, TENSOR, array_of_objects, is_plain, simplified

#: Set in a frame's length when the body is `offset, length` of where it lies in the arena.
SPILLED = 1 << 31
_PLACE = struct.Struct(">QQ")

#: Of a call: deadline, sent_at, alone, priority, kind, and where in the arena it and its reply
#: may begin. Behind it, where the kind has the bit `NESTED`, the length and the names of its
#: chain. Of a reply: whether a payload follows, a failure, or nothing.
CALL_HEAD = struct.Struct(">dd?BBQ")
CHAIN_HEAD = struct.Struct(">H")
NESTED = 0x80
_ANSWERED, _FAILED, _OVER = b"\0", b"\1", b"\2"
_IS_OVER = Reply(None, None, is_over=True)

UNLIMITED = sys.maxsize

_encode_failure = msgspec.msgpack.Encoder().encode
_decode_failure = msgspec.msgpack.Decoder(Failure).decode
_encode_place = msgspec.msgpack.Encoder().encode
_decode_chain = msgspec.msgpack.Decoder(tuple[str, ...]).decode
_decode_tensor = msgspec.msgpack.Decoder(tuple[str, tuple[int, ...], int]).decode


class Codec:
    """Encodes for and decodes from one arena. One thread at a time.

    Args:
        arena: of the connection.
        incoming: `Call` on the worker's side: the tensors look into the arena, and the
            reply is put behind them; those that open a stream are copies, since it lasts
            longer than the next message. `Reply` on the client's: the tensors outlive the next
            call, because they are copies or because the next call goes elsewhere.
        max_sent: bytes of tensors and frame that are sent at the most.
        max_received: bytes of tensors and frame that are read at the most.
    """

    def __init__(
        self,
        arena: Arena,
        incoming: type[Call] | type[Reply],
        *,
        max_sent: int = UNLIMITED,
        max_received: int = UNLIMITED,
    ) -> None:
        self.arena = arena
        self._max_sent = max_sent
        self._max_received = max_received
        self._is_client = incoming is Reply
        self._copies = False
        self._encoder = msgspec.msgpack.Encoder(
            enc_hook=self._encode_other, decimal_format="number"
        )
        self._decoder = msgspec.msgpack.Decoder(ext_hook=self._decode_extension)
        self._objects_decoder = msgspec.msgpack.Decoder(
            tuple[tuple[int, ...], list[Any]], ext_hook=self._decode_extension
        )
        self._loans = Loans()
        self._start = self._end = HEADER
        self._limit = max_sent
        self._places: list[Place] = []
        self._sent: Layout | None = None
        self._received: Layout | None = None

    def encode(self, message: Call | Reply) -> bytes:
        """Return the frame, and copy its tensors into the arena.

        Raises:
            TypeError: a value can be sent neither as msgpack nor as a tensor.
            OverflowError: an integer needs more than 64 bits.
            ValueError: it is longer than `max_sent`.
            struct.error: there can be no such priority or kind.
        """
        if self._is_client:
            self._end = self._loans.free_from()
        self._start, self._limit = self._end, self._max_sent
        if isinstance(message, Call):
            body = self._encode_head(message) + self._encode_payload(message.payload)
        elif message.is_over:
            body = _OVER
        elif message.failure is None:
            body = _ANSWERED + self._encode_payload(message.payload)
        else:
            # What went wrong is said however little may be answered.
            self._limit = UNLIMITED
            body = _FAILED + _encode_failure(message.failure)
        if len(body) < MAX_FRAME:
            self._check_sent(len(body))
            return LENGTH.pack(len(body)) + body
        start = self._room(len(body))
        self.arena.memory[start : start + len(body)] = body
        return LENGTH.pack(SPILLED | _PLACE.size) + _PLACE.pack(start, len(body))

    def decode(self, body: bytes | bytearray | memoryview, *, spilled: bool) -> Any:
        """Return the message of a frame.

        Raises:
            ProtocolError: it is malformed, or points out of the arena.
        """
        self._start = self._end = HEADER
        try:
            if spilled:
                start, length = _PLACE.unpack(body)
                self._end = start + length
                self._map()
                body = memoryview(self.arena.memory)[start : start + length]
            elif len(body) > self._max_received:
                raise ValueError(f"it takes more than the {self._max_received} bytes allowed")
            return self._reply(body) if self._is_client else self._call(body)
        except (
            *(msgspec.DecodeError, ValueError, TypeError),
            *(struct.error, IndexError, RecursionError),
        ) as error:
            raise ProtocolError(f"a malformed frame: {error}") from error

    def close(self) -> None:
        """Let go of the arena. The mark stays readable."""
        self._sent = self._received = None
        self._places = []
        self.arena.close()

    def _call(self, body: bytes | bytearray | memoryview) -> Call:
        deadline, sent_at, alone, priority, kind, start = CALL_HEAD.unpack_from(body)
        behind = CALL_HEAD.size
        chain: tuple[str, ...] = ()
        if kind & NESTED:
            kind ^= NESTED
            (length,) = CHAIN_HEAD.unpack_from(body, behind)
            behind += CHAIN_HEAD.size + length
            chain = _decode_chain(body[behind - length : behind])
        if priority >= len(PRIORITIES) or kind > NEXT:
            raise ValueError(f"there is no priority {priority} or no kind {kind} of call")
        self._begin(start)
        self._copies = kind == OPEN
        payload = self._payload(body[behind:])
        return Call(deadline, sent_at, alone, priority, payload, kind, chain)

    def _reply(self, body: bytes | bytearray | memoryview) -> Reply:
        kind = body[0]
        if not kind:
            return Reply(None, self._payload(body[1:]))
        if kind == _OVER[0]:
            return _IS_OVER
        return Reply(_decode_failure(body[1:]), None)

    def _encode_head(self, call: Call) -> bytes:
        kind, chain = call.kind, b""
        if call.chain:
            kind |= NESTED
            names = _encode_place(call.chain)
            chain = CHAIN_HEAD.pack(len(names)) + names
        head = (call.deadline, call.sent_at, call.alone, call.priority, kind, self._start)
        return CALL_HEAD.pack(*head) + chain

    def _encode_payload(self, payload: Any) -> bytes:
        layout, start = self._sent, self._start
        if layout is not None and layout.start == start and layout.take(payload):
            self._end = layout.end
            return layout.body
        self._places = []
        body = self._encoder.encode(payload)
        if is_named_tensors(payload):
            self._sent = Layout.of(payload, body, self._places, start, self._end)
        return body

    def _payload(self, body: bytes | bytearray | memoryview) -> Any:
        layout, start = self._received, self._end
        if layout is not None and layout.start == start and layout.body == body:
            self._end = layout.end
            if not self._is_client:
                return layout.copies() if self._copies else layout.views(self.arena.memory)
            return self._lent(layout) if layout.has_long else layout.copies()
        self._places = []
        payload = self._decoder.decode(body)
        if self._is_client:
            self._loans.end(self._end)
        # A spilled one is long, and nothing keeps the peer from changing it meanwhile.
        if start == self._start and is_named_tensors(payload):
            self._received = Layout.of(payload, bytes(body), self._places, start, self._end)
        return payload

    def _lent(self, layout: Layout) -> dict[str, np.ndarray[Any, Any]]:
        give = self._loans.give
        views = layout.views(self.arena.memory)
        results = {name: give(view) for name, view in views.items()}
        self._loans.end(layout.end)
        return results

    def _begin(self, start: int) -> None:
        """Take note of where a call begins: what lies before it is lent to the caller."""
        if start < HEADER:
            raise ValueError("a call begins in the header of the arena")
        self._start = start
        if start > self._end:
            self._end = start
            self._map()
        self._check_received()

    def _encode_other(self, value: Any) -> Any:
        simple = simplified(value)
        return self._encode_array(simple) if isinstance(simple, np.ndarray) else simple

    def _encode_array(self, value: np.ndarray[Any, Any]) -> msgspec.msgpack.Ext:
        dtype = value.dtype
        if not is_plain(dtype):
            objects = (value.shape, value.ravel().tolist())
            return msgspec.msgpack.Ext(OBJECTS, self._encoder.encode(objects))
        start = self._room(value.nbytes)
        view: np.ndarray[Any, Any] = np.ndarray(value.shape, dtype, self.arena.memory, start)
        view[...] = value
        self._places.append(Place(dtype, value.shape, start, view))
        return msgspec.msgpack.Ext(TENSOR, _encode_place((dtype.str, value.shape, start)))

    def _room(self, length: int) -> int:
        start = -(-self._end // ALIGNMENT) * ALIGNMENT
        self._end = start + length
        self._check_sent()
        if self._end > self.arena.size:
            self.arena.grow(self._end)
        return start

    def _check_sent(self, frame: int = 0) -> None:
        if self._end - self._start + frame > self._limit:
            raise ValueError(f"it takes more than the {self._limit} bytes that are allowed")

    def _reach(self, end: int) -> None:
        if end > self._end:
            self._end = end
            self._check_received()
            self._map()

    def _check_received(self) -> None:
        if self._end - self._start > self._max_received:
            raise ValueError(f"it takes more than the {self._max_received} bytes allowed")

    def _map(self) -> None:
        if self._end > self.arena.size:
            self.arena.reach(self._end)

    def _decode_extension(self, code: int, data: memoryview) -> Any:
        if code == TENSOR:
            name, shape, start = _decode_tensor(data)
            dtype = dtype_named(name)
            if start < HEADER:
                raise ValueError("a tensor lies in the header of the arena")
            end = start + dtype.itemsize * length_of(shape)
            self._reach(end)
            if max(shape, default=0) > self.arena.size:
                raise ValueError(f"an empty tensor of the shape {list(shape)}")
            memory = self.arena.memory
            tensor: np.ndarray[Any, Any] = np.ndarray(shape, dtype, memory, start)
            self._places.append(Place(dtype, shape, start, tensor))
            if not self._is_client:
                return tensor.copy() if self._copies else tensor
            # What is remembered must not keep alive what is lent.
            return self._loans.give(np.ndarray(shape, dtype, memory, start))
        if code == OBJECTS:
            shape, flat = self._objects_decoder.decode(data)
            return array_of_objects(flat).reshape(shape)
        raise ValueError(f"an unknown extension {code}")
