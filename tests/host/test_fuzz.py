"""Clients as they should not be, against workers that serve honest ones meanwhile.

A few thousand frames by default; `--fuzz 100` sends a hundred times as many.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import select
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import numpy as np
import psutil
import pytest

from django_inference.host.arena import HEADER, INITIAL_SIZE, Arena
from django_inference.host.codec import CALL_HEAD, SPILLED, Codec
from django_inference.host.protocol import LENGTH, MAX_FRAME, NEXT, OPEN, PREDICT, Call, Reply
from django_inference.specs import State
from tests.hosts import Host, eventually

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="arenas are memory files")

FOREVER = float("inf")
ARRAYS = "tests.sample_runtimes.Arrays"

Frames = Callable[[random.Random, Codec], bytes]


class Stranger:
    """A raw connection to a worker."""

    def __init__(self, path: str, greeting: list[int] | None = None) -> None:
        self.answers = 0
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # With a timeout it would not wait where many are waiting already.
        self.socket.connect(path)
        self.socket.settimeout(10)
        self.codec = Codec(Arena(), Reply)
        fds = [self.codec.arena.fd] if greeting is None else greeting
        socket.send_fds(self.socket, [b"!"], fds)

    def send(self, data: bytes, wait: float = 0.0) -> bool:
        """Whether the worker still listens; gives it so many seconds to answer."""
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            return False
        return not self.is_dropped(wait)

    def is_dropped(self, wait: float = 0.0) -> bool:
        """Read what has been answered so far; True at the end of it."""
        with contextlib.suppress(ConnectionResetError):
            while select.select([self.socket], [], [], wait)[0]:
                if not self.socket.recv(1 << 16):
                    return True
                self.answers += 1
                wait = 0.0
            return False
        return True

    def close(self) -> None:
        self.socket.close()
        self.codec.arena.close()


class Honest(threading.Thread):
    """Calls both models as fast as it can, and remembers every answer that was wrong."""

    def __init__(self, host: Host) -> None:
        super().__init__()
        self.items, self.tensors = host.client(host.spec()), host.client(host.spec("t", ARRAYS))
        self.wrong: list[str] = []
        self.calls = 0
        self.is_over = False

    def run(self) -> None:
        while not self.is_over:
            self.calls += 1
            x = np.full((1 + self.calls % 3, 4), self.calls, np.float32)
            try:
                if self.items.ask([self.calls, x]) is None:
                    self.wrong.append("no answer")
                echo = self.items.ask([self.calls, x])
                if echo[0] != self.calls or not np.array_equal(echo[1], x):
                    self.wrong.append(f"{echo} for {self.calls}")
                y = self.tensors.ask({"x": x})["y"]
                if not np.array_equal(y, x * 2):
                    self.wrong.append(f"{y} for {x}")
            except Exception as error:
                self.wrong.append(repr(error))


@pytest.fixture(scope="module")
def workers() -> Iterator[tuple[Host, list[str]]]:
    """A host with a model of items and one of tensors, and their workers' sockets."""
    host = Host()
    specs = (host.spec(), host.spec("t", ARRAYS))
    host.declare(specs[1])
    eventually(lambda: all(host.declare(spec).sockets for spec in specs))
    yield host, [host.declare(spec).sockets[0] for spec in specs]
    host.clean_up()


def processes(host: Host) -> list[psutil.Process]:
    """The two workers."""
    report = host.report()
    assert report
    assert [status.state for status in report.statuses] == [State.READY] * 2
    assert [status.replicas[0].restarts for status in report.statuses] == [0, 0]
    return [psutil.Process(status.pid) for status in report.statuses]


@contextlib.contextmanager
def unharmed(host: Host) -> Iterator[None]:
    """The same workers are there before and after, answer rightly, and keep no descriptor."""
    honest = Honest(host)
    honest.items.one(0)
    honest.tensors.ask({"x": np.zeros((1, 4))})
    before = processes(host)
    descriptors = [process.num_fds() for process in before]
    honest.start()
    try:
        yield
        calls = honest.calls
        eventually(lambda: honest.calls > calls + 3)
    finally:
        honest.is_over = True
        honest.join(60)
    assert not honest.is_alive()
    assert honest.wrong == []
    assert processes(host) == before
    eventually(
        lambda: all(
            process.num_fds() <= known + 2
            for process, known in zip(before, descriptors, strict=True)
        )
    )


