"""Whether a predictor that has a fallback is worth being asked first."""

from __future__ import annotations

import logging
import os
import threading
import time

from django_inference.exceptions import (
    InferenceError,
    ModelCrashed,
    ModelLoadFailed,
    ModelNotReady,
    Overloaded,
    PredictionTimeout,
    RemoteError,
)
from django_inference.specs import FallbackCounts

logger = logging.getLogger("django_inference")

#: What another model may do better. Not `InvalidInput`, which is the caller's mistake, and not
#: `PredictionFailed`, which is one in the model's code that nobody would see any more.
CANNOT = (
    ModelNotReady,
    ModelLoadFailed,
    Overloaded,
    PredictionTimeout,
    ModelCrashed,
    RemoteError,
)
#: Those that the next call would meet as well.
LASTS = (ModelNotReady, ModelLoadFailed, RemoteError)
#: Seconds for which a predictor that is down is not asked, but for one call at the end of it.
REST = 1.0
#: Seconds between two warnings of one process about one predictor.
WARN_EVERY = 60.0


class Patience:
    """What is known of a predictor that could not answer. Threads share it.

    A call to a model that is not ready waits for it, and nobody shall wait so again and again
    while the fallback stands by.

    Args:
        alias: of the predictor.
        fallback: alias of the other one, for the log.
    """

    def __init__(self, alias: str, fallback: str) -> None:
        self._alias = alias
        self._fallback = fallback
        self._error: InferenceError | None = None
        self._rests_until = self._quiet_until = 0.0
        self._counts = FallbackCounts()
        self._forget()

    @property
    def counts(self) -> FallbackCounts:
        """What the fallback has done in this process."""
        return self._counts if self._pid == os.getpid() else FallbackCounts()

    def count(self, *, answered: int = 0, failed: int = 0) -> None:
        """The fallback has answered, or could not either."""
        with self._guard():
            self._counts = FallbackCounts(
                answered=self._counts.answered + answered, failed=self._counts.failed + failed
            )

    def resting(self) -> InferenceError | None:
        """Why it is not asked now; None to ask it."""
        if self._error is None:
            return None
        with self._guard():
            now = time.monotonic()
            if self._error is None or now >= self._rests_until:
                # One call tries; the others go on without it meanwhile.
                self._rests_until = now + REST
                return None
            return self._error

    def is_well(self) -> None:
        """It has answered."""
        self._error = None

    def noted(self, error: InferenceError) -> InferenceError:
        """It has not; log that from time to time, and return the error."""
        with self._guard():
            now = time.monotonic()
            if isinstance(error, LASTS):
                self._error = error
                self._rests_until = now + REST
            if now < self._quiet_until:
                return error
            self._quiet_until = now + WARN_EVERY
        logger.warning(
            "degraded alias=%s fallback=%s: %s: %s",
            *(self._alias, self._fallback, type(error).__name__, error),
        )
        return error

    def _guard(self) -> threading.Lock:
        if self._pid != os.getpid():
            # A thread that did not survive the fork may have held it.
            self._forget()
        return self._lock

    def _forget(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._counts = FallbackCounts()
