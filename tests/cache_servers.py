"""Real servers of caches, on a free port of this machine."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
from collections.abc import Iterator

import pytest

from tests.hosts import eventually


@contextlib.contextmanager
def redis_server(*options: str, at: int = 0) -> Iterator[str]:
    """A Redis that keeps nothing on disk, on a free port or on this one; its URL."""
    with _running(
        *("redis-server", "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", *options),
        port="--port",
        at=at,
    ) as port:
        yield f"redis://127.0.0.1:{port}/0"


@contextlib.contextmanager
def memcached_server(*options: str, at: int = 0) -> Iterator[str]:
    """A memcached, on a free port or on this one; its address."""
    with _running(
        *("memcached", "-l", "127.0.0.1", "-u", "nobody", *options), port="-p", at=at
    ) as port:
        yield f"127.0.0.1:{port}"


@contextlib.contextmanager
def _running(program: str, *options: str, port: str, at: int) -> Iterator[int]:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    with socket.create_server(("127.0.0.1", at)) as free:
        number: int = free.getsockname()[1]
    server = subprocess.Popen(
        [program, *options, port, str(number)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        eventually(lambda: _listens(number) or server.poll() is not None)
        assert server.poll() is None, f"{program} has ended at once"
        yield number
    finally:
        server.kill()
        server.wait()


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True
