"""What the model host is held against: the processes at the other end, and how to call them."""

from __future__ import annotations

import multiprocessing
import os
import select
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

spawn = multiprocessing.get_context("spawn")
Caller = Callable[[], Any]

#: What a call says of its tensors takes about as many bytes beside the tensors themselves.
FRAME = 40


def start(target: Callable[..., None], *args: Any) -> int:
    """Run a function in a fresh process that ends with this one; return its id."""
    process = spawn.Process(target=target, args=args, daemon=True)
    process.start()
    assert process.pid is not None
    return process.pid


def glance(array: Any) -> Any:
    """The mean of 16 values of each row: what is timed is the way there."""
    return array.reshape(len(array), -1)[:, :16].mean(axis=1)


# A bare echo over a Unix socket.


def echo(path: str, size: int) -> None:
    """Return every `size` bytes to the one caller, until it hangs up."""
    with _listener(path) as listener:
        sock, _ = listener.accept()
    buffer = bytearray(size)
    while _receive(sock, memoryview(buffer)):
        sock.sendall(buffer)


def echo_many(path: str, size: int) -> None:
    """The same for many callers: read all that is there, then answer all."""
    listener = _listener(path)
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    sockets: dict[int, socket.socket] = {}
    buffer = bytearray(size)
    while True:
        ready = []
        for fd, _ in poll.poll():
            if fd == listener.fileno():
                sock, _ = listener.accept()
                sockets[sock.fileno()] = sock
                poll.register(sock, select.POLLIN)
            elif _receive(sockets[fd], memoryview(buffer)):
                ready.append(sockets[fd])
            else:
                poll.unregister(fd)
                sockets.pop(fd).close()
        for sock in ready:
            sock.sendall(buffer)


def echo_caller(path: Path, size: int) -> Caller:
    """Connect to an echo; return what sends `size` bytes and waits for as many."""
    sock = socket.socket(socket.AF_UNIX)
    for _ in range(500):
        try:
            sock.connect(os.fspath(path))
            break
        except OSError:
            # The process at the other end is still being started.
            time.sleep(0.02)
    payload, view = bytes(size), memoryview(bytearray(size))

    def call() -> None:
        sock.sendall(payload)
        _receive(sock, view)

    call()
    return call


def _listener(path: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(128)
    return listener


def _receive(sock: socket.socket, view: memoryview) -> bool:
    have = 0
    while have < len(view):
        count = sock.recv_into(view[have:])
        if not count:
            return False
        have += count
    return True


# A pair of queues.


def answer(requests: Any, replies: Any) -> None:
    """Glance at every array that a queue brings."""
    while True:
        replies.put(glance(requests.get()))


class QueueCaller:
    """Calls a process through `multiprocessing.Queue`s: arrays there, a glance back."""

    def __init__(self) -> None:
        self._requests, self._replies = spawn.Queue(), spawn.Queue()
        self.pid = start(answer, self._requests, self._replies)

    def __call__(self, array: Any) -> Any:
        """Send an array and wait for the answer."""
        self._requests.put(array)
        return self._replies.get()


# Where processes run.


def place(pid: int, cores: set[int]) -> None:
    """Keep a process, with all of its threads, on some cores; on none in particular if empty."""
    if not hasattr(os, "sched_setaffinity"):
        return
    for thread in os.listdir(f"/proc/{pid}/task"):
        try:
            os.sched_setaffinity(int(thread), cores or range(os.cpu_count() or 1))
        except ProcessLookupError:
            # It has ended since it was listed.
            continue


def placements() -> dict[str, tuple[set[int], set[int]]]:
    """By name: the cores of the caller, and those of the processes that it calls."""
    found: dict[str, tuple[set[int], set[int]]] = {"as the system places them": (set(), set())}
    if hasattr(os, "sched_getaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        found["both on one core"] = ({cores[0]}, {cores[0]})
        if len(cores) > 1:
            found["on two cores"] = ({cores[0]}, {cores[1]})
    return found
