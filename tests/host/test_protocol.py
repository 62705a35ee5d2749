from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_inference.artifacts.records import StoreSettings
from django_inference.exceptions import BY_NAME, InferenceError, InvalidInput, ModelNotReady
from django_inference.host.control import HostUnavailable
from django_inference.host.protocol import (
    LENGTH,
    MAX_CONTROL_FRAME,
    ClientMessage,
    Compared,
    Confine,
    Declare,
    Drain,
    Erred,
    Failure,
    HostMessage,
    Inspect,
    Loaded,
    LoadFailed,
    Promote,
    ProtocolError,
    Refusal,
    Reload,
    Report,
    Rollback,
    Start,
    Stop,
    Trial,
    Unload,
    Update,
    WorkerMessage,
    WorkerOrder,
    pack,
    read,
    receive,
)
from django_inference.specs import (
    EngineOptions,
    ErrorReport,
    Golden,
    ModelSpec,
    PythonEnvironment,
    ReplicaStatus,
    State,
    Statistics,
    Status,
    Supervision,
)
from django_inference.tensors import Signature, TensorSpec

SPEC = ModelSpec(
    alias="m",
    runtime="a.b.C",
    runtime_options={"k": [1, {"z": None}], "ä": 1.5},
    artifact="/models/m.onnx",
    sha256="0" * 64,
    trusted=True,
    options=EngineOptions(max_batch_size=4, max_batch_delay=0.5, warmup=False),
    golden=(Golden([1, "a"], [2.5], 0.5),),
    supervision=Supervision(replicas=3, threads=2, devices=("cuda:1",), idle_unload=1.5),
    environment=PythonEnvironment(settings_module="s", path=("/a", "/b")),
)
SIGNATURE = Signature((TensorSpec("x", "float32", (-1, 4)),))
ERROR = ErrorReport(message="m", traceback="t", at=1.5)
STATUS = Status(
    alias="m",
    state=State.READY,
    version="v",
    replicas=(ReplicaStatus(pid=1, state=State.READY, statistics=Statistics(requests=3)),),
    signature=SIGNATURE,
    error=ERROR,
)

MESSAGES: list[tuple[Any, Any]] = [
    (Declare(SPEC, 12.5, follow=True), ClientMessage),
    (Reload("m"), ClientMessage),
    (Unload("m"), ClientMessage),
    (Rollback("m"), ClientMessage),
    (Promote("m"), ClientMessage),
    (Compared("m", "v", 5, 1, "1 instead of 2"), ClientMessage),
    (Confine("m", "0" * 32), ClientMessage),
    (Inspect(), ClientMessage),
    (Stop(), ClientMessage),
    (Update(State.READY, "v", ("/s1", "/s2"), SIGNATURE, ERROR, 1.5), HostMessage),
    (
        Update(
            State.READY, "v", ("/s",), quarantine=("d",), trial=Trial("w", ("/t",), 0.1, 0.5, 1e-3)
        ),
        HostMessage,
    ),
    (Report(7, (STATUS, STATUS)), HostMessage),
    (Refusal("no"), HostMessage),
    (Start(SPEC, "v", "/s", (0, 3), StoreSettings("/a", 1 << 40)), WorkerOrder),
    (Drain(), WorkerOrder),
    (Loaded(1.5, SIGNATURE), WorkerMessage),
    (LoadFailed(ERROR), WorkerMessage),
    (Erred(ERROR), WorkerMessage),
]


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    yield ours, theirs
    ours.close()
    theirs.close()


def soon() -> float:
    return time.monotonic() + 10


@pytest.mark.parametrize(("message", "kind"), MESSAGES)
async def test_every_message_arrives_as_it_was_sent(message: Any, kind: Any) -> None:
    ours, theirs = socket.socketpair()
    ours.sendall(pack(message) * 2)
    assert receive(theirs, kind, soon()) == message
    reader, writer = await asyncio.open_unix_connection(sock=theirs)
    assert await read(reader, kind) == message
    writer.close()
    ours.close()


