"""What the host runs for one predictor: the version that answers, and the next one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from django_inference.host.protocol import Update
from django_inference.host.version import Version
from django_inference.specs import ModelSpec, State, Status

logger = logging.getLogger("django_inference.host")


class Deployment:
    """One predictor in the host.

    Args:
        alias: of the predictor.
        folder: for the sockets of its workers.
        graceful_timeout: seconds that a version which leaves may take.
        on_change: called after each change that a client could notice.
    """

    def __init__(
        self, alias: str, folder: Path, graceful_timeout: float, on_change: Callable[[], None]
    ) -> None:
        self.alias = alias
        self._folder = folder
        self._graceful_timeout = graceful_timeout
        self._notify = on_change
        self._declared_at = 0.0
        self._serving: Version | None = None
        self._coming: Version | None = None
        self._leaving: set[asyncio.Task[None]] = set()

    def declare(self, spec: ModelSpec, declared_at: float) -> None:
        """Have this model served, unless a newer declaration asks for another one."""
        latest = self._coming or self._serving
        if latest is not None and latest.spec.digest() == spec.digest():
            self._declared_at = max(declared_at, self._declared_at)
            latest.scale(spec.replicas)
        elif latest is None or declared_at > self._declared_at:
            self._declared_at = declared_at
            self._load(spec)

    def reload(self) -> None:
        """Load the latest declaration again, beside what runs."""
        latest = self._coming or self._serving
        if latest is not None:
            self._load(latest.spec)

    def unload(self) -> None:
        """Drain everything."""
        for version in (self._serving, self._coming):
            if version is not None:
                self._retire(version)
        self._serving = self._coming = None
        self._notify()

    async def stop(self) -> None:
        """Drain everything and return when it is gone."""
        self.unload()
        if self._leaving:
            await asyncio.wait(self._leaving)

    def update(self) -> Update:
        """Where it stands, for a client that wants to call."""
        version = self._serving or self._coming
        if version is None:
            return Update(State.UNLOADED)
        ready = version.ready
        return Update(
            state=version.state,
            version=version.id if ready else "",
            sockets=tuple(str(worker.socket_path) for worker in ready),
            signature=ready[0].signature if ready else None,
            error=version.error,
            retry_after=version.retry_after,
        )

    def status(self) -> Status:
        """Where it stands, for a person."""
        version = self._serving or self._coming
        if version is None:
            return Status(alias=self.alias, state=State.UNLOADED)
        latest = self._coming or version
        ready = version.ready
        return Status(
            alias=self.alias,
            state=version.state,
            version=version.id,
            next_version="" if latest is version else latest.id,
            replicas=tuple(replica.status() for replica in version.replicas),
            signature=ready[0].signature if ready else None,
            error=latest.error or version.error,
            retry_after=latest.retry_after,
        )

    def _load(self, spec: ModelSpec) -> None:
        if self._coming is not None:
            self._retire(self._coming)
        self._coming = Version(spec, self._folder, self._changed)
        logger.info("loading alias=%s version=%s", spec.alias, self._coming.id)
        self._coming.scale(spec.replicas)
        self._notify()

    def _changed(self) -> None:
        coming = self._coming
        if coming is not None and len(coming.ready) == len(coming.replicas):
            old, self._serving, self._coming = self._serving, coming, None
            if old is not None:
                logger.info("traffic moves alias=%s %s -> %s", self.alias, old.id, coming.id)
                self._retire(old)
        self._notify()

    def _retire(self, version: Version) -> None:
        if not version.is_stopping:
            task = asyncio.create_task(version.stop(self._graceful_timeout))
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)
