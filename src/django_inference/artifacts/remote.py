"""Any URL that fsspec reads: `s3://`, `gs://`, `az://`, `file://`, `zip://…::s3://…`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

from fsspec.core import url_to_fs
from fsspec.registry import known_implementations, registry

from django_inference.artifacts.errors import ArtifactError, TransferCut
from django_inference.artifacts.location import Location
from django_inference.artifacts.source import (
    PIECE,
    Listing,
    RemoteFile,
    Source,
    checked_names,
    told_by,
)

#: What file systems call the facts that change when a file does.
_VALIDATORS = frozenset(
    (
        *("checksum", "content_md5", "crc", "crc32c", "created", "ctime", "etag", "generation"),
        *("last_modified", "lastmodified", "md5", "md5hash", "modified", "mtime", "updated"),
        *("version_id", "versionid"),
    )
)


class FsspecSource(Source):
    """A file or a folder of a file system that fsspec knows.

    Args:
        location: a URL. Credentials come from where the file system's own library looks for
            them: its environment variables and files, or fsspec's configuration.

    Raises:
        ArtifactError: the file system is not known, or its package is not installed.
    """

    def __init__(self, location: Location) -> None:
        self._location = location
        with told_by(location):
            self._fs, self._root = url_to_fs(location.path)
        self._is_folder = False

    def look(self, known: str = "") -> Listing:
        """List the file, or all files below the folder."""
        with told_by(self._location):
            # What it has listed before may be years old in a process that lives long.
            self._fs.invalidate_cache()
            if self._fs.isfile(self._root):
                found = {self._root: self._fs.info(self._root)}
            else:
                found = self._fs.find(self._root, detail=True)
        if not found:
            raise ArtifactError(f"{self._location}: there is no such file or folder.")
        self._is_folder = {*found} != {self._root}
        files = []
        for path, info in found.items():
            if info.get("type") != "directory" and not path.endswith("/"):
                name = self._name(path) if self._is_folder else self._location.name
                files.append(RemoteFile(name, info.get("size")))
        return Listing(checked_names(files, self._location), self._is_folder, _tag(found))

    def read(self, file: RemoteFile, offset: int) -> tuple[int, Iterator[bytes]]:
        """Read a file from any offset: fsspec's files are seekable."""
        return offset, self._pieces(file, offset)

    def _pieces(self, file: RemoteFile, offset: int) -> Iterator[bytes]:
        path = f"{self._root.rstrip('/')}/{file.name}" if self._is_folder else self._root
        with told_by(self._location, TransferCut), self._fs.open(path, "rb") as stream:
            stream.seek(offset)
            while piece := stream.read(PIECE):
                yield piece

    def _name(self, path: str) -> str:
        return path.removeprefix(self._root).lstrip("/")


def objection(location: Location) -> tuple[str, tuple[str, str] | None]:
    """What keeps a URL from being fetched, as far as can be told without importing anything.

    Returns:
        A scheme that is not known, or an empty text; and what has to be installed, with how
        to do it, or None.
    """
    for scheme in location.schemes:
        if scheme in registry:
            continue
        known = known_implementations.get(scheme)
        if known is None:
            return scheme, None
        module = known["class"].partition(".")[0]
        if find_spec(module) is None:
            return "", (f"{scheme}:// needs the module {module!r}", known.get("err", ""))
    return "", None


def schemes() -> set[str]:
    """Every scheme that fsspec has heard of."""
    return {*registry, *known_implementations}


def _tag(found: dict[str, Any]) -> str:
    """What changes when any of the files does; empty when one of them has no such fact."""
    facts = []
    for path, info in sorted(found.items()):
        said = {key: str(value) for key, value in info.items() if key.lower() in _VALIDATORS}
        if info.get("type") != "directory" and not said:
            return ""
        facts.append((path, info.get("size"), said))
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
