"""Brokers of a test's own, which it may stop, kill and start again."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import psutil
import pytest

from tests.hosts import eventually, is_gone

#: Seconds that a broker has to start on a slow machine.
PATIENCE = 90.0
#: Beside the wrapper of Debian's package, which wants to be root or rabbitmq.
_PROGRAMS = ("/usr/lib/rabbitmq/bin/rabbitmq-server",)


class Broker(Protocol):
    """What the tests ask of either."""

    url: str

    def start(self) -> None:
        """Start it, and return when it answers. What it had kept on disk is there again."""

    def kill(self) -> None:
        """End it without warning."""


class RabbitMQ:
    """A RabbitMQ with its data in a temporary folder, and an Erlang name server of its own."""

    def __init__(self) -> None:
        program = next(filter(os.path.exists, _PROGRAMS), shutil.which("rabbitmq-server"))
        if program is None or shutil.which("epmd") is None:
            pytest.skip("rabbitmq-server is not installed")
        self._program = program
        self._folder = Path(tempfile.mkdtemp(prefix="rabbit-"))
        self._port, names, distribution = _free_ports(3)
        self.url = f"amqp://guest:guest@127.0.0.1:{self._port}//"
        (self._folder / "plugins").write_text("[].\n")
        self._environment = {
            **os.environ,
            "HOME": str(self._folder),
            "ERL_EPMD_PORT": str(names),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"test{self._port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self._port),
            "RABBITMQ_DIST_PORT": str(distribution),
            "RABBITMQ_MNESIA_BASE": str(self._folder / "data"),
            "RABBITMQ_LOG_BASE": str(self._folder / "log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self._folder / "plugins"),
            "RABBITMQ_PID_FILE": str(self._folder / "pid"),
            "RABBITMQ_CONF_ENV_FILE": str(self._folder / "none"),
            "RABBITMQ_CONFIG_FILE": str(self._folder / "none"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                # Schedulers that wait in a loop would take the cores of the tests.
                "+sbwt none +sbwtdcpu none +sbwtdio none "
                "-kernel inet_dist_use_interface {127,0,0,1}"
            ),
        }
        self._output = (self._folder / "output").open("w")
        self._names = self._run("epmd", "-port", str(names), "-address", "127.0.0.1")
        self._server: psutil.Popen | None = None

    def start(self) -> None:
        """Start it, and return when it takes connections."""
        self._server = server = self._run(self._program)
        eventually(lambda: server.poll() is not None or _speaks_amqp(self._port), PATIENCE)
        assert server.poll() is None, (self._folder / "output").read_text()

    def kill(self) -> None:
        """End it without warning."""
        if self._server is not None:
            _kill_all(self._server)
            self._server = None

    def end(self) -> None:
        """Leave nothing behind."""
        self.kill()
        _kill_all(self._names)
        self._output.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self, *command: str) -> psutil.Popen:
        return psutil.Popen(
            command,
            env=self._environment,
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
        )


class Redis:
    """A Redis that keeps what it is told in a file."""

    def __init__(self) -> None:
        if shutil.which("redis-server") is None:
            pytest.skip("redis-server is not installed")
        self._folder = Path(tempfile.mkdtemp(prefix="redis-"))
        (self._port,) = _free_ports(1)
        self.url = f"redis://127.0.0.1:{self._port}/0"
        self._server: psutil.Popen | None = None

    def start(self) -> None:
        """Start it, and return when it answers."""
        self._server = server = psutil.Popen(
            [
                *("redis-server", "--bind", "127.0.0.1", "--port", str(self._port)),
                *("--dir", str(self._folder), "--save", "", "--appendonly", "yes"),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        eventually(lambda: server.poll() is not None or _pongs(self._port), PATIENCE)
        assert server.poll() is None, "redis-server has ended at once"

    def kill(self) -> None:
        """End it without warning."""
        if self._server is not None:
            _kill_all(self._server)
            self._server = None

    def end(self) -> None:
        """Leave nothing behind."""
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)


@contextlib.contextmanager
def broker(kind: str) -> Iterator[Broker]:
    """A broker that runs; `rabbitmq` or `redis`."""
    made = RabbitMQ() if kind == "rabbitmq" else Redis()
    try:
        made.start()
        yield made
    finally:
        made.end()


def _kill_all(server: psutil.Popen) -> None:
    processes: list[psutil.Process] = [server]
    with contextlib.suppress(psutil.Error):
        processes += server.children(recursive=True)
    for process in processes:
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            process.send_signal(signal.SIGKILL)
    server.wait()
    eventually(lambda: all(map(is_gone, processes)))


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [
            stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)
        ]
        return [each.getsockname()[1] for each in sockets]


def _speaks_amqp(port: int) -> bool:
    return _said(port, b"AMQP\x00\x00\x09\x01")[:1] == b"\x01"


def _pongs(port: int) -> bool:
    return _said(port, b"PING\r\n") == b"+PONG"


def _said(port: int, question: bytes) -> bytes:
    try:
        with socket.create_connection(("127.0.0.1", port), 2.0) as connection:
            connection.sendall(question)
            return connection.recv(5)
    except OSError:
        return b""
