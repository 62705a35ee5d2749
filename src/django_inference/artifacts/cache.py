"""Models in one of Django's `CACHES`, read as bytes.

Django's caches pickle what they are given and unpickle what they read, and whoever can write
to the server of a cache could then run code in every process that reads from it. So models go
past that: the bytes are read and written with the cache's own connection and its own keys, but
without its serializer. Where that is not possible, the cache is refused.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from django.core.cache import caches
from django.core.cache.backends.base import BaseCache, InvalidCacheBackendError
from django.core.cache.backends.memcached import PyMemcacheCache
from django.core.cache.backends.redis import RedisCache

from django_inference.artifacts.errors import ArtifactError, Changed, TransferCut
from django_inference.artifacts.location import Location
from django_inference.artifacts.manifest import Manifest, decode
from django_inference.artifacts.source import Listing, RemoteFile, Source, told_by

#: The caches that models are read from, for messages.
SAFE = "Django's RedisCache, the RedisCache of django-redis, or PyMemcacheCache"


class CacheBytes(ABC):
    """The bytes behind a cache's keys.

    Args:
        cache: whose connection is used.
    """

    def __init__(self, cache: Any) -> None:
        self._cache = cache

    def close(self) -> None:
        """Close the connections that are not the cache's own."""

    @abstractmethod
    def get(self, key: str, *, from_first: bool = False) -> bytes | None:
        """Read a value; from the server that is written to, if that is asked for."""

    @abstractmethod
    def set(self, key: str, value: bytes, timeout: int | None) -> bool:
        """Write a value for some seconds, or for ever; say whether the server took it."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove a value."""

    def get_many(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Read the values that are there."""
        found = {key: self.get(key) for key in keys}
        return {key: value for key, value in found.items() if value is not None}

    def set_many(self, values: Mapping[str, bytes], timeout: int | None) -> None:
        """Write values, or as many of them as the server takes."""
        for key, value in values.items():
            self.set(key, value, timeout)


class RedisBytes(CacheBytes):
    """Of `django.core.cache.backends.redis.RedisCache`."""

    def get(self, key: str, *, from_first: bool = False) -> bytes | None:
        """Read a value."""
        found: bytes | None = self._client(from_first).get(self._key(key))
        return found

    def set(self, key: str, value: bytes, timeout: int | None) -> bool:
        """Write a value."""
        return bool(self._client(True).set(self._key(key), value, ex=timeout))

    def delete(self, key: str) -> None:
        """Remove a value."""
        self._client(True).delete(self._key(key))

    def get_many(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Read the values that are there, in one go."""
        found = self._client(False).mget([self._key(key) for key in keys])
        return {key: v for key, v in zip(keys, found, strict=True) if v is not None}

    def set_many(self, values: Mapping[str, bytes], timeout: int | None) -> None:
        """Write values in one go."""
        with self._client(True).pipeline(transaction=False) as pipeline:
            for key, value in values.items():
                pipeline.set(self._key(key), value, ex=timeout)
            pipeline.execute()

    def _client(self, write: bool) -> Any:
        return self._cache._cache.get_client(None, write=write)

    def _key(self, key: str) -> str:
        return str(self._cache.make_and_validate_key(key))


class DjangoRedisBytes(RedisBytes):
    """Of the package django-redis, whose clients are public."""

    def _client(self, write: bool) -> Any:
        return self._cache.client.get_client(write=write)

    def _key(self, key: str) -> str:
        return str(self._cache.client.make_key(key))


class MemcachedBytes(CacheBytes):
    """Of `django.core.cache.backends.memcached.PyMemcacheCache`."""

    def __init__(self, cache: Any) -> None:
        super().__init__(cache)
        options = {**cache._options, "serde": _AsItIs()}
        self._client = cache._class(cache.client_servers, **options)

    def get(self, key: str, *, from_first: bool = False) -> bytes | None:
        """Read a value."""
        found: bytes | None = self._client.get(self._key(key))
        return found

    def set(self, key: str, value: bytes, timeout: int | None) -> bool:
        """Write a value."""
        expires = self._cache.get_backend_timeout(timeout)
        return bool(self._client.set(self._key(key), value, expire=expires))

    def delete(self, key: str) -> None:
        """Remove a value."""
        self._client.delete(self._key(key))

    def get_many(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Read the values that are there, in one go."""
        names = {self._key(key): key for key in keys}
        return {names[name]: v for name, v in self._client.get_many([*names]).items()}

    def close(self) -> None:
        """Close the connections: they are others than the cache's own."""
        self._client.disconnect_all()

    def _key(self, key: str) -> str:
        return str(self._cache.make_and_validate_key(key))


class _AsItIs:
    """A serializer of pymemcache that does nothing, whatever the server says of a value."""

    def serialize(self, key: Any, value: bytes) -> tuple[bytes, int]:
        return value, 0

    def deserialize(self, key: Any, value: bytes, flags: int) -> bytes:
        return value


def cache_bytes(alias: str) -> CacheBytes:
    """Return the bytes behind a cache.

    Raises:
        ArtifactError: there is no such cache, or it can only be read by unpickling.
    """
    try:
        cache = caches[alias]
    except InvalidCacheBackendError as error:
        raise ArtifactError(f"CACHES has no {alias!r} that can be used: {error}") from error
    kind = kind_of(cache)
    if kind is None:
        raise ArtifactError(
            f"CACHES[{alias!r}] is {_full_name(cache)}, which unpickles what it reads, so that "
            f"whoever writes to it could run code here. Models are read from {SAFE}."
        )
    return kind(cache)


def kind_of(cache: BaseCache) -> type[CacheBytes] | None:
    """How the bytes of a cache are read, or None where they cannot be."""
    if isinstance(cache, RedisCache):
        return RedisBytes
    if isinstance(cache, PyMemcacheCache):
        return MemcachedBytes
    bases = {f"{kind.__module__}.{kind.__qualname__}" for kind in type(cache).__mro__}
    return DjangoRedisBytes if "django_redis.cache.RedisCache" in bases else None


def chunk_key(key: str, digest: str) -> str:
    """The key of a chunk: by its content, so that an old manifest never finds a new chunk."""
    return f"{key}:{digest}"


class CacheSource(Source):
    """An artifact that was pushed into a cache.

    Args:
        location: `cache:ALIAS/key`.

    Raises:
        ArtifactError: as `cache_bytes`.
    """

    def __init__(self, location: Location) -> None:
        self._location = location
        with told_by(location):
            self._bytes = cache_bytes(location.alias)
        self._manifest: Manifest | None = None
        self._tag = ""

    def look(self, known: str = "") -> Listing:
        """Read the manifest."""
        with told_by(self._location):
            raw = self._bytes.get(self._location.path)
        if raw is None:
            raise ArtifactError(
                f"{self._location}: the cache has no such key: nobody has pushed a model there, "
                "or it was evicted."
            )
        found = self._manifest = decode(raw, self._location)
        self._tag = hashlib.sha256(raw).hexdigest()
        files = tuple(RemoteFile(file.name, file.size, file.sha256) for file in found.files)
        return Listing(files, found.is_folder, self._tag)

    def read(self, file: RemoteFile, offset: int) -> tuple[int, Iterator[bytes]]:
        """Read the chunks from any offset on."""
        return offset, self._pieces(file.name, offset)

    def close(self) -> None:
        """Hang up."""
        self._bytes.close()

    def _pieces(self, name: str, offset: int) -> Iterator[bytes]:
        manifest = self._manifest
        assert manifest is not None, "look() comes first"
        (file,) = (file for file in manifest.files if file.name == name)
        first, skip = divmod(offset, manifest.chunk_size)
        for number, digest in enumerate(file.chunks[first:], first + 1):
            with told_by(self._location, TransferCut):
                chunk = self._bytes.get(chunk_key(self._location.path, digest))
            what = f"{self._location}: chunk {number} of {len(file.chunks)} of {name}"
            if chunk is None:
                self._missing(what)
            elif hashlib.sha256(chunk).hexdigest() != digest:
                raise ArtifactError(f"{what} is not what was pushed: its SHA-256 differs.")
            else:
                yield chunk[skip:]
            skip = 0

    def _missing(self, what: str) -> None:
        before = self._tag
        if self.look().tag != before:
            raise Changed(f"{self._location} was pushed again while it was fetched.")
        raise ArtifactError(f"{what} is gone: the cache has evicted it. Push the model again.")


def _full_name(cache: BaseCache) -> str:
    return f"{type(cache).__module__}.{type(cache).__qualname__}"
