"""The answers of one predictor in a cache that may be slow, full, down or spoilt."""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from django_inference.artifacts.cache import CacheBytes
from django_inference.backends.cache_bytes import answers_at_once, open_bytes
from django_inference.packing import digest_of, unpack

logger = logging.getLogger("django_inference")

T = TypeVar("T")

#: Seconds for which a cache that has failed is left alone: each try may wait for a timeout.
REST = 5.0
#: Seconds between two warnings of one process about one predictor.
WARN_EVERY = 60.0

#: Changes when `packing` writes something else.
_FORMAT = 1


class Answers:
    """Finds and keeps answers. No failure of the cache is one of the call. Threads share it.

    Args:
        alias: of the predictor.
        cache: alias of a cache that `cache_bytes.mistakes_in` has nothing against.
        timeout: seconds that an answer is kept; None: for ever.
        max_bytes: of the longest answer that is kept.

    Attributes:
        at_once: the cache is in memory.
    """

    def __init__(self, alias: str, cache: str, timeout: int | None, max_bytes: int) -> None:
        self.at_once = answers_at_once(cache)
        self._alias = alias
        self._cache = cache
        self._timeout = timeout
        self._max_bytes = max_bytes
        self._pid = os.getpid()
        self._idle: deque[CacheBytes] = deque()
        self._rests_until = self._quiet_until = 0.0
        self._has_told = False

    def find(self, keys: Sequence[str]) -> dict[int, tuple[bytes, Any]]:
        """The answers that are there, packed and unpacked, by the places of their keys."""
        nothing: dict[str, bytes] = {}
        there = self._ask(lambda cache: cache.get_many(list(dict.fromkeys(keys))), nothing)
        found = {}
        for place, key in enumerate(keys):
            try:
                if key in there:
                    found[place] = there[key], unpack(there[key])
            except ValueError as error:
                self._tell(key, error)
        return found

    def keep(self, packed: Mapping[str, bytes]) -> None:
        """Keep answers, but for those that are too long."""
        short = {key: value for key, value in packed.items() if len(value) <= self._max_bytes}
        if short:
            self._ask(lambda cache: cache.set_many(short, self._timeout), None)

    def close(self) -> None:
        """Hang up, where a connection was opened for these answers."""
        while self._idle:
            self._idle.pop().close()

    def _ask(self, question: Callable[[CacheBytes], T], otherwise: T) -> T:
        if time.monotonic() < self._rests_until:
            return otherwise
        cache: CacheBytes | None = None
        try:
            cache = self._take()
            answer = question(cache)
        except Exception as error:
            if cache is not None:
                cache.close()
            self._failed(error)
            return otherwise
        self._idle.append(cache)
        return answer

    def _take(self) -> CacheBytes:
        """A client for this thread alone: not every library's can be shared."""
        if self._pid != os.getpid():
            # What the parent's are in the middle of is nobody's business here.
            self._pid, self._idle = os.getpid(), deque()
        try:
            return self._idle.pop()
        except IndexError:
            return open_bytes(self._cache)

    def _failed(self, error: Exception) -> None:
        now = time.monotonic()
        self._rests_until = now + REST
        if now >= self._quiet_until:
            self._quiet_until = now + WARN_EVERY
            logger.warning(
                "prediction cache fails alias=%s cache=%s: %s: %s",
                *(self._alias, self._cache, type(error).__name__, error),
            )

    def _tell(self, key: str, error: ValueError) -> None:
        if not self._has_told:
            self._has_told = True
            logger.warning(
                "unreadable answer in the cache alias=%s cache=%s key=%s: %s",
                *(self._alias, self._cache, key, error),
            )


def keys_of(version: str, payload: Any) -> list[str]:
    """The keys of a payload's answers: one an item, or one for named tensors.

    Returns:
        As many keys as there are answers; none where an input has no digest.
    """
    is_list = isinstance(payload, list)
    digests = [digest_of(item) for item in payload] if is_list else [digest_of(payload)]
    if not all(digests):
        return []
    # A dict of tensors may be a batch, or one item.
    form = "item" if is_list else "batch"
    return [f"inference:{_FORMAT}:{version}:{form}:{digest}" for digest in digests]
