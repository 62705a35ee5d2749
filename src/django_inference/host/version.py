"""One version of a model, and the replicas that hold it."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from django_inference.engine.lifecycle import Backoff, version_of
from django_inference.host.process import WorkerProcess
from django_inference.specs import ErrorReport, ModelSpec, ReplicaStatus, State

logger = logging.getLogger("django_inference.host")

#: Seconds between two looks at the files of a model that could not be loaded.
LOOK = 1.0

#: Seconds after which a worker is replaced that could not be replaced before.
REPLACE_AGAIN = 10.0

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
            loaded = version_of(version.spec)
            if loaded != version.id:
                # The files are others than at the last start, and so is what is loaded.
                logger.info(
                    "files changed alias=%s %s -> %s", version.spec.alias, version.id, loaded
                )
                version.id = loaded
            path = version.folder / f"{next(_serial):x}-{version.id[:8]}.sock"
            self.worker = worker = WorkerProcess(
                version.spec, version.id, path, version.on_change, self.index
            )
            try:
                await worker.run()
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
                if worker.has_served:
                    self._crashes.succeeded()
                wait = self._crashes.failed()
            else:
                wait = self._loads.failed()
            self.retry_at = time.monotonic() + wait
            version.on_change()
            logger.info("restart alias=%s in %.1f s", version.spec.alias, wait)
            while (remaining := self.retry_at - time.monotonic()) > 0:
                await asyncio.sleep(min(remaining, LOOK))
                if version_of(version.spec) != loaded:
                    # Somebody has mended the file: no reason to wait any longer.
                    break


class Version:
    """One digest of artifact, runtime and options, on its way in, in charge, or out.

    Args:
        spec: of the model.
        folder: for the sockets.
        on_change: called after each change.
    """

    def __init__(self, spec: ModelSpec, folder: Path, on_change: Callable[[], None]) -> None:
        self.spec = spec
        self.id = version_of(spec)
        self.folder = folder
        self.on_change = on_change
        self.replicas: list[Replica] = []
        self.is_stopping = False

    def scale(self) -> list[Replica]:
        """Start the workers that are missing; return those that are too many."""
        wanted = self.spec.supervision.replicas
        while len(self.replicas) < wanted:
            self.replicas.append(Replica(self, len(self.replicas)))
        spare, self.replicas = self.replicas[wanted:], self.replicas[:wanted]
        return spare

    @property
    def ready(self) -> list[WorkerProcess]:
        """The workers that take calls."""
        workers = (replica.worker for replica in self.replicas)
        return [w for w in workers if w is not None and w.state is State.READY]

    @property
    def state(self) -> State:
        """READY when any replica is, FAILED when all have failed."""
        states = {replica.state for replica in self.replicas}
        for state in (State.READY, State.LOADING, State.FAILED):
            if state in states:
                return state
        return State.DRAINING

    @property
    def error(self) -> ErrorReport | None:
        """The last error of any replica."""
        errors = [replica.last_error for replica in self.replicas if replica.last_error]
        return max(errors, key=lambda error: error.at, default=None)

    @property
    def retry_after(self) -> float | None:
        """Seconds until the next attempt to load, while it is FAILED."""
        if self.state is not State.FAILED:
            return None
        return max(0.0, min(r.retry_at for r in self.replicas) - time.monotonic())

    @property
    def last_used(self) -> float:
        """`time.monotonic()` of the last answer of any worker."""
        return max((worker.last_used for worker in self.ready), default=time.monotonic())

    @property
    def is_running(self) -> bool:
        """Whether any worker is at work on a batch."""
        return any(worker.page.run_started for worker in self.ready)

    @property
    def memory(self) -> int:
        """Resident bytes of all its workers."""
        return sum(replica.worker.memory for replica in self.replicas if replica.worker)

    async def replace(self, old: Replica, timeout: float) -> None:
        """Put a new replica in the place of one, without a gap.

        Args:
            old: goes on until the new one is ready; stays where that fails.
            timeout: seconds that the old one gets to answer what it was asked.
        """
        new = Replica(self, old.index)
        while new.state is State.LOADING and not self.is_stopping:
            await asyncio.sleep(0.05)
        if new.state is not State.READY or self.is_stopping:
            await new.stop(timeout)
            # Not at once, and not never.
            await asyncio.sleep(REPLACE_AGAIN)
            old.is_leaving = False
            return
        self.replicas[self.replicas.index(old)] = new
        self.on_change()
        await old.stop(timeout)

    async def stop(self, timeout: float) -> None:
        """Drain and end every worker."""
        self.is_stopping = True
        await asyncio.gather(*(replica.stop(timeout) for replica in self.replicas))
