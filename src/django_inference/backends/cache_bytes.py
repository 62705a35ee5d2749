"""Django's caches as stores of bytes: nothing is unpickled that somebody else may have written.

The servers of caches are read as the models in them are, see `artifacts.cache`. What is added
here are the caches of one process or one machine, where no model is kept, but answers are.
"""

from __future__ import annotations

import contextlib
import os
import struct
import tempfile
import time
from math import inf

from django.conf import settings
from django.core.cache import InvalidCacheBackendError, caches
from django.core.cache.backends.base import BaseCache
from django.core.cache.backends.dummy import DummyCache
from django.core.cache.backends.filebased import FileBasedCache
from django.core.cache.backends.locmem import LocMemCache

from django_inference.artifacts.cache import SAFE, CacheBytes, kind_of
from django_inference.conf import InvalidPredictor
from django_inference.conf.validation import did_you_mean

_EXPIRES = struct.Struct(">d")


class MemoryBytes(CacheBytes):
    """Of `LocMemCache`, which unpickles nothing but what this process has pickled."""

    def get(self, key: str, *, from_first: bool = False) -> bytes | None:
        """Read a value."""
        found = self._cache.get(key)
        return found if isinstance(found, bytes) else None

    def set(self, key: str, value: bytes, timeout: int | None) -> bool:
        """Write a value."""
        self._cache.set(key, value, timeout)
        return True

    def delete(self, key: str) -> None:
        """Remove a value."""
        self._cache.delete(key)


class FileBytes(CacheBytes):
    """Of `FileBasedCache`: its folder, names and limit, but files without pickles."""

    def get(self, key: str, *, from_first: bool = False) -> bytes | None:
        """Read a value."""
        path = self._cache._key_to_file(key)
        try:
            with open(path, "rb") as file:
                content = file.read()
        except FileNotFoundError:
            return None
        if len(content) < _EXPIRES.size or _EXPIRES.unpack_from(content)[0] <= time.time():
            self.delete(key)
            return None
        return content[_EXPIRES.size :]

    def set(self, key: str, value: bytes, timeout: int | None) -> bool:
        """Write a value."""
        expires = inf if timeout is None else time.time() + timeout
        self._cache._createdir()
        self._cache._cull()
        fd, path = tempfile.mkstemp(dir=self._cache._dir)
        try:
            with open(fd, "wb") as file:
                file.write(_EXPIRES.pack(expires) + value)
            os.replace(path, self._cache._key_to_file(key))
        except BaseException:
            os.unlink(path)
            raise
        return True

    def delete(self, key: str) -> None:
        """Remove a value."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._cache._key_to_file(key))


def open_bytes(alias: str) -> CacheBytes:
    """The bytes of a cache that `mistakes_in` has nothing against, for the calling thread.

    Raises:
        Exception: whatever the cache raises, such as for want of its client library.
    """
    cache = caches[alias]
    kind = _kind(cache)
    assert kind is not None, "mistakes_in() comes first"
    return kind(cache)


def answers_at_once(alias: str) -> bool:
    """Whether a cache is in memory, so that a task need not ask it from another thread."""
    return isinstance(caches[alias], LocMemCache | DummyCache)


def mistakes_in(alias: str, cache: str) -> list[InvalidPredictor]:
    """Look at the cache that the `OPTIONS` of a predictor name; it is asked for nothing."""

    def mistake(message: str, hint: str, number: str) -> list[InvalidPredictor]:
        text = f"INFERENCE[{alias!r}]['OPTIONS']['cache']: {message}"
        check_id = f"django_inference.{number}"
        return [InvalidPredictor(text, hint=hint, alias=alias, key="cache", check_id=check_id)]

    if cache not in settings.CACHES:
        return mistake(f"CACHES has no {cache!r}.", did_you_mean(cache, settings.CACHES), "E031")
    try:
        found = caches[cache]
    except (InvalidCacheBackendError, ImportError) as error:
        return mistake(f"CACHES[{cache!r}] cannot be used: {error}", "", "E031")
    if _kind(found) is None:
        name = f"{type(found).__module__}.{type(found).__qualname__}"
        return mistake(
            f"CACHES[{cache!r}] is {name}, which unpickles what it reads, so that whoever writes "
            "to it could run code here.",
            f"Answers are kept in {SAFE}, LocMemCache or FileBasedCache.",
            "E032",
        )
    return []


def _kind(cache: BaseCache) -> type[CacheBytes] | None:
    if isinstance(cache, LocMemCache | DummyCache):
        return MemoryBytes
    return FileBytes if isinstance(cache, FileBasedCache) else kind_of(cache)
