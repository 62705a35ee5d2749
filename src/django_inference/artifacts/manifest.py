"""What lies in a cache: the files of an artifact, cut into chunks, each with its SHA-256.

A manifest comes from a server that others may write to, so nothing in it is believed: it is
plain JSON, its sizes have to add up, and every chunk and file is compared with its digest.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from django_inference.artifacts.errors import ManifestError
from django_inference.artifacts.files import Artifact
from django_inference.artifacts.source import RemoteFile, checked_names

#: memcached takes 2 ** 20 bytes for an item, its key and its header included.
CHUNK = 1_000_000
#: Redis takes 2 ** 29 bytes; but a chunk is held in memory as a whole.
MIN_CHUNK, MAX_CHUNK = 1_000, 256 << 20
MAX_MANIFEST = 16 << 20

Digest = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
ChunkSize = Annotated[int, msgspec.Meta(ge=MIN_CHUNK, le=MAX_CHUNK)]


class ManifestFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file.

    Attributes:
        name: its path in the artifact.
        size: bytes.
        sha256: of the whole.
        chunks: SHA-256 of each chunk, which is also a part of its key.
    """

    name: str
    size: Annotated[int, msgspec.Meta(ge=0)]
    sha256: Digest
    chunks: tuple[Digest, ...]


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The value of the key that `MODEL` names.

    Attributes:
        format: for those who come after us.
        is_folder: the artifact is a folder.
        chunk_size: bytes of each chunk but the last one of a file.
        files: sorted by name.
    """

    format: Literal["django-inference 1"] = "django-inference 1"
    is_folder: bool
    chunk_size: ChunkSize
    files: tuple[ManifestFile, ...]

    @property
    def chunks(self) -> set[str]:
        """Every chunk, by its SHA-256."""
        return {chunk for file in self.files for chunk in file.chunks}


def decode(raw: bytes, where: object) -> Manifest:
    """Read a manifest.

    Args:
        raw: the value of the key.
        where: what the message shall name.

    Raises:
        ManifestError: it is none, or contradicts itself.
    """
    if len(raw) > MAX_MANIFEST:
        raise ManifestError(f"{where} holds a manifest of {len(raw)} bytes.")
    try:
        found = msgspec.json.decode(raw, type=Manifest)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise ManifestError(f"{where} holds no manifest of a model: {error}") from error
    checked_names([RemoteFile(file.name) for file in found.files], where)
    if not found.is_folder and len(found.files) != 1:
        raise ManifestError(f"{where} holds {len(found.files)} files and calls them one.")
    for file in found.files:
        # In whole numbers: a float forgets the end of a large one.
        if len(file.chunks) != -(-file.size // found.chunk_size):
            raise ManifestError(f"{where} holds {file.name!r} with the wrong number of chunks.")
    return found


def describe(path: Path, chunk_size: int) -> Manifest:
    """Make the manifest of a file or a folder.

    Raises:
        ManifestError: it holds no files, or a name that no other machine takes.
        OSError: it cannot be read.
    """
    artifact = Artifact(path)
    is_folder = path.is_dir()
    files = []
    for file in artifact.files():
        name = file.relative_to(path).as_posix() if is_folder else file.name
        whole = hashlib.sha256()
        chunks = []
        size = 0
        for chunk in chunks_of(file, chunk_size):
            whole.update(chunk)
            chunks.append(hashlib.sha256(chunk).hexdigest())
            size += len(chunk)
        files.append(ManifestFile(name, size, whole.hexdigest(), tuple(chunks)))
    checked_names([RemoteFile(file.name) for file in files], os.fspath(path))
    files.sort(key=lambda file: file.name)
    return Manifest(is_folder=is_folder, chunk_size=chunk_size, files=tuple(files))


def chunks_of(path: Path, chunk_size: int) -> Iterator[bytes]:
    """The bytes of a file, in chunks."""
    with path.open("rb") as file:
        while chunk := file.read(chunk_size):
            yield chunk
