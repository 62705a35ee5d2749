"""Celery workers of the test site, as real processes."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence

import psutil

from tests.hosts import eventually
from tests.servers.running import Site

#: Seconds that a worker has to start or to leave on a slow machine.
PATIENCE = 90.0


def celery_site(*predictors: str, broker: str, results: str = "", **variables: str) -> Site:
    """A copy of the site whose tasks go through that broker, with a migrated database."""
    return Site(
        *predictors,
        linger=30.0,
        DJANGO_SETTINGS_MODULE="tests.celery.site.settings",
        SITE_BROKER=broker,
        SITE_RESULTS=results,
        # As root, Celery would say so at length.
        C_FORCE_ROOT="1",
        **variables,
    )


class Worker:
    """One Celery worker and its children.

    Args:
        site: whose tasks it runs.
        queues: that it takes them from.
        children: that it forks.
        options: further ones of `celery worker`.
    """

    def __init__(
        self,
        site: Site,
        queues: Sequence[str] = ("celery", "models"),
        children: int = 2,
        options: Sequence[str] = (),
    ) -> None:
        handle, name = tempfile.mkstemp(prefix="celery-", suffix=".log", dir=site.folder)
        self.name = os.path.basename(name)
        self._log = name
        with os.fdopen(handle, "w") as output:
            self.process = psutil.Popen(
                [
                    *(sys.executable, "-m", "celery", "-A", "tests.celery.site", "worker"),
                    *("--queues", ",".join(queues), "--concurrency", str(children)),
                    *("--hostname", f"{self.name}@test", "--loglevel", "INFO"),
                    *("--without-gossip", "--without-mingle", *options),
                ],
                cwd=site.folder,
                env=site.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def log(self) -> str:
        """What it has written."""
        with open(self._log) as file:
            return file.read()

    def wait_ready(self) -> Worker:
        """Return when it takes tasks."""

        def look() -> bool:
            assert self.process.poll() is None, self.log
            return " ready." in self.log

        eventually(look, PATIENCE)
        return self

    def children(self) -> list[psutil.Process]:
        """The processes that it has forked."""
        return list(self.process.children())

    def kill(self, *, orphans: bool = False) -> None:
        """Kill it without warning.

        Args:
            orphans: its children are left to find out; else they are killed with it.
        """
        with contextlib.suppress(ProcessLookupError):
            if orphans:
                os.kill(self.process.pid, signal.SIGKILL)
            else:
                os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(PATIENCE)

    def stop(self) -> None:
        """Have it finish what it has begun, and leave."""
        if self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(PATIENCE)
        except psutil.TimeoutExpired:
            self.kill()
            raise
