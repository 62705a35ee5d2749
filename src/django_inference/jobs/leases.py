"""The lease of a run: for as long as it is renewed, nobody else runs the job."""

from __future__ import annotations

import logging
import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING

from django.db import Error, connections, router

from django_inference.conf import jobs_settings
from django_inference.jobs import transitions

if TYPE_CHECKING:
    from django_inference.jobs.models import Job

logger = logging.getLogger("django_inference.jobs")

#: Seconds between two notes of the progress.
NOTE_EVERY = 0.5


class Lease:
    """Renews the lease of a claimed job from a thread, while its body runs.

    Attributes:
        lost: the job was cancelled, or given to another process: nobody wants the result.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._done = 0
        self._noted_at = time.monotonic()
        self._interval = jobs_settings().lease / 3
        self._over = threading.Event()
        self._thread = threading.Thread(
            target=self._beat, name=f"inference-job-{job.pk}", daemon=True
        )
        self.lost = False

    def __enter__(self) -> Lease:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()

    def progress(self, done: int) -> None:
        """Tell how many items are done; written down now and then."""
        self._done = done
        if time.monotonic() - self._noted_at >= NOTE_EVERY:
            self._renew()

    def _beat(self) -> None:
        try:
            while not self._over.wait(self._interval) and not self.lost:
                self._renew()
        finally:
            # This thread's own.
            connections.close_all()

    def _renew(self) -> None:
        self._noted_at = time.monotonic()
        try:
            self.lost = not transitions.renew(self._job, self._done)
        except Error as error:
            # Until the next beat: a database that restarts is back by then.
            logger.warning("lease not renewed job=%s: %s", self._job.pk, error)
            connections[router.db_for_write(type(self._job))].close_if_unusable_or_obsolete()
