"""The test site as real processes: servers, commands, and the host that they start."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import psutil

from django_inference.host.control import Conversation, HostUnavailable
from django_inference.host.protocol import Inspect, ProtocolError, Report
from django_inference.specs import HostSettings, State, Status
from tests.servers.model import write_mlp
from tests.servers.web import PATIENCE, Server, eventually

ROOT = Path(__file__).parents[2]
#: In a log. Servers leave their own listening sockets open when they end, we none of ours.
COMPLAINT = re.compile(
    r"Traceback|Exception ignored|(?<!Resource)Warning: "
    r"|unclosed (?!<socket\.socket fd=\d+, family=2)"
)

#: Notes which process started it, then becomes the interpreter.
PYTHON = """\
#!/bin/sh
echo $PPID >> '{folder}/launches'
exec '{python}' "$@"
"""


class Site:
    """One test's copy of the site. Every process that it starts has its folder's name.

    Args:
        predictors: what it declares, see `tests/site/settings.py`.
        linger: seconds that the host stays.
        variables: more of the environment.
    """

    def __init__(self, *predictors: str, linger: float = 30.0, **variables: str) -> None:
        # Not pytest's own folder: the names of sockets must be short.
        self.folder = Path(tempfile.mkdtemp(prefix="site-"))
        self.model = self.folder / "mlp.onnx"
        self.host_folder = self.folder / "host"
        self.servers: list[Server] = []
        #: Tracebacks in the logs are part of the test.
        self.expects_errors = False
        path = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        self.environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.site.settings",
            "PYTHONPATH": os.pathsep.join(path),
            "PYTHONUNBUFFERED": "1",
            "PYTHONWARNINGS": "default::ResourceWarning",
            "SITE_FOLDER": str(self.folder),
            "SITE_LINGER": str(linger),
            "SITE_PREDICTORS": " ".join(predictors or ("mlp",)),
            **variables,
        }
        write_mlp(self.model)
        python = self.folder / "python"
        python.write_text(PYTHON.format(folder=self.folder, python=sys.executable))
        python.chmod(0o700)

    def manage(self, *arguments: str) -> str:
        """Run a command of the site; return what it printed."""
        return self.run("-m", "tests.site.manage", *arguments)

    def run(self, *arguments: str) -> str:
        """Run a Python program of the site to its end; return what it printed."""
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=4 * PATIENCE,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def serve(self, name: str, *options: str) -> Server:
        """Start a web server; see `SERVERS`."""
        server = Server(name, self.folder, self.environment, options)
        self.servers.append(server)
        return server

    # What the host says of itself.

    @property
    def log(self) -> str:
        """What the host has written."""
        path = self.host_folder / "host.log"
        return path.read_text() if path.exists() else ""

    @property
    def launches(self) -> list[int]:
        """The processes that started a host."""
        path = self.folder / "launches"
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    def loads(self, alias: str = "mlp") -> list[int]:
        """The processes that have loaded a model."""
        found = re.findall(rf"model loaded alias={alias} version=\w+ pid=(\d+)", self.log)
        return [int(pid) for pid in found]

    def status(self, alias: str = "mlp") -> Status | None:
        """How a model fares, if there is a host and it knows it."""
        settings = HostSettings(runtime_dir=str(self.host_folder), autostart=False)
        try:
            with Conversation(settings, time.monotonic() + 5.0) as conversation:
                report = conversation.ask(Inspect())
        except (HostUnavailable, OSError, EOFError, ProtocolError):
            return None
        assert isinstance(report, Report)
        return next((status for status in report.statuses if status.alias == alias), None)

    def wait_ready(self, alias: str = "mlp", timeout: float = PATIENCE) -> Status:
        """Return the model's status once it is loaded."""

        status: Status | None = None

        def look() -> bool:
            nonlocal status
            status = self.status(alias)
            return status is not None and status.state is State.READY

        eventually(look, lambda: f"{alias} is READY; log: {self.log}", timeout)
        assert status is not None
        return status

    # What runs, and the end of it.

    def processes(self) -> list[psutil.Process]:
        """Everything that runs for this site, whoever its parent is by now."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get("SITE_FOLDER") == str(self.folder):
                    found.append(process)
        return found

    def supervisors(self) -> list[psutil.Process]:
        """The model hosts among them."""
        return running(self.processes(), "django_inference.host")

    def wait_gone(self, timeout: float = PATIENCE) -> None:
        """Return when nothing of the site runs any more."""
        eventually(lambda: not self.processes(), lambda: f"{self.processes()} gone", timeout)

    def end(self) -> list[str]:
        """End everything, politely where possible; return what was not as it should be."""
        wrong = [complaint for server in self.servers if (complaint := server.end())]
        for process in self.supervisors():
            process.terminate()
        deadline = time.monotonic() + 15.0
        while (left := self.processes()) and time.monotonic() < deadline:
            time.sleep(0.02)
        for process in left:
            wrong.append(f"had to be killed: {process}")
            with contextlib.suppress(psutil.Error):
                process.kill()
        logs = {server.name: server.output.read_text() for server in self.servers}
        if not self.expects_errors:
            for name, log in {**logs, "host": self.log}.items():
                if COMPLAINT.search(log):
                    wrong.append(f"{name} complained: {log}")
        shutil.rmtree(self.folder)
        return wrong


def running(processes: Iterable[psutil.Process], module: str) -> list[psutil.Process]:
    """Those that were started as `python -m module`."""
    found = []
    for process in processes:
        with contextlib.suppress(psutil.Error):
            if module in process.cmdline():
                found.append(process)
    return found
