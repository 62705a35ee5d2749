"""What the cache of a predictor has saved: counted here, summed up elsewhere."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable

from django_inference.specs import CacheCounts

#: Seconds between a count and its report.
REPORT_AFTER = 1.0

NOTHING = CacheCounts()


class Counts:
    """The counts of this process. Threads share them.

    Args:
        report: is told, a moment later and from another thread, what has been added since
            it was told last; None where nobody sums up. What it raises is ignored, and told
            with the next report.
    """

    def __init__(self, report: Callable[[CacheCounts], None] | None = None) -> None:
        self._report = report
        self._here = self._untold = NOTHING
        self._is_due = False
        self._forget()

    def add(self, *, hits: int = 0, misses: int = 0, joined: int = 0) -> None:
        """Count answers."""
        if self._pid != os.getpid():
            # The parent reports its own.
            self._forget()
        added = CacheCounts(hits=hits, misses=misses, joined=joined)
        with self._lock:
            self._here += added
            self._untold += added
            if self._report is None or self._is_due:
                return
            self._is_due = True
        timer = threading.Timer(REPORT_AFTER, self.flush)
        timer.daemon = True
        # No thread is started while the interpreter ends.
        with contextlib.suppress(RuntimeError):
            timer.start()

    def here(self) -> CacheCounts:
        """The counts of this process."""
        return self._here if self._pid == os.getpid() else NOTHING

    def flush(self) -> None:
        """Report what is new, now."""
        if self._report is None or self._pid != os.getpid():
            return
        with self._lock:
            untold, self._untold = self._untold, NOTHING
            self._is_due = False
        if untold == NOTHING:
            return
        try:
            self._report(untold)
        except Exception:
            with self._lock:
                self._untold += untold

    def _forget(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._here = self._untold = NOTHING
        self._is_due = False
