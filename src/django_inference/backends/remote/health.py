"""Questions after the health of servers, asked by a thread while calls are made."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from django_inference.backends.remote.failures import Failure
from django_inference.backends.remote.questions import Question

if TYPE_CHECKING:
    from django_inference.backends.remote.pool import Pool

#: Seconds after the last call for which servers are still asked.
IN_USE = 30.0
#: Seconds that a server has to answer.
PATIENCE = 2.0


class HealthWatch:
    """Asks each server of a pool again and again. The thread ends when nobody calls any more.

    Args:
        pool: of servers.
        question: makes what a healthy server answers with True.
        interval: seconds between two questions; None asks none.
    """

    def __init__(
        self, pool: Pool, question: Callable[[], Question], interval: float | None
    ) -> None:
        self._pool = pool
        self._question = question
        self._interval = interval
        self._used_at = 0.0
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()

    def keep_looking(self) -> None:
        """A call is made: see to it that the servers are watched."""
        self._used_at = time.monotonic()
        if self._thread is not None or self._interval is None:
            return
        with self._lock:
            if self._thread is None and not self._ended.is_set():
                self._thread = threading.Thread(
                    target=self._watch, name="inference-health", daemon=True
                )
                self._thread.start()

    def look(self, deadline: float) -> None:
        """Ask each server once."""
        for endpoint in self._pool.endpoints():
            until = min(deadline, time.monotonic() + PATIENCE)
            try:
                is_healthy = bool(endpoint.send(self._question(), until, until))
            except Failure as failure:
                endpoint.failed(failure.error)
                is_healthy = False
            if self._ended.is_set():
                return
            self._pool.healthy(endpoint, is_healthy)

    def close(self) -> None:
        """End the thread, and wait until it has noticed where that is soon."""
        self._ended.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(PATIENCE)

    def _watch(self) -> None:
        assert self._interval is not None
        while not self._ended.wait(self._interval):
            if time.monotonic() - self._used_at > max(IN_USE, 2 * self._interval):
                break
            self.look(time.monotonic() + PATIENCE * len(self._pool.endpoints()))
        with self._lock:
            self._thread = None
