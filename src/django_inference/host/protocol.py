"""What clients, supervisor and workers say to each other, and how it is framed.

A frame is a four-byte big-endian length and that many bytes of msgpack; calls and replies
have a head before it (see `codec`). Tensors do not travel in frames: they lie in the arena.
Nothing is ever unpickled.
"""

from __future__ import annotations

import socket
import struct
import time
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from django_inference.artifacts.records import StoreSettings
from django_inference.exceptions import BY_NAME, InferenceError
from django_inference.specs import CacheCounts, ErrorReport, ModelSpec, State, Status, printable
from django_inference.tensors import Signature

if TYPE_CHECKING:
    # Not at run time: a worker is spared its 3 MB.
    import asyncio

#: Processes that speak different versions never meet: it is part of the socket's path.
VERSION = 4

#: Longest frame. What is longer goes through the arena; a longer claim is a broken peer.
MAX_FRAME = 1 << 16
#: Status reports and specs may be longer than any call's header.
MAX_CONTROL_FRAME = 1 << 24

LENGTH = struct.Struct(">I")


class ProtocolError(Exception):
    """A peer sent what the protocol does not allow."""


# From a client to the supervisor. One connection carries one request.


class Declare(msgspec.Struct, frozen=True, tag=True):
    """Have this model loaded. Answered by `Update`s: one, or one a change.

    Attributes:
        spec: of the model.
        declared_at: seconds since the epoch at which the client read its settings: a
            declaration never replaces a newer one, whatever order they arrive in.
        follow: push every change until the client hangs up.
        pid: of the client, where the system does not tell the supervisor.
    """

    spec: ModelSpec
    declared_at: float
    follow: bool = False
    pid: int = 0


class Reload(msgspec.Struct, frozen=True, tag=True):
    """Load the model again beside what runs. Answered by an `Update`."""

    alias: str


class Unload(msgspec.Struct, frozen=True, tag=True):
    """Give the model's memory back. Answered by an `Update`."""

    alias: str


class Rollback(msgspec.Struct, frozen=True, tag=True):
    """Serve the version before this one. Answered by an `Update` or a `Refusal`."""

    alias: str


class Promote(msgspec.Struct, frozen=True, tag=True):
    """Give the version on trial all the traffic. Answered by an `Update` or a `Refusal`."""

    alias: str


class Compared(msgspec.Struct, frozen=True, tag=True):
    """What copies of calls have shown. Answered by an `Update`.

    Attributes:
        version: the one on trial.
        equal: copies that it answered as the serving version did.
        different: copies that it answered otherwise, or not.
        example: the last difference in words.
    """

    alias: str
    version: str
    equal: int
    different: int
    example: str = ""


class Saved(msgspec.Struct, frozen=True, tag=True):
    """What the cache of one process has saved since it was said last. Answered by an `Update`."""

    alias: str
    counts: CacheCounts


class Confine(msgspec.Struct, frozen=True, tag=True):
    """This input has killed the model twice: refuse it. Answered by an `Update`."""

    alias: str
    digest: str


class Inspect(msgspec.Struct, frozen=True, tag=True):
    """How do all models fare? Answered by `Report`."""


class Stop(msgspec.Struct, frozen=True, tag=True):
    """Drain and leave. Answered by the end of the connection, when the host has left."""


ClientMessage: TypeAlias = (
    Declare | Reload | Unload | Rollback | Promote | Compared | Saved | Confine | Inspect | Stop
)


# From the supervisor to a client.


class Trial(msgspec.Struct, frozen=True):
    """A version that is tried beside the one that serves.

    Attributes:
        version: its digest.
        sockets: paths of its workers' sockets.
        canary: its share of the calls.
        shadow: the share of the calls that it gets a copy of.
        tolerance: by how much a number of an answer to a copy may differ.
    """

    version: str
    sockets: tuple[str, ...]
    canary: float
    shadow: float
    tolerance: float


class Update(msgspec.Struct, frozen=True, tag=True):
    """Where one predictor stands.

    Attributes:
        state: of the version that answers, or of the one being loaded when none does.
        version: that answers; empty when none does, or two do in turns.
        sockets: paths of its workers' sockets.
        signature: of the model.
        error: why the last load failed.
        retry_after: seconds until the next attempt.
        quarantine: digests of inputs that are refused.
        trial: the version that is tried beside it, if one is.
    """

    state: State
    version: str = ""
    sockets: tuple[str, ...] = ()
    signature: Signature | None = None
    error: ErrorReport | None = None
    retry_after: float | None = None
    quarantine: tuple[str, ...] = ()
    trial: Trial | None = None


class Report(msgspec.Struct, frozen=True, tag=True):
    """How all models fare, and the host itself."""

    pid: int
    statuses: tuple[Status, ...]


class Refusal(msgspec.Struct, frozen=True, tag=True):
    """The request could not be understood or carried out."""

    message: str


