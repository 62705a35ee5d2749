"""One replica of a version: a worker, and the next one when that has ended."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from typing import TYPE_CHECKING

import msgspec

from django_inference.engine.lifecycle import Backoff
from django_inference.host.fetcher import FetchError
from django_inference.host.process import WorkerProcess
from django_inference.specs import ErrorReport, ReplicaStatus, State

if TYPE_CHECKING:
    from django_inference.host.version import Version

logger = logging.getLogger("django_inference.host")

#: Seconds between two looks at the files of a model that could not be loaded.
LOOK = 1.0

#: Seconds between two looks at whether it is a replica's turn to load.
TURN = 0.05

_serial = itertools.count()


class Replica:
    """Keeps one worker of a version running: starts it, and starts it again.

    Args:
        version: that it is a replica of.
        index: its place among them.
    """

    def __init__(self, version: Version, index: int) -> None:
        self.index = index
        self.worker: WorkerProcess | None = None
        self.restarts = -1
        self.retry_at = 0.0
        self._version = version
        self._loads = Backoff()
        self._crashes = Backoff(first=0.1, longest=10.0)
        self.is_leaving = False
        #: The last crash of any of its workers; it stays when the next one does well.
        self._crash: ErrorReport | None = None
        #: Why the last load failed; until one succeeds.
        self._load_error: ErrorReport | None = None
        self.task = asyncio.create_task(self._keep_running())

    @property
    def state(self) -> State:
        """Of its worker; one that had loaded and then died is on its way back."""
        if self.worker is None or (self.worker.state is State.FAILED and self.worker.has_loaded):
            return State.LOADING
        return self.worker.state

    @property
    def last_error(self) -> ErrorReport | None:
        """Of its worker, or of the one before."""
        worker = self.worker
        if worker is not None and (worker.error or worker.has_loaded):
            return worker.error or self._crash
        return self._load_error or self._crash

    def status(self) -> ReplicaStatus:
        """Of its worker, with the restarts."""
        if self.worker is None:
            return ReplicaStatus(pid=0, state=State.LOADING)
        return msgspec.structs.replace(
            self.worker.status(), state=self.state, restarts=max(0, self.restarts)
        )

    async def stop(self, timeout: float) -> None:
        """Drain the worker; kill it when it has not left in time."""
        if self.worker is None or not self.worker.drain():
            self.task.cancel()
        _, late = await asyncio.wait([self.task], timeout=timeout)
        if late:
            self.task.cancel()
            await asyncio.wait([self.task])

    async def _keep_running(self) -> None:
        version = self._version
        while True:
            self.restarts += 1
            failure = await self._have_files()
            while version.one_by_one and not version.is_stopping and self._is_after_another():
                await asyncio.sleep(TURN)
            if version.is_stopping:
                return
            loaded = version.found()
            path = version.folder / f"{next(_serial):x}-{loaded[:8]}.sock"
            self.worker = worker = WorkerProcess(
                version.loadable, loaded, path, version.on_change, version.store, self.index
            )
            try:
                if failure is None:
                    await worker.run()
                else:
                    worker.state, worker.error = State.FAILED, failure
            except OSError as error:
                # No descriptors, no memory, no processes left: wait like after a bad load.
                worker.state = State.FAILED
                worker.error = ErrorReport(message=f"cannot start a worker: {error}")
                logger.error("cannot start a worker alias=%s: %s", version.spec.alias, error)
            if worker.has_loaded:
                self._crash = worker.error or self._crash
            self._load_error = None if worker.has_loaded else worker.error
            if worker.state is State.UNLOADED:
                return
            if worker.has_loaded:
                self._loads.succeeded()
                version.succeeded()
                if worker.has_served:
                    self._crashes.succeeded()
                wait = self._crashes.failed()
            else:
                wait = self._loads.failed()
                version.failed()
            self.retry_at = time.monotonic() + wait
            version.on_change()
            logger.info("restart alias=%s in %.1f s", version.spec.alias, wait)
            while (remaining := self.retry_at - time.monotonic()) > 0:
                await asyncio.sleep(min(remaining, LOOK))
                if version.found() != loaded:
                    # Somebody has mended the file: no reason to wait any longer.
                    break

    def _is_after_another(self) -> bool:
        """Whether a replica before this one is still being loaded for the first time."""
        before = self._version.replicas[: self.index]
        return any(each.state is State.LOADING and each.restarts <= 0 for each in before)

    async def _have_files(self) -> ErrorReport | None:
        """Have what is loaded on this disk; return why it cannot be."""
        version = self._version
        # Until there is a worker again, it is on its way.
        self.worker = None if not version.files.are_here else self.worker
        try:
            version.loadable = await version.files.fetched(version.spec)
        except FetchError as error:
            logger.error(
                "cannot fetch alias=%s: %s\n%s",
                *(version.spec.alias, error.report.message, error.report.traceback),
            )
            return error.report
        loaded = version.found()
        if loaded != version.id:
            # The files are others than at the last start, and so is what is loaded.
            if version.id:
                logger.info(
                    "files changed alias=%s %s -> %s", version.spec.alias, version.id, loaded
                )
            version.id = loaded
            version.on_change()
        return None