def good_payload(rng: random.Random) -> Any:
    return rng.choice(
        [
            {"x": np.ones((2, 4), np.float32)},
            [1, "two", None, 3.5, b"six"],
            None,
            np.zeros((1, 4), np.uint8),
            {"x": [[1, 2, 3, 4]], "y": {"deep": [1, [2, [3]]]}},
            [np.arange(3), {"a": np.array(["x", None], dtype=object)}],
        ]
    )


def good(rng: random.Random, codec: Codec, kind: int = PREDICT) -> bytes:
    deadline = rng.choice([FOREVER, 0.0, -1.0, float("nan"), time.monotonic() + 5])
    priority, payload = rng.randrange(3), good_payload(rng)
    return codec.encode(
        Call(deadline, time.monotonic(), rng.random() < 0.2, priority, payload, kind)
    )


def of_a_stream(rng: random.Random, codec: Codec) -> bytes:
    """In any order: openings that are followed by calls, goings-on with what is not open."""
    return good(rng, codec, rng.choice([OPEN, OPEN, NEXT, NEXT, NEXT, PREDICT]))


def noise(rng: random.Random, codec: Codec) -> bytes:
    return rng.randbytes(rng.randrange(1, 300))


def framed_noise(rng: random.Random, codec: Codec) -> bytes:
    body = rng.randbytes(rng.randrange(0, 100))
    return LENGTH.pack(len(body) | rng.choice([0, 0, SPILLED])) + body


def mutated(rng: random.Random, codec: Codec) -> bytes:
    frame = bytearray(good(rng, codec))
    for _ in range(rng.randrange(1, 4)):
        match rng.randrange(3):
            case 0:
                frame[rng.randrange(len(frame))] = rng.randrange(256)
            case 1:
                del frame[rng.randrange(len(frame)) :]
                frame += b"\x00"
            case 2:
                at = rng.randrange(len(frame))
                frame[at:at] = rng.randbytes(rng.randrange(1, 5))
    if rng.random() < 0.8:
        # A right length brings more of them as far as the decoder.
        frame[: LENGTH.size] = LENGTH.pack(max(0, len(frame) - LENGTH.size))
    return bytes(frame)


def false_length(rng: random.Random, codec: Codec) -> bytes:
    frame = good(rng, codec)
    length = rng.choice([0, 1, len(frame), MAX_FRAME, MAX_FRAME + 1, SPILLED - 1, 2**32 - 1])
    return LENGTH.pack(length) + frame[LENGTH.size :]


def some_number(rng: random.Random) -> int:
    return rng.choice(
        [
            *(0, 1, HEADER - 1, HEADER, 1000, INITIAL_SIZE - 8, INITIAL_SIZE, INITIAL_SIZE + 1),
            *(2**31, 2**32, 2**40, 2**62, 2**63 - 1, 2**63, 2**64 - 1),
        ]
    )


def false_place(rng: random.Random, codec: Codec) -> bytes:
    dtype = rng.choice(["<f4", "<i8", "|u1", "<U4", "<M8[s]", "O", "V8", "|O8", "x", "", "i4,i4"])
    shape = [some_number(rng) for _ in range(rng.randrange(4))]
    place = msgspec.msgpack.encode((dtype, shape, some_number(rng)))
    payload = msgspec.msgpack.Ext(rng.choice([1, 1, 1, 2, 3, -1]), place)
    said = msgspec.msgpack.encode(rng.choice([payload, {"x": payload}, [payload]]))
    body = CALL_HEAD.pack(FOREVER, 0.0, False, 1, rng.randrange(4), HEADER) + said
    return LENGTH.pack(len(body)) + body


def false_spill(rng: random.Random, codec: Codec) -> bytes:
    return LENGTH.pack(SPILLED | 16) + struct.pack(">QQ", some_number(rng), some_number(rng))


