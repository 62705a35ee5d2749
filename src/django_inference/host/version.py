"""One version of a model, and the replicas that hold it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from django_inference.artifacts.records import Copy, StoreSettings
from django_inference.engine.lifecycle import version_of
from django_inference.host.fetching import Files
from django_inference.host.process import WorkerProcess
from django_inference.host.replica import Replica
from django_inference.specs import ErrorReport, ModelSpec, Progress, State

#: Seconds after which a worker is replaced that could not be replaced before.
REPLACE_AGAIN = 10.0


class Version:
    """One digest of artifact, runtime and options, on its way in, in charge, or out.

    Args:
        spec: of the model.
        folder: for the sockets.
        on_change: called after each change.
        store: where copies of what lies elsewhere go.
        copy: what is loaded, where that has been fetched before.
        exactly: no other content will do, when the copy has gone.

    Attributes:
        id: its digest; empty while its files are still being fetched.
        files: what is loaded.
        loadable: the spec, with an artifact on this disk.
        unless_same: it is dropped when the files turn out to be those that are served.
        one_by_one: its replicas are loaded one after the other.
    """

    def __init__(
        self,
        spec: ModelSpec,
        folder: Path,
        on_change: Callable[[], None],
        store: StoreSettings,
        copy: Copy | None = None,
        *,
        exactly: bool = False,
    ) -> None:
        self.spec = spec
        self.store = store
        self.files = Files(spec, store, copy, exactly=exactly)
        self.id = "" if self.files.is_remote and copy is None else self.found()
        self.loadable = spec
        self.unless_same = self.one_by_one = False
        self._has_loaded = False
        self.folder = folder
        self.on_change = on_change
        self.replicas: list[Replica] = []
        self.is_stopping = False

    def found(self) -> str:
        """The version that a load would give now."""
        return version_of(self.spec, self.files.content)

    def failed(self) -> None:
        """A load has failed. What never was loaded is fetched anew: it may be mended there."""
        workers = [replica.worker for replica in self.replicas]
        if not self._has_loaded and not any(w is not None and w.has_loaded for w in workers):
            self.files.doubt()

    def succeeded(self) -> None:
        """A load has succeeded: from now on these are its files."""
        self._has_loaded = True

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
    def progress(self) -> Progress | None:
        """How far its load is; None where nothing is being loaded."""
        workers = (replica.worker for replica in self.replicas)
        stages = (worker.progress for worker in workers if worker is not None)
        return self.files.progress or next((stage for stage in stages if stage), None)

    @property
    def last_used(self) -> float:
        """`time.monotonic()` of the last answer of any worker."""
        return max((worker.last_used for worker in self.ready), default=time.monotonic())

    @property
    def is_running(self) -> bool:
        """Whether any worker is at work on a batch, or has a stream open."""
        return any(worker.page.run_started or worker.page.streams for worker in self.ready)

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
        await asyncio.gather(
            self.files.stop(), *(replica.stop(timeout) for replica in self.replicas)
        )
