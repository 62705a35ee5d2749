"""Putting a model into a cache, from where hosts without a shared disk fetch it."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

import msgspec

from django_inference.artifacts.cache import CacheBytes, cache_bytes, chunk_key
from django_inference.artifacts.errors import ArtifactError, ManifestError
from django_inference.artifacts.location import Location
from django_inference.artifacts.manifest import (
    CHUNK,
    Manifest,
    ManifestFile,
    chunks_of,
    decode,
    describe,
)
from django_inference.artifacts.source import told_by
from django_inference.artifacts.transfer import Told


def push(
    path: Path,
    location: Location,
    *,
    chunk_size: int = CHUNK,
    timeout: int | None = None,
    told: Told = lambda done, total: None,
) -> Manifest:
    """Put a file or a folder into a cache, and read it back.

    The chunks come first and the manifest last: whoever fetches meanwhile gets the old model
    or the new one. The chunks of the old one are removed in the end.

    Args:
        path: of the file or folder.
        location: `cache:ALIAS/key`.
        chunk_size: bytes of a chunk; the cache must take as much in one item.
        timeout: seconds that the cache may keep it; None: for ever.
        told: called as chunks are written, and again as they are read back.

    Raises:
        ArtifactError: the cache cannot be used, or did not keep what it was given.
        OSError: a file cannot be read.
    """
    manifest = describe(path, chunk_size)
    raw = msgspec.json.encode(manifest)
    if len(raw) > max(chunk_size, CHUNK):
        raise ArtifactError(
            f"the manifest would take {len(raw)} bytes, more than a chunk: use larger chunks."
        )
    with told_by(location), contextlib.closing(cache_bytes(location.alias)) as cache:
        _Pushing(cache, location, told, 2 * sum(file.size for file in manifest.files)).push(
            path, manifest, raw, timeout
        )
    return manifest


class _Pushing:
    def __init__(self, cache: CacheBytes, location: Location, told: Told, total: int) -> None:
        self._cache = cache
        self._location = location
        self._told = told
        self._total = total
        self._done = 0

    def push(self, path: Path, manifest: Manifest, raw: bytes, timeout: int | None) -> None:
        old = self._manifest()
        for file in manifest.files:
            source = path / file.name if manifest.is_folder else path
            chunks = chunks_of(source, manifest.chunk_size)
            for digest, chunk in zip(file.chunks, chunks, strict=True):
                if hashlib.sha256(chunk).hexdigest() != digest:
                    raise ArtifactError(f"{source} was changed while it was pushed.")
                self._put(self._key(digest), chunk, timeout)
                self._tell(len(chunk))
        self._put(self._location.path, raw, timeout)
        for file in manifest.files:
            self._compare(file)
        for digest in old.chunks - manifest.chunks if old else ():
            self._cache.delete(self._key(digest))

    def _compare(self, file: ManifestFile) -> None:
        for number, digest in enumerate(file.chunks, 1):
            chunk = self._cache.get(self._key(digest), from_first=True) or b""
            if hashlib.sha256(chunk).hexdigest() != digest:
                raise ArtifactError(
                    f"{self._location}: chunk {number} of {len(file.chunks)} of {file.name} was "
                    "gone as soon as it was written: the cache has too little room for the model."
                )
            self._tell(len(chunk))

    def _put(self, key: str, value: bytes, timeout: int | None) -> None:
        if not self._cache.set(key, value, timeout):
            raise ArtifactError(
                f"{self._location}: the cache did not take {len(value)} bytes in one item: use "
                "smaller chunks."
            )

    def _manifest(self) -> Manifest | None:
        raw = self._cache.get(self._location.path, from_first=True)
        with contextlib.suppress(ManifestError):
            return decode(raw, self._location) if raw is not None else None
        return None

    def _key(self, digest: str) -> str:
        return chunk_key(self._location.path, digest)

    def _tell(self, count: int) -> None:
        self._done += count
        self._told(self._done, self._total)
