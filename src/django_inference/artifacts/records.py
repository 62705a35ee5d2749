"""What the store says of its copies, and is told."""

from __future__ import annotations

from pathlib import Path

import msgspec

from django_inference.artifacts.home import Hold, Home
from django_inference.specs import ModelSpec


class StoreSettings(msgspec.Struct, frozen=True):
    """Where the copies lie, and how much they may take.

    Attributes:
        folder: absolute path.
        limit: bytes; None: no limit.
    """

    folder: str
    limit: int | None = None


class Copy(msgspec.Struct, frozen=True, kw_only=True):
    """An artifact on this machine's disk.

    Attributes:
        path: of the file or folder to load.
        home: of the kept folder that it lies in.
        digest: SHA-256 of the content (`Artifact.digest`).
        tag: what the source said of it (`Listing.tag`).
    """

    path: str
    home: str
    digest: str
    tag: str = ""

    def hold(self) -> Hold:
        """Keep it from being removed.

        Raises:
            Gone: it has been.
        """
        return Hold(Home(Path(self.home)))


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What a source held when it was asked last.

    Attributes:
        digest: of the copy.
        is_folder: the copy is a folder.
        name: of a single file.
        tag: of the listing.
        sha256: of what was transferred: an archive differs from the copy made of it.
        asked_at: seconds since the epoch.
    """

    digest: str
    is_folder: bool
    name: str
    tag: str
    sha256: str
    asked_at: float


def localized(spec: ModelSpec, copy: Copy) -> ModelSpec:
    """The same model, loaded from the copy.

    What was pinned stays pinned: the copy is compared with its digest before each load.
    """
    pin = copy.digest if spec.sha256 else None
    return msgspec.structs.replace(spec, artifact=copy.path, sha256=pin)
