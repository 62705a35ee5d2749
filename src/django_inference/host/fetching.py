"""The files of a version: on this disk already, or fetched when a worker needs them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time

from django_inference.artifacts.home import Gone, Hold
from django_inference.artifacts.location import Location, is_remote, locate
from django_inference.artifacts.orders import Came, Fetched
from django_inference.artifacts.records import Copy, StoreSettings, localized
from django_inference.host.fetcher import FetchError, carry_out, order_for, report
from django_inference.specs import ModelSpec, Progress

logger = logging.getLogger("django_inference.host")


class Files:
    """The files of one version. Workers ask for them before they start.

    Args:
        spec: of the model.
        store: where copies go.
        copy: what is loaded, where that has been fetched before.
        exactly: no other content will do, when the copy has gone.

    Attributes:
        is_remote: they have to be fetched.
        copy: of what lies elsewhere, once it is here.
        progress: of the transfer, or None.
    """

    def __init__(
        self,
        spec: ModelSpec,
        store: StoreSettings,
        copy: Copy | None = None,
        *,
        exactly: bool = False,
    ) -> None:
        self.is_remote = spec.artifact is not None and is_remote(spec.artifact)
        self.copy = copy
        self._store = store
        self._only = copy.digest if copy is not None and exactly else ""
        self._hold: Hold | None = None
        self._task: asyncio.Task[None] | None = None
        self._came = Came(0, 0)
        self._began = 0.0

    @property
    def content(self) -> str:
        """The digest of what was fetched; empty for a path, and before."""
        return self.copy.digest if self.copy is not None else ""

    @property
    def are_here(self) -> bool:
        """Whether a worker can load them; they stay until `release`."""
        if not self.is_remote:
            return True
        if self.copy is None:
            return False
        if self._hold is None:
            with contextlib.suppress(Gone):
                self._hold = self.copy.hold()
        return self._hold is not None and os.path.exists(self.copy.path)

    @property
    def progress(self) -> Progress | None:
        """How far the transfer is."""
        if self._task is None or self._task.done():
            return None
        seconds = time.monotonic() - self._began
        return Progress(
            stage="fetching", done=self._came.done, total=self._came.total, seconds=seconds
        )

    async def fetched(self, spec: ModelSpec) -> ModelSpec:
        """Return the same model, to be loaded from this disk; fetch it first if need be.

        Raises:
            FetchError: it cannot be had.
        """
        if self.is_remote and not self.are_here:
            if self._task is None or self._task.done():
                self._task = asyncio.create_task(self._fetch(spec))
            # Other replicas wait for the same transfer: one that is stopped must not end it.
            await asyncio.shield(self._task)
        return localized(spec, self.copy) if self.copy is not None else spec

    def doubt(self) -> None:
        """Ask the source again before the next load: the last one has failed."""
        if not self._only:
            self.release()
            self.copy = None

    async def stop(self) -> None:
        """End a transfer."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            if not self._task.cancelled():
                self._task.exception()

    def release(self) -> None:
        """Let the copy be removed when room is needed."""
        if self._hold is not None:
            self._hold.close()
            self._hold = None

    async def _fetch(self, spec: ModelSpec) -> None:
        self._came, self._began = Came(0, 0), time.monotonic()
        where = _shown(spec)
        logger.info("fetching alias=%s from=%s", spec.alias, where)
        self.release()
        order = order_for(spec, self._store)
        fetched = await carry_out(order, self._tell)
        assert isinstance(fetched, Fetched)
        if self._only and fetched.copy.digest != self._only:
            raise FetchError(report(f"{where} holds another version now"))
        self.copy = fetched.copy
        if not self.are_here:
            raise FetchError(report(f"the copy {self.copy.path} was removed at once"))
        logger.info(
            "fetched alias=%s bytes=%d seconds=%.2f",
            *(spec.alias, self._came.done, time.monotonic() - self._began),
        )

    def _tell(self, came: Came) -> None:
        self._came = came


def _shown(spec: ModelSpec) -> Location | str:
    try:
        return locate(spec.artifact or "")
    except ValueError:
        return spec.artifact or ""
