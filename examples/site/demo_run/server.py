"""The site under gunicorn, and who runs its jobs, in processes that leave when the demo does."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psutil

from demo_run.requests import Status, get_status

SITE = Path(__file__).resolve().parent.parent

#: Inherited by gunicorn, by the model host and by its workers: it tells the processes of
#: this demo from all others on the machine.
MARK = "DEMO_RUNTIME_DIR"


class StartFailed(Exception):
    """The server or a model did not come up; the message is its log's end."""


class Server:
    """Gunicorn, the model host that it starts, and a worker for the jobs of the database.

    Args:
        port: on loopback; None for 8000, or a free one where that is taken.
    """

    def __init__(self, port: int | None = None) -> None:
        self.port = port or free_port(8000)
        self.url = f"http://127.0.0.1:{self.port}/"
        self.folder = Path(tempfile.mkdtemp(prefix="demo-"))
        self.log = self.folder / "gunicorn.log"
        self.host_log = self.folder / "host" / "host.log"
        self._environment = {
            **os.environ,
            MARK: str(self.folder / "host"),
            "DEMO_BIND": f"127.0.0.1:{self.port}",
            "DEMO_DATA_DIR": str(self.folder),
            "DEMO_SECRET_KEY": secrets.token_urlsafe(48),
            "DJANGO_SETTINGS_MODULE": "demo_site.settings",
            # TensorFlow greets every process at length.
            "TF_CPP_MIN_LOG_LEVEL": "2",
        }
        self._gunicorn: subprocess.Popen[bytes] | None = None
        self._worker: subprocess.Popen[bytes] | None = None

    @property
    def worker_pid(self) -> int:
        """The process that runs jobs; 0 while there is none."""
        return self._worker.pid if self._worker is not None else 0

    def start(self, timeout: float = 30.0) -> None:
        """Make the database, start gunicorn and the worker, and wait until the site answers.

        Raises:
            StartFailed: it does not.
        """
        if problems := self._manage(timeout, "migrate", "--verbosity", "0"):
            raise StartFailed("\n".join(problems))
        self._gunicorn = self._start("-m", "gunicorn", "demo_site.wsgi")
        self._worker = self._start("manage.py", "db_worker", "--interval", "0.2")
        end = time.monotonic() + timeout
        while time.monotonic() < end and self._gunicorn.poll() is None:
            try:
                get_status(self.port)
            except OSError:
                time.sleep(0.1)
            else:
                return
        raise StartFailed(self.log_end(self.log))

    def status(self) -> Status:
        """How the site and its models fare."""
        return get_status(self.port)

    def stop(self, timeout: float = 20.0) -> list[str]:
        """Stop gunicorn, then the model host; return what would not go by itself.

        Whatever that is has been killed when this returns.
        """
        started = self.processes()
        for child in (self._gunicorn, self._worker):
            if child is not None and child.poll() is None:
                child.send_signal(signal.SIGTERM)
                with suppress(subprocess.TimeoutExpired):
                    child.wait(timeout)
        problems = self._manage(timeout, "inference_host", "--stop")
        psutil.wait_procs(started, timeout=timeout)
        survivors = self.processes()
        for process in survivors:
            try:
                problems.append(f"still there: {process.pid} {' '.join(process.cmdline()[:6])}")
                process.kill()
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(survivors, timeout=timeout)
        shutil.rmtree(self.folder, ignore_errors=True)
        return problems

    def processes(self) -> list[psutil.Process]:
        """Every process of this demo on the machine, wherever in the tree it is."""
        mark = self._environment[MARK]
        found = []
        for process in psutil.process_iter():
            try:
                # A process that has ended and waits for its parent has no environment.
                if process.pid != os.getpid() and process.environ().get(MARK) == mark:
                    found.append(process)
            except (psutil.Error, OSError):
                continue
        return found

    def log_end(self, log: Path, lines: int = 25) -> str:
        """The last lines of a log."""
        try:
            return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
        except OSError:
            return f"{log.name} was not written"

    def _start(self, *arguments: str) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, *arguments],
                cwd=SITE,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C is for the demo, which stops everything in its order.
                start_new_session=True,
            )

    def _manage(self, timeout: float, *arguments: str) -> list[str]:
        """Run a command of the site; return what was wrong with it."""
        said = " ".join(arguments)
        try:
            done = subprocess.run(
                [sys.executable, "manage.py", *arguments],
                cwd=SITE,
                env=self._environment,
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return [f"{said} did not end in {timeout:.0f} s"]
        if done.returncode:
            return [f"{said} ended with {done.returncode}: {done.stderr.strip()}"]
        return []


def free_port(wanted: int) -> int:
    """The wanted port of the loopback interface, or any that nobody listens on."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            # As gunicorn does: a port that was used a moment ago is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise OSError("there is no free port on the loopback interface")
