"""The files of a model."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from django_inference.artifacts.records import StoreSettings
    from django_inference.artifacts.store import Derived


class Artifact(os.PathLike[str]):
    """A file or a folder on this machine's disk.

    It is itself a path: `open(artifact)` and `Path(artifact)` work.

    Args:
        path: absolute.
        sha256: what the content must hash to, or None.
        trusted: it may run code when it is loaded.
        store: where what is made of it is kept; None: nowhere.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        sha256: str | None = None,
        trusted: bool = False,
        store: StoreSettings | None = None,
    ) -> None:
        self.path = Path(path)
        self.sha256 = sha256
        self.trusted = trusted or sha256 is not None
        self._store = store

    def __fspath__(self) -> str:
        """The path, as `open()` takes it."""
        return str(self.path)

    def __str__(self) -> str:
        """The path."""
        return str(self.path)

    def files(self) -> Iterator[Path]:
        """Every file of the artifact, in an order that does not change."""
        if self.path.is_dir():
            yield from sorted(file for file in self.path.rglob("*") if file.is_file())
        else:
            yield self.path

    def fingerprint(self) -> str:
        """What changes when the files do: 16 hexadecimal digits from names, sizes and times.

        It reads no content, so it is cheap enough to be asked every second.

        Raises:
            OSError: the artifact is not there or cannot be read.
        """
        seen = hashlib.sha256()
        for file in self.files():
            facts = file.stat()
            name = file.relative_to(self.path)
            seen.update(f"{name}\0{facts.st_size}\0{facts.st_mtime_ns}\0".encode())
        return seen.hexdigest()[:16]

    def digest(self) -> str:
        """SHA-256 of the content, as `sha256sum` prints it for a single file.

        For a folder: of one line `<sha256 of the file>  <its path in the folder>` a file,
        in sorted order, which is what `sha256sum` prints for them.

        Raises:
            OSError: the artifact is not there or cannot be read.
        """
        if not self.path.is_dir():
            return _sha256(self.path)
        listing = hashlib.sha256()
        for file in self.files():
            listing.update(f"{_sha256(file)}  {file.relative_to(self.path).as_posix()}\n".encode())
        return listing.hexdigest()

    def derived(self, name: str, make: Callable[[Path], None]) -> Derived:
        """Return a folder that is made of it once on this machine, and again when it changes.

        Args:
            name: of what is made, and of how: another way to make it needs another name.
            make: fills the empty folder that it is given.

        Returns:
            The folder, which stays while this object is kept.

        Raises:
            ValueError: there is nowhere to keep it.
            Exception: whatever `make` raises.
        """
        # Nothing but this needs a lock, or the store.
        from django_inference.artifacts.store import Store

        if self._store is None:
            raise ValueError(f"there is no folder for what is made of {self}.")
        # Reading 200 MB for a digest would take longer than loading them.
        seen = hashlib.sha256(f"{self.path}\0{self.fingerprint()}".encode(errors="surrogatepass"))
        return Store(self._store).derived(seen.hexdigest()[:32], name, make)

    def verify(self) -> None:
        """Compare the content with the pinned digest, if there is one.

        Raises:
            ValueError: it differs.
            OSError: the artifact is not there or cannot be read.
        """
        if self.sha256 is None:
            return
        found = self.digest()
        if found != self.sha256.lower():
            raise ValueError(f"{self.path} has the SHA-256 {found}, but SHA256 pins {self.sha256}.")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
