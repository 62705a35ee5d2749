"""Servers of other projects, started by tests on free ports of the loopback interface."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sysconfig
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import pytest

from tests.hosts import eventually

ROOT = Path(__file__).parents[2]
#: Seconds that a server may take to start on a busy machine.
START = 90.0


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def interpreter(name: str) -> Path:
    """The Python of a peer; skips where `make peers` has not made it."""
    python = ROOT / ".peers" / name / "bin" / "python"
    if not python.exists():
        pytest.skip(f"there is no .peers/{name}: `make peers` makes it")
    return python


class Peer:
    """A server with an HTTP and a gRPC port, which may be killed and started again.

    Args:
        home: folder for its log and what it needs.
    """

    models: tuple[str, ...] = ("double", "kinds")

    def __init__(self, home: Path) -> None:
        self.home = home
        self.rest_port, self.grpc_port, self.metrics_port = free_ports(3)
        self.rest = f"http://127.0.0.1:{self.rest_port}"
        self.grpc = f"grpc://127.0.0.1:{self.grpc_port}"
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> tuple[list[str], dict[str, str]]:
        """What is run, and what its environment has beside ours."""
        raise NotImplementedError

    def start(self) -> None:
        """Start it, unless it runs; return when it serves."""
        if self._process is not None and self._process.poll() is None:
            return
        command, environment = self.command()
        with (self.home / "log").open("ab") as log:
            process = self._process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                cwd=self.home,
                env={**os.environ, **environment},
                start_new_session=True,
            )

        def is_ready() -> bool:
            assert process.poll() is None, (self.home / "log").read_text()[-3000:]
            try:
                for model in self.models:
                    url = f"{self.rest}/v2/models/{model}/ready"
                    urllib.request.urlopen(url, timeout=5).close()
                return True
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                return False

        eventually(is_ready, START)

    def processes(self) -> list[psutil.Process]:
        """All of it that runs."""
        if self._process is None or self._process.poll() is not None:
            return []
        first = psutil.Process(self._process.pid)
        return [first, *first.children(recursive=True)]

    def kill(self) -> None:
        """End it at once, with everything that it has started."""
        processes = self.processes()
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)
        psutil.wait_procs(processes, timeout=10)
        if self._process is not None:
            self._process.wait(10)


class Triton(Peer):
    """NVIDIA Triton with the models of `triton_server.py`."""

    models = ("double", "kinds", "whole", "count")

    def command(self) -> tuple[list[str], dict[str, str]]:
        script = str(Path(__file__).with_name("triton_server.py"))
        ports = map(str, (self.rest_port, self.grpc_port, self.metrics_port))
        library = sysconfig.get_config_var("LIBDIR")
        return [str(interpreter("triton")), script, *ports], {"LD_LIBRARY_PATH": library}


class MLServer(Peer):
    """MLServer with the models of `mlserver_models.py`."""

    def command(self) -> tuple[list[str], dict[str, str]]:
        python = interpreter("mlserver")
        settings = {
            "host": "127.0.0.1",
            "http_port": self.rest_port,
            "grpc_port": self.grpc_port,
            # MLServer's own processes for models outlive it when it is killed.
            "parallel_workers": 0,
            "metrics_endpoint": None,
        }
        x = {"name": "x", "datatype": "FP32", "shape": [-1, -1]}
        y = {"name": "y", "datatype": "FP32", "shape": [-1, -1]}
        models: dict[str, dict[str, object]] = {
            "double": {"implementation": "mlserver_models.Double", "inputs": [x], "outputs": [y]},
            "kinds": {"implementation": "mlserver_models.Same"},
        }
        (self.home / "settings.json").write_text(json.dumps(settings))
        for name, model in models.items():
            (self.home / name).mkdir(exist_ok=True)
            text = json.dumps({"name": name, **model})
            (self.home / name / "model-settings.json").write_text(text)
        start = str(python.with_name("mlserver"))
        return [start, "start", str(self.home)], {"PYTHONPATH": str(Path(__file__).parent)}
