"""A site whose jobs are run by database workers, with the workers."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from tests.hosts import eventually
from tests.servers.running import Site

#: Seconds for what takes one on an idle machine.
PATIENCE = 120.0


class Office:
    """The site, what it is asked, and who works for it.

    Args:
        site: with `tests.tasks.settings`.
    """

    def __init__(self, site: Site) -> None:
        self.site = site
        self.workers: list[subprocess.Popen[bytes]] = []
        self._clerk: subprocess.Popen[str] | None = None
        site.manage("migrate", "--run-syncdb", "--verbosity", "0")

    def ask(self, question: str, *arguments: object) -> Any:
        """What a function of `tests.tasks.questions` says, in a process of the site."""
        if self._clerk is None:
            self._clerk = self._start_clerk()
        clerk = self._clerk
        assert clerk.stdin is not None and clerk.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps([question, *arguments]), file=clerk.stdin, flush=True)
        if said := clerk.stdout.readline():
            return json.loads(said)
        self._clerk = None
        clerk.communicate(timeout=PATIENCE)
        raise EOFError(f"the process that was asked has ended: {clerk.returncode}")

    def _start_clerk(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.tasks.questions"],
            cwd=self.site.folder,
            env=self.site.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def hire(self, *options: str) -> subprocess.Popen[bytes]:
        """Start a database worker."""
        with (self.site.folder / "workers.log").open("ab") as log:
            worker = subprocess.Popen(
                [
                    *(sys.executable, "-m", "tests.site.manage", "db_worker"),
                    *("--interval", "0.1", "--queue-name", "*", "--no-startup-delay", *options),
                ],
                cwd=self.site.folder,
                env=self.site.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.workers.append(worker)
        return worker

    def replace(self, worker: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
        """Kill a worker, and start another in its place."""
        worker.kill()
        worker.wait()
        self.workers.remove(worker)
        return self.hire()

    @property
    def log(self) -> str:
        """What the workers have written."""
        path = self.site.folder / "workers.log"
        return path.read_text() if path.exists() else ""

    def wait_until(self, question: str, *arguments: object, timeout: float = PATIENCE) -> Any:
        """Ask until the answer is true; return it."""
        try:
            return eventually(lambda: self.ask(question, *arguments), timeout)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.ask('jobs')}\n{self.log}") from error

    def close(self) -> None:
        """Have the workers leave as an administrator has, then the site."""
        if self._clerk is not None:
            self._clerk.communicate(timeout=PATIENCE)
        for worker in self.workers:
            worker.send_signal(signal.SIGTERM)
        for worker in self.workers:
            try:
                worker.wait(30)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()


@contextlib.contextmanager
def office(site: Site) -> Iterator[Office]:
    """An office that is closed in the end."""
    made = Office(site)
    try:
        yield made
    finally:
        made.close()


def kill(pids: Sequence[int]) -> None:
    """Without a word."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
