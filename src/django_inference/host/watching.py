"""Asking a source now and then whether it has changed."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from django_inference.artifacts.orders import Tagged
from django_inference.artifacts.records import StoreSettings
from django_inference.host.fetcher import FetchError, carry_out, order_for
from django_inference.host.version import Version

logger = logging.getLogger("django_inference.host")

#: Seconds between two questions: each is a process, and a request to somebody's server.
EVERY = 60.0


class SourceWatch:
    """Asks the source of the version that serves, no more often than once a minute.

    Args:
        store: the artifact folder.
        on_change: called when the source has changed.
    """

    def __init__(self, store: StoreSettings, on_change: Callable[[], None]) -> None:
        self._store = store
        self._on_change = on_change
        self._next = 0.0
        self._version: Version | None = None
        self._is_wanted = False
        self._task: asyncio.Task[None] | None = None
        self._known: set[str] = set()
        self._told = ""

    def want(self) -> None:
        """Ask once, when it is time: somebody has declared the same model again."""
        self._is_wanted = True

    def know(self, tag: str) -> None:
        """Do not call this a change: it has been looked at."""
        self._known.add(tag)

    def look(self, version: Version) -> None:
        """Ask, if it is time and somebody wants to know. Does not wait."""
        copy, now = version.files.copy, time.monotonic()
        if version is not self._version:
            self._version, self._next = version, now + EVERY
        if not (version.spec.supervision.watch or self._is_wanted) or copy is None:
            return
        if not copy.tag:
            self._is_wanted = False
            if version.spec.supervision.watch:
                self._tell(version, "it does not say when it changes; reload looks at it")
        elif now >= self._next and (self._task is None or self._task.done()):
            self._next = now + EVERY
            self._is_wanted = False
            self._task = asyncio.create_task(self._ask(version, copy.tag))

    async def stop(self) -> None:
        """Ask no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _ask(self, version: Version, tag: str) -> None:
        order = order_for(version.spec, self._store, tag)
        try:
            answer = await carry_out(order, lambda came: None)
        except FetchError as error:
            self._tell(version, str(error))
            return
        assert isinstance(answer, Tagged)
        self._told = ""
        if answer.tag not in {tag, "", *self._known} and version is self._version:
            logger.info("source changed alias=%s", version.spec.alias)
            self._on_change()

    def _tell(self, version: Version, why: str) -> None:
        if why != self._told:
            self._told = why
            logger.warning("cannot watch the source alias=%s: %s", version.spec.alias, why)
