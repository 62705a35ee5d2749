"""Room for one more copy: on the disk, and within `ARTIFACT_LIMIT`."""

from __future__ import annotations

import contextlib
import logging
import shutil
import time
from pathlib import Path

from filelock import FileLock, Timeout

from django_inference.artifacts.errors import ArtifactError
from django_inference.artifacts.files import Artifact
from django_inference.artifacts.store import Store

logger = logging.getLogger("django_inference.artifacts")

#: Seconds for which a transfer that was cut may be gone on with.
PARTIAL_FOR = 7 * 24 * 3600.0
#: Bytes that a disk is left with.
SPARE = 64 << 20


def make_room(store: Store, need: int, here: int = 0) -> None:
    """Remove what was not used for the longest time, until there is room for a copy.

    Nothing that a model is loaded from is removed, even if that takes more than the limit: a
    new version could not be loaded beside the old one otherwise.

    Args:
        store: the folder.
        need: bytes; 0 where nobody knows.
        here: bytes of these that are on the disk already.

    Raises:
        ArtifactError: it can never fit into the limit, or not onto the disk.
    """
    limit = store.settings.limit
    if limit is not None and need > limit:
        raise ArtifactError(f"the artifact takes {need} bytes, and ARTIFACT_LIMIT is {limit}.")
    with FileLock(store.path / "locks" / "room.lock", thread_local=False):
        _clear(store)
        if limit is not None:
            _evict(store, need, limit)
    free = shutil.disk_usage(store.path).free
    if need > here and need - here + SPARE > free:
        raise ArtifactError(
            f"the artifact takes {need - here} more bytes, and the disk of {store.path} has "
            f"{free} left."
        )


def _evict(store: Store, need: int, limit: int) -> None:
    homes = list(store.homes())
    sizes = {home.path: about.size for home in homes if (about := home.about())}
    taken = sum(sizes.values())
    for home in homes:
        if taken + need <= limit:
            return
        size = sizes.get(home.path, 0)
        if home.remove(store.trash):
            taken -= size
            logger.info("removed the copy %s, %d bytes, for ARTIFACT_LIMIT", home.path, size)
    if taken + need > limit:
        logger.warning(
            "over ARTIFACT_LIMIT: %d of %d bytes are taken by models that are loaded",
            *(taken + need, limit),
        )


def _clear(store: Store) -> None:
    """Remove what nobody will ask for: the trash, and transfers that nobody goes on with."""
    for path in store.trash.iterdir():
        shutil.rmtree(path, ignore_errors=True)
    for path in (store.path / "partial").iterdir():
        with contextlib.suppress(Timeout, OSError):
            if time.time() - _changed(path) > PARTIAL_FOR:
                lock = FileLock(store.path / "locks" / f"{path.name}.lock", thread_local=False)
                with lock.acquire(timeout=0):
                    shutil.rmtree(path, ignore_errors=True)


def _changed(path: Path) -> float:
    return max(
        (file.stat().st_mtime for file in Artifact(path / "files").files()),
        default=path.stat().st_mtime,
    )