def spilled(rng: random.Random, codec: Codec) -> bytes:
    payload = ["x" * MAX_FRAME, np.arange(5)]
    return codec.encode(Call(FOREVER, 0.0, False, 1, payload))


FRAMES: list[Frames] = [
    good,
    of_a_stream,
    of_a_stream,
    of_a_stream,
    noise,
    framed_noise,
    mutated,
    mutated,
    false_length,
    false_place,
    false_place,
    false_spill,
    spilled,
]


def test_no_frame_harms_a_worker_or_another_client(
    workers: tuple[Host, list[str]], request: pytest.FixtureRequest
) -> None:
    host, sockets = workers
    seed = random.randrange(2**32)
    print(f"{seed=}")
    rng = random.Random(seed)
    frames = 3000 * request.config.getoption("--fuzz")
    with unharmed(host):
        sent = answers = 0
        while sent < frames:
            stranger = Stranger(rng.choice(sockets))
            is_heard = True
            while is_heard and sent < frames and rng.random() > 0.05:
                frame = rng.choice(FRAMES)(rng, stranger.codec)
                sent += 1
                match rng.randrange(6):
                    case 0:
                        # Half a frame, then the rest of it, a little later.
                        half = rng.randrange(len(frame))
                        is_heard = stranger.send(frame[:half]) and stranger.send(frame[half:])
                    case 1:
                        # Half a frame, and gone.
                        stranger.send(frame[: rng.randrange(len(frame))])
                        break
                    case 2:
                        # Two at once, although the first has no answer yet.
                        is_heard = stranger.send(frame + frame)
                    case _:
                        is_heard = stranger.send(frame, wait=0.005)
            answers += stranger.answers
            stranger.close()
    # Many are good, or not bad enough to be dropped: the others must not have kept the
    # worker from reading them.
    assert answers > frames / 10


def memory_file(size: int, seals: int) -> int:
    fd = os.memfd_create("test", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, size)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd


def greetings() -> Iterator[list[int]]:
    """Descriptors that come instead of an arena; some of them could be one."""
    shrink = fcntl.F_SEAL_SHRINK
    reader, writer = os.pipe()
    yield []
    yield [reader]
    yield [writer]
    yield [memory_file(4096, 0)]
    yield [memory_file(4096, fcntl.F_SEAL_GROW)]
    yield [memory_file(0, shrink)]
    yield [memory_file(HEADER - 1, shrink)]
    yield [memory_file(HEADER, shrink)]
    yield [memory_file(HEADER, shrink | fcntl.F_SEAL_GROW)]
    yield [memory_file(4096, shrink | fcntl.F_SEAL_WRITE)]
    yield [memory_file(1 << 62, shrink)]
    yield [os.open(f"/proc/self/fd/{memory_file(4096, shrink)}", os.O_RDONLY)]
    yield [os.open("/dev/null", os.O_RDWR)]
    yield [memory_file(4096, shrink), memory_file(4096, shrink)]
    yield [os.open(".", os.O_RDONLY)] * 5


def test_no_greeting_harms_a_worker(workers: tuple[Host, list[str]]) -> None:
    host, sockets = workers
    before = set(os.listdir("/proc/self/fd"))
    with unharmed(host):
        for fds in greetings():
            for path in sockets:
                stranger = Stranger(path, fds)
                for payload in (["x" * 1000], {"x": np.ones((1, 4), np.float32)}, {"y": 1}):
                    stranger.send(stranger.codec.encode(Call(FOREVER, 0.0, False, 1, payload)))
                    time.sleep(0.002)
                stranger.close()
            # Others who are half in: without a word, and without the rest of it.
            for path in sockets:
                with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as silent:
                    silent.connect(path)
        for fd in map(int, set(os.listdir("/proc/self/fd")) - before):
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/self/fd/{fd}").startswith(
                    ("/memfd:test", "pipe:", "/dev/null")
                ):
                    os.close(fd)


