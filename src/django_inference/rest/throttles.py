"""How often a caller may ask one predictor: requests, and the rows in them."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from rest_framework.exceptions import Throttled
from rest_framework.permissions import SAFE_METHODS
from rest_framework.request import Request
from rest_framework.throttling import SimpleRateThrottle


class PredictorThrottle(SimpleRateThrottle):
    """Counts by caller and predictor, whichever wire the caller uses.

    A caller is a user who is logged in, or else an address.

    Args:
        alias: the predictor.
        rate: as in `100/min`.
    """

    counts = ""

    num_requests: int
    duration: int

    def __init__(self, alias: str, rate: str) -> None:
        self.alias = alias
        self.rate = rate
        super().__init__()

    def get_cache_key(self, request: Request, view: Any) -> str:
        """The caller's entry in the cache."""
        user = getattr(request, "user", None)
        if user is not None and user.is_authenticated:
            ident = f"user-{user.pk}"
        else:
            ident = f"address-{self.get_ident(request)}"
        # Some caches take no spaces in a key, and an alias may have some.
        scope = f"inference_{self.counts}_{quote(self.alias, safe='')}"
        return self.cache_format % {"scope": scope, "ident": quote(ident, safe=":.")}


class RequestThrottle(PredictorThrottle):
    """Limits the requests that call the model. To look at its status is free."""

    counts = "requests"

    def allow_request(self, request: Request, view: Any) -> bool:
        """Count a request, unless there were too many."""
        return request.method in SAFE_METHODS or super().allow_request(request, view)


class RowThrottle(PredictorThrottle):
    """Limits the rows, or items, that a caller has predicted."""

    counts = "rows"

    def take(self, request: Request, view: Any, rows: int) -> None:
        """Count the rows of one request, all or none.

        Raises:
            Throttled: they would be too many; `wait` is None where they always would be.
        """
        if rows > self.num_requests:
            raise Throttled(
                detail=f"This request has {rows} rows; at most {self.num_requests} are taken "
                f"within {self.duration} seconds."
            )
        key = self.get_cache_key(request, view)
        now = self.timer()
        began = now - self.duration
        taken = [(at, count) for at, count in self.cache.get(key, ()) if at > began]
        free = self.num_requests - sum(count for _, count in taken)
        wait = 0.0
        for at, count in taken:  # the oldest first
            if free >= rows:
                break
            free += count
            wait = at - began
        if wait:
            raise Throttled(wait=wait)
        self.cache.set(key, [*taken, (now, rows)], self.duration)
