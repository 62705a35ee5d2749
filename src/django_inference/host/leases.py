"""Which processes still use the host.

A client process is a client until it exits, whether or not it has a connection open: a
gunicorn master that asks for preload must not keep a socket across its forks, and a web
worker may serve its first prediction an hour after its start.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
import sys
import time

import psutil

#: Seconds between two looks at processes, where the system cannot tell of their exit.
LOOK = 1.0

_CREDENTIALS = struct.Struct("3i")


class Leases:
    """Counts the client processes that are alive, and the time since the last one was."""

    def __init__(self) -> None:
        self._pids: set[int] = set()
        self._empty_since = time.monotonic()

    @property
    def idle_seconds(self) -> float:
        """How long there has been no client process; 0.0 while there is one."""
        return 0.0 if self._pids else time.monotonic() - self._empty_since

    def take(self, pid: int) -> None:
        """Count a process until it exits. 0 stands for one that this system cannot see."""
        if pid <= 0 or pid in self._pids:
            return
        self._pids.add(pid)
        try:
            self._watch(pid)
        except OSError:
            self._release(pid)

    def _watch(self, pid: int) -> None:
        loop = asyncio.get_running_loop()
        if not hasattr(os, "pidfd_open"):
            loop.call_later(LOOK, self._look, pid)
            return
        fd = os.pidfd_open(pid)

        def exited() -> None:
            loop.remove_reader(fd)
            os.close(fd)
            self._release(pid)

        loop.add_reader(fd, exited)

    def _look(self, pid: int) -> None:
        if psutil.pid_exists(pid):
            asyncio.get_running_loop().call_later(LOOK, self._look, pid)
        else:
            self._release(pid)

    def _release(self, pid: int) -> None:
        self._pids.discard(pid)
        self._empty_since = time.monotonic()


def peer(sock: socket.socket) -> tuple[int, int]:
    """Return the process and the user at the other end of a Unix socket.

    The process is 0 where the system does not tell, or where it lives in another PID
    namespace; the user is then this one, since the socket's folder admits nobody else.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
            pid, uid, _ = _CREDENTIALS.unpack(raw)
            return pid, uid
    return 0, os.getuid()
