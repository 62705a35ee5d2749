"""`python -m django_inference.artifacts FD`: fetches one artifact, in a process of its own.

The descriptor is a socket on which the order comes and the news go. The host never fetches by
itself: it must not wait, nor import Django and the libraries of other people's servers.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
import time
from importlib import import_module

import msgspec

from django_inference.artifacts.fetch import fetch, tag_of
from django_inference.artifacts.orders import (
    MAX_LINE,
    Came,
    Failed,
    Fetched,
    News,
    Order,
    Tagged,
    line,
)
from django_inference.specs import ErrorReport, PythonEnvironment

#: Seconds between two words on how far it is.
TELL = 0.2


def main() -> None:
    """Carry out one order."""
    # The host decides when it ends: Ctrl-C and systemd signal the whole group.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.basicConfig(
        level=logging.INFO, format="%(levelname)s %(process)d %(name)s: %(message)s"
    )
    host = socket.socket(fileno=int(sys.argv[1]))
    text = b""
    while not text.endswith(b"\n"):
        part = host.recv(MAX_LINE)
        if not part:
            return
        text += part
    threading.Thread(target=_leave_with, args=(host,), daemon=True).start()
    host.sendall(line(_carry_out(msgspec.json.decode(text, type=Order), host)))


def _leave_with(host: socket.socket) -> None:
    """End when the host has: what has come stays, and the next one goes on with it."""
    while host.recv(1):
        pass
    os._exit(1)


def _carry_out(order: Order, host: socket.socket) -> News:
    told_at = 0.0

    def told(done: int, total: int) -> None:
        nonlocal told_at
        if time.monotonic() - told_at >= TELL or done == total:
            told_at = time.monotonic()
            host.sendall(line(Came(done, total)))

    try:
        _set_up(order.environment)
        if order.tag is not None:
            return Tagged(tag_of(order.location, order.tag))
        return Fetched(fetch(order.location, order.store, sha256=order.sha256, told=told))
    except Exception as error:
        return Failed(ErrorReport.of(error))


def _set_up(environment: PythonEnvironment | None) -> None:
    if environment is None:
        return
    sys.path[:] = [*environment.path, *(p for p in sys.path if p not in environment.path)]
    if environment.settings_module:
        os.environ["DJANGO_SETTINGS_MODULE"] = environment.settings_module
        # By name: only `storage:` and `cache:` ever need it.
        import_module("django").setup()


if __name__ == "__main__":
    main()