def test_a_client_that_leaves_before_its_answer_harms_nobody(
    workers: tuple[Host, list[str]],
) -> None:
    host, sockets = workers
    with unharmed(host):
        for index in range(200):
            stranger = Stranger(sockets[0])
            payload = ["x" * MAX_FRAME, np.zeros(100_000), index]
            stranger.send(stranger.codec.encode(Call(FOREVER, 0.0, False, 1, payload)))
            stranger.close()


def test_a_client_that_never_reads_its_answers_harms_nobody(
    workers: tuple[Host, list[str]],
) -> None:
    host, sockets = workers
    with unharmed(host):
        stranger = Stranger(sockets[0])
        stranger.socket.settimeout(0.2)
        frame = stranger.codec.encode(Call(FOREVER, 0.0, False, 1, ["x" * 30_000]))
        with contextlib.suppress(TimeoutError, BrokenPipeError, ConnectionResetError):
            for _ in range(1000):
                stranger.socket.sendall(frame)
        stranger.close()


def test_clients_that_say_half_a_frame_and_wait_harm_nobody(
    workers: tuple[Host, list[str]],
) -> None:
    host, sockets = workers
    with unharmed(host), contextlib.ExitStack() as stack:
        strangers = [
            stack.enter_context(contextlib.closing(Stranger(path)))
            for path in sockets
            for _ in range(50)
        ]
        for stranger in strangers:
            frame = stranger.codec.encode(Call(FOREVER, 0.0, False, 1, [1]))
            assert stranger.send(frame[:5])
        time.sleep(0.1)
        assert not any(stranger.is_dropped() for stranger in strangers)
        # And when they come round to it, they are answered.
        for stranger in strangers:
            assert stranger.send(frame[5:], wait=10)
        assert [stranger.answers for stranger in strangers] == [1] * 100


def answer(stranger: Stranger, call: Call) -> Any:
    """What a worker says to a call."""
    stranger.socket.sendall(stranger.codec.encode(call))
    frame = stranger.socket.recv(1 << 16)
    return stranger.codec.decode(frame[LENGTH.size :], spilled=False)


def call(kind: int, payload: Any = None) -> Call:
    return Call(FOREVER, time.monotonic(), False, 1, payload, kind)


def test_a_stream_as_a_client_asks_for_it(workers: tuple[Host, list[str]]) -> None:
    _, sockets = workers
    with contextlib.closing(Stranger(sockets[0])) as stranger:
        for _ in range(2):
            assert answer(stranger, call(OPEN, [1, "two"])).payload == 1
            assert answer(stranger, call(NEXT)).payload == "two"
            assert answer(stranger, call(NEXT)).is_over
            assert answer(stranger, call(PREDICT, [3])).payload == [3]


@pytest.mark.parametrize(
    ("before", "kind"), [([], NEXT), ([OPEN], OPEN), ([OPEN], PREDICT), ([OPEN, NEXT], PREDICT)]
)
def test_who_asks_out_of_order_is_dropped_and_the_stream_is_closed(
    workers: tuple[Host, list[str]], before: list[int], kind: int
) -> None:
    host, sockets = workers
    eventually(lambda: streams(host) == 0)
    with unharmed(host), contextlib.closing(Stranger(sockets[0])) as stranger:
        for each in before:
            assert answer(stranger, call(each)).failure is None
        assert streams(host) == len(before[:1])
        stranger.socket.sendall(stranger.codec.encode(call(kind, [1])))
        assert stranger.is_dropped(wait=10)
        eventually(lambda: streams(host) == 0)


def streams(host: Host) -> int:
    """How many are open in the first of the two workers."""
    status = host.status()
    assert status
    return status.replicas[0].statistics.streams


def test_what_cannot_be_read_is_answered_before_the_connection_ends(
    workers: tuple[Host, list[str]],
) -> None:
    _, sockets = workers
    stranger = Stranger(sockets[0])
    stranger.socket.sendall(LENGTH.pack(3) + b"abc")
    frame = stranger.socket.recv(1 << 16)
    reply = stranger.codec.decode(frame[LENGTH.size :], spilled=False)
    assert reply.failure.kind == "InvalidInput"
    assert "cannot be read" in reply.failure.message
    assert stranger.socket.recv(1) == b""
    stranger.close()
