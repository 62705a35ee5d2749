"""From a location to a copy on this machine's disk: asked for, transferred and checked once."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import msgspec

from django_inference.artifacts.errors import ArtifactError, Changed
from django_inference.artifacts.files import Artifact
from django_inference.artifacts.location import Location, locate
from django_inference.artifacts.records import Copy, Record, StoreSettings
from django_inference.artifacts.room import make_room
from django_inference.artifacts.source import Listing, Source, open_source
from django_inference.artifacts.store import Store
from django_inference.artifacts.transfer import Told, transfer
from django_inference.artifacts.unpack import unpack

#: How often a source that is written to while it is read is begun again.
MAX_CHANGES = 3


def fetch(
    text: str,
    settings: StoreSettings,
    *,
    sha256: str | None = None,
    told: Told = lambda done, total: None,
) -> Copy:
    """Return a copy of what a location holds now; transfer it where there is none yet.

    However many processes ask at once, one transfers and the others wait. What is pinned
    and here is not asked for again.

    Args:
        text: the location, as `MODEL` says it.
        settings: of the store.
        sha256: what the file, the folder or the archive must hash to, or None.
        told: called as bytes arrive.

    Raises:
        ArtifactError: it cannot be had, or is not what it should be.
        OSError: the disk is full, or cannot be written.
    """
    try:
        location = locate(text)
    except ValueError as error:
        raise ArtifactError(str(error)) from error
    pin = sha256.lower() if sha256 else ""
    store = Store(settings)
    began = time.time()
    if pin and (copy := _pinned(store, location, pin)):
        return copy
    with store.lock(text):
        record = store.record(text)
        copy = _copy_of(store, record, pin)
        if copy and record and (pin or record.asked_at >= began):
            # Somebody else has fetched it while this process waited for the lock.
            return copy
        source = open_source(location)
        try:
            return _update(store, location, source, record if copy else None, pin, told)
        finally:
            source.close()


def tag_of(text: str, known: str) -> str:
    """Ask a source whether it has changed, without reading its files.

    Args:
        text: the location.
        known: the tag that it had.

    Returns:
        The tag that it has; empty where it cannot be asked so.

    Raises:
        ArtifactError: it is gone, or cannot be asked.
    """
    source = open_source(locate(text))
    try:
        return source.look(known).tag
    finally:
        source.close()


def _pinned(store: Store, location: Location, pin: str) -> Copy | None:
    """A whole copy of what the pin names, whatever source it came from."""
    if copy := _copy_of(store, store.record(location.text), pin):
        return copy
    if location.is_archive:
        return None
    return store.find(pin, is_folder=False, name=location.name, deep=True) or store.find(
        pin, is_folder=True, deep=True
    )


def _copy_of(store: Store, record: Record | None, pin: str) -> Copy | None:
    if record is None or pin and record.sha256 != pin:
        return None
    copy = store.find(record.digest, is_folder=record.is_folder, name=record.name, deep=bool(pin))
    return msgspec.structs.replace(copy, tag=record.tag) if copy else None


def _update(
    store: Store,
    location: Location,
    source: Source,
    record: Record | None,
    pin: str,
    told: Told,
) -> Copy:
    begun = store.begun(location.text)
    listing = source.look(record.tag if record else begun.tag if begun else "")
    if record and listing.tag and listing.tag == record.tag:
        store.note(location.text, msgspec.structs.replace(record, asked_at=time.time()))
        copy = _copy_of(store, record, pin)
        if copy:
            return copy
        listing = source.look()
    elif begun and listing.tag == begun.tag:
        listing = begun
    for _ in range(MAX_CHANGES):
        folder = store.partial(location.text, listing)
        here = sum(file.stat().st_size for file in Artifact(folder / "files").files())
        make_room(store, listing.total, here)
        try:
            was_there = transfer(source, listing, folder / "files", told)
            if not listing.tag or source.look(listing.tag).tag == listing.tag:
                return _kept(store, location, listing, folder, pin, was_there)
        except Changed:
            pass
        listing = source.look()
    raise ArtifactError(f"{location} was changed while it was fetched, {MAX_CHANGES} times.")


def _kept(
    store: Store,
    location: Location,
    listing: Listing,
    folder: Path,
    pin: str,
    was_there: bool,
) -> Copy:
    """Check what has been transferred, and keep it."""
    files = folder / "files"
    name = "" if listing.is_folder else listing.files[0].name
    received = Artifact(files / name).digest()
    if pin and received != pin:
        if was_there:
            # Perhaps two halves that do not belong together: begin at the beginning.
            shutil.rmtree(folder)
        raise ArtifactError(f"{location} has the SHA-256 {received}, but SHA256 pins {pin}.")
    digest, is_folder = received, listing.is_folder
    if location.is_archive and not is_folder:
        unpacked = folder / "unpacked"
        shutil.rmtree(unpacked, ignore_errors=True)
        unpack(files / name, unpacked, limit=store.settings.limit)
        shutil.rmtree(files)
        unpacked.rename(files)
        digest, is_folder, name = Artifact(files).digest(), True, ""
    copy = store.add(folder, digest, is_folder=is_folder, name=name)
    record = Record(
        digest=digest,
        is_folder=is_folder,
        name=name,
        tag=listing.tag,
        sha256=received,
        asked_at=time.time(),
    )
    store.note(location.text, record)
    return msgspec.structs.replace(copy, tag=listing.tag)
