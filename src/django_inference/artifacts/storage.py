"""A file or a folder in one of Django's `STORAGES`."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator

from django.core.files.storage import storages
from django.core.files.storage.handler import InvalidStorageError

from django_inference.artifacts.errors import ArtifactError, TransferCut
from django_inference.artifacts.location import Location
from django_inference.artifacts.source import (
    MAX_FILES,
    PIECE,
    Listing,
    RemoteFile,
    Source,
    checked_names,
    told_by,
)


class StorageSource(Source):
    """A path in a storage. With a slash at its end it is a folder in any case.

    Args:
        location: `storage:path` or `storage:ALIAS:path`.

    Raises:
        ArtifactError: `STORAGES` has no such alias, or the storage cannot be made.
    """

    def __init__(self, location: Location) -> None:
        self._location = location
        self._path = location.path.rstrip("/")
        try:
            with told_by(location):
                self._storage = storages[location.alias]
        except ArtifactError as error:
            if isinstance(error.__cause__, InvalidStorageError):
                text = f"{location}: STORAGES has no {location.alias!r} that can be used"
                raise ArtifactError(f"{text}: {error.__cause__}") from error
            raise
        self._is_folder = False

    def look(self, known: str = "") -> Listing:
        """List the file, or all files below the folder."""
        with told_by(self._location):
            self._is_folder = self._looks_like_folder()
            names = list(self._below("")) if self._is_folder else [self._location.name]
            files = [RemoteFile(name, self._storage.size(self._place(name))) for name in names]
            if not files:
                raise ArtifactError(f"{self._location}: there is no such file or folder.")
            checked = checked_names(files, self._location)
            return Listing(checked, self._is_folder, self._tag(checked))

    def read(self, file: RemoteFile, offset: int) -> tuple[int, Iterator[bytes]]:
        """Read a file from any offset: the files of storages are seekable."""
        return offset, self._pieces(self._place(file.name), offset)

    def _pieces(self, place: str, offset: int) -> Iterator[bytes]:
        with told_by(self._location, TransferCut), self._storage.open(place, "rb") as stream:
            stream.seek(offset)
            while piece := stream.read(PIECE):
                yield piece

    def _place(self, name: str) -> str:
        return f"{self._path}/{name}" if self._is_folder else self._path

    def _looks_like_folder(self) -> bool:
        if self._location.path.endswith("/"):
            return True
        # On a disk, a folder exists and has a size, too.
        with contextlib.suppress(NotImplementedError):
            if os.path.isdir(self._storage.path(self._path)):
                return True
        try:
            self._storage.size(self._path)
        except Exception:
            # What it raises for want of a file, each storage decides for itself. Where it was
            # something else, it raises that again when it is asked for the folder.
            return True
        return False

    def _below(self, folder: str) -> Iterator[str]:
        """The names of all files below a folder, relative to the path."""
        left = [folder]
        for _ in range(MAX_FILES):
            if not left:
                return
            folder = left.pop()
            inner, files = self._storage.listdir(f"{self._path}/{folder}".rstrip("/"))
            left += [f"{folder}/{name}".lstrip("/") for name in inner if name not in ("", ".")]
            # A storage of objects may list the folder itself, as a file without a name.
            yield from (f"{folder}/{name}".lstrip("/") for name in files if name)

    def _tag(self, files: tuple[RemoteFile, ...]) -> str:
        """What changes when any of the files does; empty where the storage keeps no times."""
        facts = []
        for file in files:
            try:
                at = self._storage.get_modified_time(self._place(file.name))
            except NotImplementedError:
                return ""
            facts.append((file.name, file.size, at.isoformat()))
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()