@pytest.mark.parametrize(
    ("frame", "error"),
    [
        (LENGTH.pack(MAX_CONTROL_FRAME + 1), ProtocolError),
        (LENGTH.pack(2**32 - 1), ProtocolError),
        (LENGTH.pack(3) + b"abc", ProtocolError),
        (LENGTH.pack(0), ProtocolError),
        (pack(Refusal("not a client's word")), ProtocolError),
        (LENGTH.pack(60_000) + b"\x91" * 60_000, ProtocolError),
        (LENGTH.pack(5) + b"ab", EOFError),
        (b"\x00", EOFError),
        (b"", EOFError),
    ],
)
async def test_what_is_no_message_is_an_error(frame: bytes, error: type[Exception]) -> None:
    ours, theirs = socket.socketpair()
    ours.sendall(frame)
    ours.shutdown(socket.SHUT_WR)
    with pytest.raises(error):
        receive(theirs, ClientMessage, soon())
    theirs.close()
    reader = asyncio.StreamReader()
    reader.feed_data(frame)
    reader.feed_eof()
    with pytest.raises(error):
        await read(reader, ClientMessage)
    ours.close()


@given(body=st.binary(max_size=100))
def test_any_bytes_are_a_message_or_an_error(body: bytes) -> None:
    ours, theirs = socket.socketpair()
    ours.sendall(LENGTH.pack(len(body)) + body)
    with contextlib.suppress(ProtocolError):
        receive(theirs, ClientMessage, soon())
    ours.close()
    theirs.close()


def test_a_message_in_pieces_is_put_together(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends
    message = Update(State.READY, "v", ("/s" * 50_000,))

    def drip() -> None:
        frame = pack(message)
        for part in (frame[:2], frame[2:5], frame[5:70_000], frame[70_000:]):
            ours.sendall(part)
            time.sleep(0.01)

    thread = threading.Thread(target=drip)
    thread.start()
    assert receive(theirs, HostMessage, soon()) == message
    thread.join()


def test_silence_ends_at_the_deadline(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends
    ours.sendall(b"\x00\x00")
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        receive(theirs, HostMessage, began + 0.05)
    assert 0.04 < time.monotonic() - began < 5
    with pytest.raises(TimeoutError):
        receive(theirs, HostMessage, began)


# Errors on their way.


@pytest.mark.parametrize("name", BY_NAME)
def test_errors_arrive_with_everything_they_say(name: str) -> None:
    error = BY_NAME[name]("went wrong", alias="theirs", retry_after=1.5, details="Traceback")
    encoded = msgspec.msgpack.encode(Failure.of(error))
    copy = msgspec.msgpack.decode(encoded, type=Failure).error("ours")
    assert type(copy) is BY_NAME[name]
    assert (copy.message, copy.alias, copy.retry_after, copy.details) == (
        "went wrong",
        "ours",
        1.5,
        "Traceback",
    )


def test_an_error_of_a_projects_own_arrives_as_what_it_is_a_kind_of() -> None:
    class NotAnImage(InvalidInput):
        pass

    assert type(Failure.of(NotAnImage("no")).error("m")) is InvalidInput
    assert type(Failure.of(HostUnavailable("no")).error("m")) is ModelNotReady


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (InvalidInput(ValueError("no image")), "no image"),  # type: ignore[arg-type]
        (InvalidInput(404), "404"),  # type: ignore[arg-type]
        (InvalidInput("file \udcff.png"), "file ?.png"),
        (InvalidInput("x", retry_after="soon"), "x"),  # type: ignore[arg-type]
        (InvalidInput("x", details=b"\xff"), "x"),  # type: ignore[arg-type]
    ],
)
def test_whatever_an_error_holds_it_can_travel(error: InferenceError, message: str) -> None:
    encoded = msgspec.msgpack.encode(Failure.of(error))
    copy = msgspec.msgpack.decode(encoded, type=Failure).error("m")
    assert copy.message == message


def test_an_unknown_kind_of_a_later_release_is_an_error_all_the_same() -> None:
    assert type(Failure("FromTheFuture", "m", None, "").error("m")) is InferenceError
