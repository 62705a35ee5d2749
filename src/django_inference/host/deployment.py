"""What the host runs for one predictor: the version that answers, and the next one."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from django_inference.artifacts.records import Copy, StoreSettings
from django_inference.host.process import WorkerProcess
from django_inference.host.protocol import Update
from django_inference.host.replica import Replica
from django_inference.host.trial import TrialRun
from django_inference.host.version import Version
from django_inference.host.watching import SourceWatch
from django_inference.specs import CacheCounts, ModelSpec, State, Status

logger = logging.getLogger("django_inference.host")

#: The next version, while its files are being fetched: nobody knows which one it will be.
PENDING = "pending"


class Deployment:
    """One predictor in the host.

    Args:
        alias: of the predictor.
        folder: for the sockets of its workers.
        graceful_timeout: seconds that a version which leaves may take.
        on_change: called after each change that a client could notice.
        store: where copies of what lies elsewhere go.
    """

    def __init__(
        self,
        alias: str,
        folder: Path,
        graceful_timeout: float,
        on_change: Callable[[], None],
        store: StoreSettings,
    ) -> None:
        self.alias = alias
        self._folder = folder
        self._graceful_timeout = graceful_timeout
        self._notify = on_change
        self._store = store
        self._watch = SourceWatch(store, self._source_changed)
        self._declared_at = 0.0
        self._serving: Version | None = None
        self._coming: Version | None = None
        self._trial: TrialRun | None = None
        self._former: Version | None = None
        #: A version that somebody has asked for, so that it is not tried again.
        self._at_once: Version | None = None
        #: The declaration that was rolled back: not loaded again until another one comes.
        self._withdrawn = ""
        #: The version that was rolled back: its files are not loaded again by watching them.
        self._rejected = ""
        #: What was served when the memory was given back, and what it was loaded from.
        self._unloaded: tuple[ModelSpec, Copy | None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._quarantine: dict[str, float] = {}
        self._saved: CacheCounts | None = None
        self._seen_files = ""

    @property
    def serving(self) -> Version | None:
        """The version that answers."""
        return self._serving

    def declare(self, spec: ModelSpec, declared_at: float) -> None:
        """Have this model served, unless a newer declaration asks for another one."""
        latest = self._latest
        digest = spec.digest()
        if latest is not None and latest.spec.digest() == digest:
            if declared_at >= self._declared_at:
                is_newer, self._declared_at = declared_at > self._declared_at, declared_at
                is_other, latest.spec = spec != latest.spec, spec
                if is_newer and latest.files.is_remote:
                    self._watch.want()
                if is_newer and latest.id and latest.found() not in (latest.id, self._rejected):
                    # A deploy that has changed files only, such as the runtime's source.
                    self._load(spec)
                    return
                for replica in latest.scale():
                    self._keep(replica.stop(self._graceful_timeout))
                if is_other:
                    self._notify()
        elif declared_at > self._declared_at and digest != self._withdrawn:
            self._declared_at = declared_at
            self._withdrawn = ""
            self._load(spec)
        elif latest is None:
            # It was unloaded: that makes no older declaration newer than the last.
            self._load(*(self._unloaded or (spec, None)))

    def reload(self) -> None:
        """Load the latest declaration again, beside what runs."""
        if self._latest is not None:
            self._load(self._latest.spec)

    def rollback(self) -> None:
        """Serve the version before this one again, whatever the settings say now.

        Raises:
            LookupError: there is none, or its files are no longer what they were.
        """
        former, latest = self._former, self._latest
        if latest is not None and latest is not self._serving and self._serving is not None:
            # The new version has not taken over yet: the one before it still serves.
            self._withdraw(latest)
            return
        if former is None or latest is None:
            raise LookupError(f"{self.alias!r} has had no other version since the host started.")
        if former.found() != former.id or not former.files.are_here:
            raise LookupError(
                f"the files of {self.alias!r} in version {former.id} have been replaced: "
                "restore them and reload."
            )
        self._withdraw(latest)
        logger.warning("rollback alias=%s %s -> %s", self.alias, latest.id, former.id)
        self._load(former.spec, former.files.copy, exactly=True)
        self._at_once = self._coming

    def promote(self) -> None:
        """Give the version on trial all the traffic.

        Raises:
            LookupError: none is on trial.
        """
        if self._trial is None:
            raise LookupError(f"{self.alias!r} has no version on trial.")
        trial, self._trial = self._trial, None
        self._take_over(trial.version)
        self._notify()

    def compared(self, version: str, equal: int, different: int, example: str) -> None:
        """Count what copies of calls have shown of the version on trial."""
        if self._trial is not None:
            self._trial.compared(version, equal, different, example)

    def saved(self, counts: CacheCounts) -> None:
        """Count what the cache of one process has saved."""
        self._saved = counts if self._saved is None else self._saved + counts

    def confine(self, digest: str) -> None:
        """Refuse an input that has killed the model twice, for a while."""
        version = self._serving or self._coming
        if digest and version is not None and version.spec.supervision.quarantine:
            until = time.monotonic() + version.spec.supervision.quarantine
            self._quarantine[digest] = until
            logger.error("quarantine alias=%s input=%s: it killed the model", self.alias, digest)
            self._notify()

    def look(self) -> None:
        """See whether a worker hangs, leaks or is idle, and whether files have changed.

        Called a few times a second; nothing in here waits.
        """
        now = time.monotonic()
        if any(until < now for until in self._quarantine.values()):
            self._quarantine = {d: until for d, until in self._quarantine.items() if until >= now}
            self._notify()
        for looked_at in self._versions:
            for replica in looked_at.replicas:
                if replica.worker is None:
                    continue
                if replica.worker.state is State.LOADING:
                    _look_at_load(replica.worker, now)
                elif replica.state is State.READY:
                    self._look_at(looked_at, replica, replica.worker, now)
        version = self._serving
        if version is None:
            return
        rules = version.spec.supervision
        if (
            rules.idle_unload is not None
            and self._trial is None
            and not version.is_running
            and now - version.last_used > rules.idle_unload
        ):
            logger.info("idle alias=%s for %.0f s, unloading", self.alias, rules.idle_unload)
            self.unload()
        elif self._coming is None and version.files.is_remote:
            self._watch.look(version)
        elif rules.watch and self._coming is None:
            self._look_at_files(version)

    def unload(self) -> None:
        """Drain everything."""
        # A version on trial has not been promoted, and an unload shall not do it.
        latest = self._coming or self._serving
        if latest is not None:
            self._unloaded = latest.spec, latest.files.copy
        for version in self._versions:
            self._retire(version)
        self._serving = self._coming = self._trial = None
        self._notify()

    async def stop(self) -> None:
        """Drain everything and return when it is gone."""
        self.unload()
        await self._watch.stop()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def update(self) -> Update:
        """Where it stands, for a client that wants to call."""
        version = self._serving or self._coming
        if version is None:
            return Update(State.UNLOADED)
        ready = version.ready
        # While workers are replaced after their files were, two versions may answer in turns.
        answering = {worker.version for worker in ready}
        return Update(
            state=version.state,
            version=answering.pop() if len(answering) == 1 else "",
            sockets=tuple(str(worker.socket_path) for worker in ready),
            signature=ready[0].signature if ready else None,
            error=version.error,
            retry_after=version.retry_after,
            quarantine=tuple(self._quarantine),
            trial=self._trial.update() if self._trial is not None else None,
        )

    def status(self) -> Status:
        """Where it stands, for a person."""
        version = self._serving or self._coming
        if version is None:
            return Status(alias=self.alias, state=State.UNLOADED, cache=self._saved)
        latest = self._coming or version
        ready = version.ready
        return Status(
            alias=self.alias,
            state=version.state,
            version=version.id,
            next_version="" if latest is version else latest.id or PENDING,
            progress=latest.progress,
            trial=self._trial.status() if self._trial is not None else None,
            replicas=tuple(replica.status() for replica in version.replicas),
            cache=self._saved,
            signature=ready[0].signature if ready else None,
            error=latest.error or version.error,
            retry_after=latest.retry_after,
        )

    def _load(
        self,
        spec: ModelSpec,
        copy: Copy | None = None,
        *,
        exactly: bool = False,
        unless_same: bool = False,
    ) -> None:
        if self._coming is not None:
            self._retire(self._coming)
        self._coming = Version(
            spec, self._folder, self._changed, self._store, copy, exactly=exactly
        )
        self._coming.unless_same = unless_same
        # Loading takes all the cores it can get: those who answer meanwhile need them too.
        self._coming.one_by_one = self._serving is not None
        logger.info("loading alias=%s version=%s", spec.alias, self._coming.id or PENDING)
        self._coming.scale()
        self._notify()

    @property
    def _latest(self) -> Version | None:
        tried = self._trial.version if self._trial is not None else None
        return self._coming or tried or self._serving

    @property
    def _versions(self) -> list[Version]:
        tried = self._trial.version if self._trial is not None else None
        return [v for v in (self._coming, tried, self._serving) if v is not None]

    def _changed(self) -> None:
        coming = self._coming
        if coming is not None and coming.unless_same and self._is_known(coming):
            self._coming = None
            self._watch.know(coming.files.copy.tag if coming.files.copy else "")
            self._retire(coming)
        elif coming is not None and len(coming.ready) == len(coming.replicas):
            self._coming = None
            rules = coming.spec.supervision
            is_other = self._serving is not None and self._serving.id != coming.id
            is_tried = bool(rules.canary or rules.shadow) and coming is not self._at_once
            if is_other and is_tried:
                self._try(coming)
            else:
                self._take_over(coming)
        self._notify()

    def _try(self, version: Version) -> None:
        if self._trial is not None:
            self._retire(self._trial.version)
        self._trial = TrialRun(version)
        rules = version.spec.supervision
        logger.info(
            "on trial alias=%s version=%s canary=%g shadow=%g",
            *(self.alias, version.id, rules.canary, rules.shadow),
        )

    def _take_over(self, version: Version) -> None:
        old, self._serving = self._serving, version
        if old is not None:
            logger.info("traffic moves alias=%s %s -> %s", self.alias, old.id, version.id)
            if old.id != version.id:
                if self._former is not None:
                    self._former.files.release()
                self._former = old
            self._retire(old)

    def _withdraw(self, version: Version) -> None:
        self._withdrawn = version.spec.digest()
        self._rejected = version.id
        self._declared_at = time.time()
        if version is self._serving:
            return
        logger.warning("withdrawn alias=%s version=%s", self.alias, version.id)
        self._retire(version)
        self._coming = None if version is self._coming else self._coming
        if self._trial is not None and version is self._trial.version:
            self._trial = None
        self._notify()

    def _look_at(
        self, version: Version, replica: Replica, worker: WorkerProcess, now: float
    ) -> None:
        rules = version.spec.supervision
        started = worker.page.run_started
        if rules.run_timeout is not None and started and now - started > rules.run_timeout:
            worker.kill(f"a kill: a run took longer than run_timeout={rules.run_timeout:g} s")
            return
        why = ""
        if rules.max_requests is not None and worker.page.requests >= rules.max_requests:
            why = f"max_requests={rules.max_requests}"
        elif rules.max_memory is not None and worker.memory > rules.max_memory:
            why = f"max_memory={rules.max_memory}"
        if why and not replica.is_leaving:
            replica.is_leaving = True
            logger.info("replacing alias=%s pid=%s: %s", self.alias, worker.pid, why)
            self._keep(version.replace(replica, self._graceful_timeout))

    def _look_at_files(self, version: Version) -> None:
        # Seen the same twice in a row: a copy that is still being written is not loaded.
        found = version.found()
        known = [self._rejected, *(version.id for version in self._versions)]
        if found not in known and found == self._seen_files:
            logger.info("files changed alias=%s %s -> %s", self.alias, version.id, found)
            self.reload()
        self._seen_files = found

    def _retire(self, version: Version) -> None:
        if not version.is_stopping:
            version.is_stopping = True
            self._keep(self._stop(version))

    async def _stop(self, version: Version) -> None:
        await version.stop(self._graceful_timeout)
        if version is not self._former:
            version.files.release()

    def _source_changed(self) -> None:
        if self._serving is not None and self._coming is None:
            self._load(self._serving.spec, unless_same=True)

    def _is_known(self, version: Version) -> bool:
        others = [known.id for known in self._versions if known is not version]
        return version.id in (self._rejected, *others) if version.id else False

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _look_at_load(worker: WorkerProcess, now: float) -> None:
    limit = worker.spec.supervision.load_timeout
    if limit is not None and now - worker.started_at > limit:
        worker.kill(f"a kill: the load took longer than load_timeout={limit:g} s")