HostMessage: TypeAlias = Update | Report | Refusal


# Between the supervisor and a worker.


class Start(msgspec.Struct, frozen=True, tag=True):
    """Load this model, then answer calls on that socket.

    Attributes:
        cores: to run on.
        store: where what is made of the artifact is kept.
    """

    spec: ModelSpec
    version: str
    socket: str
    cores: tuple[int, ...]
    store: StoreSettings


class Drain(msgspec.Struct, frozen=True, tag=True):
    """Answer what has arrived, then leave."""


class Loading(msgspec.Struct, frozen=True, tag=True):
    """The load has come to this stage (`specs.Progress`)."""

    stage: str


class Loaded(msgspec.Struct, frozen=True, tag=True):
    """The model is loaded and warm, and the socket listens."""

    load_seconds: float
    signature: Signature | None
    device: str = ""
    framework: str = ""
    weights: str = ""
    batching: str = ""
    warnings: tuple[str, ...] = ()


class Batching(msgspec.Struct, frozen=True, tag=True):
    """Whether requests share runs has changed: see `ReplicaStatus.batching`."""

    status: str


class LoadFailed(msgspec.Struct, frozen=True, tag=True):
    """The load raised; the worker leaves."""

    error: ErrorReport


class Erred(msgspec.Struct, frozen=True, tag=True):
    """The model's own code raised while it ran."""

    error: ErrorReport


WorkerOrder: TypeAlias = Start | Drain
WorkerMessage: TypeAlias = Loading | Loaded | LoadFailed | Batching | Erred


# Between a client and a worker: `Call` and `Reply`, in turns.

#: What a call asks for: a prediction; the first chunk of a stream, which this connection then
#: carries; the next one. Whoever wants no more of a stream hangs up.
PREDICT, OPEN, NEXT = range(3)


class Call(msgspec.Struct, frozen=True):
    """One question. Times are `time.monotonic()`, which the processes of a machine share.

    Its chain are the aliases of the predictors whose runs wait for the answer.
    """

    deadline: float
    sent_at: float
    alone: bool
    priority: int
    payload: Any
    kind: int = PREDICT
    chain: tuple[str, ...] = ()


class Failure(msgspec.Struct, frozen=True, array_like=True):
    """An `InferenceError` on its way to another process."""

    kind: str
    message: str
    retry_after: float | None
    details: str

    @classmethod
    def of(cls, error: InferenceError) -> Failure:
        """Take an error apart; one of a project's own becomes the kind that it is derived from."""
        # A model's code may have put anything into its error.
        wait = error.retry_after
        return cls(
            error.kind,
            printable(error.message),
            wait if isinstance(wait, int | float) else None,
            printable(error.details),
        )

    def error(self, alias: str) -> InferenceError:
        """Put it together again."""
        kind = BY_NAME.get(self.kind, InferenceError)
        return kind(self.message, alias=alias, retry_after=self.retry_after, details=self.details)


class Reply(msgspec.Struct, frozen=True):
    """The answer to a `Call`: a failure, a payload, or that the stream is over.

    After a failure a stream is over, too.
    """

    failure: Failure | None
    payload: Any
    is_over: bool = False


def pack(message: msgspec.Struct) -> bytes:
    """Encode a control message as a frame."""
    body = msgspec.msgpack.encode(message)
    return LENGTH.pack(len(body)) + body


def receive(sock: socket.socket, kind: Any, deadline: float) -> Any:
    """Read one control message from a blocking socket.

    Raises:
        ProtocolError: it is malformed or too long.
        TimeoutError: it did not arrive before `time.monotonic()` reached the deadline.
        EOFError: the peer hung up.
    """
    (length,) = LENGTH.unpack(_exactly(sock, LENGTH.size, deadline))
    return _decode(_exactly(sock, _checked(length), deadline), kind)


async def read(reader: asyncio.StreamReader, kind: Any) -> Any:
    """Read one control message from a stream.

    Raises:
        ProtocolError: it is malformed or too long.
        EOFError: the peer hung up (`asyncio.IncompleteReadError` is one).
    """
    (length,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
    return _decode(await reader.readexactly(_checked(length)), kind)


def _checked(length: int) -> int:
    if length > MAX_CONTROL_FRAME:
        raise ProtocolError(f"a frame of {length} bytes was announced")
    return length


def _decode(body: bytes, kind: Any) -> Any:
    try:
        return msgspec.msgpack.decode(body, type=kind)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ProtocolError(f"a malformed message: {error}") from error


def _exactly(sock: socket.socket, count: int, deadline: float) -> bytes:
    parts = bytearray()
    while len(parts) < count:
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError
        sock.settimeout(None if remaining == float("inf") else remaining)
        part = sock.recv(min(count - len(parts), 1 << 16))
        if not part:
            raise EOFError("the connection was closed")
        parts += part
    return bytes(parts)
