"""What every source of artifacts has: a list of its files, and their bytes."""

from __future__ import annotations

import contextlib
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator

import msgspec

from django_inference.artifacts.errors import ArtifactError, ManifestError
from django_inference.artifacts.location import WEB, Location
from django_inference.specs import one_line

#: More files than any model has: a wrong folder was named.
MAX_FILES = 100_000
#: Bytes that are read at once, so that progress can be seen and memory stays small.
PIECE = 1 << 20

_BAD = re.compile(r"[\x00-\x1f\x7f\\]")
#: What a file system takes at the most, in bytes.
_LONGEST_PART, _LONGEST_NAME = 255, 1024


class RemoteFile(msgspec.Struct, frozen=True):
    """One file of an artifact that lies elsewhere.

    Attributes:
        name: its path in the artifact, with slashes; of a single file, the file's own name.
        size: bytes, or None where the source does not say.
        sha256: of the content, or empty where the source does not say.
    """

    name: str
    size: int | None = None
    sha256: str = ""


class Listing(msgspec.Struct, frozen=True):
    """What a source holds now.

    Attributes:
        files: sorted by name.
        is_folder: the artifact is a folder, even if it holds but one file.
        tag: a text that changes when the files do (an ETag, times of change), got without
            reading them; empty where the source has nothing of the kind.
    """

    files: tuple[RemoteFile, ...]
    is_folder: bool
    tag: str = ""

    @property
    def total(self) -> int:
        """Bytes of all the files whose size is known."""
        return sum(file.size or 0 for file in self.files)


class Source(ABC):
    """A place that artifacts are fetched from."""

    @abstractmethod
    def look(self, known: str = "") -> Listing:
        """List the files.

        Args:
            known: the tag of an earlier listing. Where the source says that it still
                holds, the listing has that tag and need not have files.

        Raises:
            ArtifactError: there are none, or the source cannot be asked.
        """

    @abstractmethod
    def read(self, file: RemoteFile, offset: int) -> tuple[int, Iterator[bytes]]:
        """Read a file from an offset on.

        Returns:
            Where the bytes really begin (0 from a source that cannot go on in the middle),
            and the bytes.

        Raises:
            ArtifactError: it cannot be read.
            TransferCut: also from the iterator: it ended too early.
        """

    def close(self) -> None:
        """Let go of connections."""


def open_source(location: Location) -> Source:
    """Return the source of a location that is remote.

    Raises:
        ArtifactError: there is no such storage, cache or kind of URL.
    """
    # Each imports what the others do without: Django, fsspec, the clients of caches.
    if location.scheme == "storage":
        from django_inference.artifacts.storage import StorageSource

        return StorageSource(location)
    if location.scheme == "cache":
        from django_inference.artifacts.cache import CacheSource

        return CacheSource(location)
    if location.scheme in WEB:
        from django_inference.artifacts.http import HttpSource

        return HttpSource(location)

    from django_inference.artifacts.remote import FsspecSource

    return FsspecSource(location)


def checked_names(files: list[RemoteFile], where: object) -> tuple[RemoteFile, ...]:
    """Sort files, and see that each has a place of its own inside the artifact.

    Raises:
        ManifestError: there are none or too many, or a name leads elsewhere.
    """
    if not files:
        raise ManifestError(f"{where} holds no files.")
    if len(files) > MAX_FILES:
        raise ManifestError(f"{where} holds more than {MAX_FILES} files: that is no model.")
    for file in files:
        check_name(file.name, where)
    names = {file.name for file in files}
    folders = {name[:end] for name in names for end in _slashes(name)}
    if len(names) < len(files) or names & folders:
        raise ManifestError(f"{where} holds two files of one name.")
    return tuple(sorted(files, key=lambda file: file.name))


def check_name(name: str, where: object) -> None:
    """See that a name stays inside the folder it is put into.

    Raises:
        ManifestError: it would not, or no file system takes it.
    """
    parts = name.split("/")
    raw = name.encode(errors="surrogatepass")
    if (
        {"", ".", ".."} & {*parts}
        or _BAD.search(name)
        or len(raw) > _LONGEST_NAME
        or any(len(part.encode(errors="surrogatepass")) > _LONGEST_PART for part in parts)
        or raw != name.encode(errors="replace")
    ):
        raise ManifestError(f"{where} names a file {name[:200]!r}, which leads out of a folder.")


def _slashes(name: str) -> Iterator[int]:
    return (match.start() for match in re.finditer("/", name))


@contextlib.contextmanager
def told_by(location: Location, kind: type[ArtifactError] = ArtifactError) -> Iterator[None]:
    """Name the source in whatever a storage or a client library raises."""
    try:
        yield
    except ArtifactError:
        raise
    except Exception as error:
        said = one_line(error).replace(location.path, str(location))
        raise kind(f"{location}: {said}") from error
