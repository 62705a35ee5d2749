"""Bytes from a source into a folder of this disk, gone on with where they were cut."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from django_inference.artifacts.errors import ArtifactError, TransferCut
from django_inference.artifacts.source import Listing, RemoteFile, Source

#: Told how many bytes are here, and how many there will be; 0 where nobody knows.
Told: TypeAlias = Callable[[int, int], None]

#: How often a source may cut one file, and how often without having sent anything.
MAX_CUTS, MAX_STALLS = 100, 3


def transfer(source: Source, listing: Listing, folder: Path, told: Told) -> bool:
    """Put every file of a listing into a folder.

    Args:
        source: that was asked for the listing.
        listing: what it holds.
        folder: may hold a part of these very files, which is kept.
        told: called as bytes arrive.

    Returns:
        Whether something was there before.

    Raises:
        ArtifactError: a file cannot be read, or is not what the listing says. What has
            come stays, unless it is wrong.
        OSError: the disk is full, or cannot be written.
    """
    was_there = False
    done = 0
    for file in listing.files:
        path = folder / file.name
        path.parent.mkdir(parents=True, exist_ok=True)
        was_there |= path.exists()
        before = done

        def told_of_file(here: int, before: int = before) -> None:
            told(before + here, listing.total)

        done += _fetch(source, file, path, told_of_file)
    return was_there


def _fetch(source: Source, file: RemoteFile, path: Path, told: Callable[[int], None]) -> int:
    here = path.stat().st_size if path.exists() else 0
    if file.size is None or here > file.size:
        # Nobody knows whether that was all of it, or it was something else.
        here = 0
    stalls = 0
    for _ in range(MAX_CUTS):
        if here and here == file.size:
            break
        before = here
        try:
            here = _append(source, file, path, here, told)
            if file.size is None or here == file.size:
                break
            cut = TransferCut(f"{file.name}: {here} bytes came instead of {file.size}.")
        except TransferCut as error:
            cut = error
            here = path.stat().st_size if file.size is not None and path.exists() else 0
        stalls = stalls + 1 if here <= before else 0
        if here > (file.size or here) or stalls == MAX_STALLS:
            raise cut
    else:
        raise TransferCut(f"{file.name}: the source cut it {MAX_CUTS} times.")
    told(here)
    if file.sha256 and _sha256(path) != file.sha256:
        path.unlink()
        raise ArtifactError(f"{file.name} is not what the source says: its SHA-256 differs.")
    return here


def _append(
    source: Source, file: RemoteFile, path: Path, offset: int, told: Callable[[int], None]
) -> int:
    here, pieces = source.read(file, offset)
    flags = os.O_WRONLY | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    with os.fdopen(os.open(path, flags, 0o600), "wb") as out:
        out.truncate(here)
        out.seek(here)
        for piece in pieces:
            out.write(piece)
            here += len(piece)
            if file.size is not None and here > file.size:
                raise ArtifactError(f"{file.name} is longer than the {file.size} bytes announced.")
            told(here)
        # Else a copy that survives a power cut by name only would be taken for whole.
        out.flush()
        os.fsync(out.fileno())
    return here


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
