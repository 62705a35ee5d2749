"""The artifact folder of this machine: one copy of each artifact, by the digest of its content.

    copies/file-<sha256>/files/model.onnx    a file that was fetched
    copies/folder-<digest>/files/…           a folder, or an archive that was unpacked
    derived/<digest>-<name>/files/…          what was made from one, such as external weights
    partial/<source>/…                       what has come of a transfer
    sources/<source>.json                    what a source held when it was asked last
    locks/<source>.lock                      held by the one process that asks it
    trash/                                   on its way out

Only this user may enter it: what lies in there is loaded, and may run code when it is.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from django_inference.artifacts.errors import ArtifactError
from django_inference.artifacts.files import Artifact
from django_inference.artifacts.home import About, Gone, Hold, Home
from django_inference.artifacts.records import Copy, Record, StoreSettings
from django_inference.artifacts.source import Listing

if TYPE_CHECKING:
    from filelock import FileLock

logger = logging.getLogger("django_inference.artifacts")

_LISTING = "listing.json"
_FOLDERS = ("copies", "derived", "partial", "sources", "locks", "trash")


class Derived(os.PathLike[str]):
    """A folder that was made from an artifact; it stays while this object is kept.

    Args:
        home: of the folder.

    Attributes:
        path: of its files.
    """

    def __init__(self, home: Home) -> None:
        self.path = home.files
        self._hold = Hold(home)

    def __fspath__(self) -> str:
        """The path, as `open()` takes it."""
        return str(self.path)

    def close(self) -> None:
        """Let it be removed when room is needed."""
        self._hold.close()


class Store:
    """The artifact folder.

    Args:
        settings: where it is.

    Raises:
        ArtifactError: others could write it, or it cannot be made.
    """

    def __init__(self, settings: StoreSettings) -> None:
        self.settings = settings
        self.path = Path(settings.folder)
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._check_owner()
            for name in _FOLDERS:
                (self.path / name).mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise ArtifactError(f"ARTIFACT_DIR {self.path} cannot be used: {error}") from error
        self.trash = self.path / "trash"

    def homes(self) -> Iterator[Home]:
        """Every kept folder, the least recently used one first."""
        paths = [*(self.path / "copies").iterdir(), *(self.path / "derived").iterdir()]
        yield from sorted(map(Home, paths), key=lambda home: home.last_used)

    def lock(self, source: str) -> FileLock:
        """The lock of one source."""
        # Not at the top: a worker that maps what another has made takes none.
        from filelock import FileLock

        return FileLock(self.path / "locks" / f"{key_of(source)}.lock", thread_local=False)

    def record(self, source: str) -> Record | None:
        """What a source held when it was asked last."""
        try:
            return msgspec.json.decode(self._record(source).read_bytes(), type=Record)
        except (OSError, msgspec.DecodeError):
            return None

    def note(self, source: str, record: Record) -> None:
        """Write down what a source holds."""
        path = self._record(source)
        new = path.with_suffix(".new")
        new.write_bytes(msgspec.json.encode(record))
        new.replace(path)

    def begun(self, source: str) -> Listing | None:
        """What a transfer was begun for that can be gone on with."""
        try:
            note = (self.path / "partial" / key_of(source) / _LISTING).read_bytes()
            return msgspec.json.decode(note, type=Listing)
        except (OSError, msgspec.DecodeError):
            return None

    def partial(self, source: str, listing: Listing | None = None) -> Path:
        """The folder for a transfer; empty unless it was begun for the same listing."""
        folder = self.path / "partial" / key_of(source)
        if listing is None or not listing.tag or listing != self.begun(source):
            shutil.rmtree(folder, ignore_errors=True)
            (folder / "files").mkdir(mode=0o700, parents=True)
        if listing is not None:
            (folder / _LISTING).write_bytes(msgspec.json.encode(listing))
        return folder

    def find(
        self, digest: str, *, is_folder: bool, name: str = "", deep: bool = False
    ) -> Copy | None:
        """Return a copy that is here and whole.

        Args:
            digest: of the content.
            is_folder: of a folder.
            name: that a single file shall have: runtimes go by its suffix.
            deep: read the content, even where sizes and times say that it is unchanged.
        """
        home = self._home(digest, is_folder)
        about = home.about()
        if about is None:
            return None
        path = home.files if is_folder else home.files / name
        try:
            if not is_folder and not path.exists():
                os.link(next(home.files.iterdir()), path)
            artifact = Artifact(path)
            seen = artifact.fingerprint()
            is_whole = seen == about.fingerprint and not deep or artifact.digest() == digest
        except (OSError, StopIteration):
            is_whole = False
        if not is_whole:
            logger.warning("damaged copy %s: it is fetched again", home.path)
            home.discard(self.trash)
            return None
        if seen != about.fingerprint:
            home.describe(About(about.size, seen))
        return Copy(path=str(path), home=str(home.path), digest=digest)

    def add(self, folder: Path, digest: str, *, is_folder: bool, name: str = "") -> Copy:
        """Keep the `files` of a folder in `partial`, which then is gone."""
        # One that is damaged is removed by looking for it.
        if found := self.find(digest, is_folder=is_folder, name=name):
            shutil.rmtree(folder, ignore_errors=True)
            return found
        self._keep(Home(folder), self._home(digest, is_folder))
        found = self.find(digest, is_folder=is_folder, name=name)
        if found is None:
            home = self._home(digest, is_folder)
            raise ArtifactError(f"the copy {home.path} was removed as soon as it was made.")
        return found

    def derived(self, digest: str, name: str, make: Callable[[Path], None]) -> Derived:
        """Return a folder that is made once per machine from an artifact.

        Args:
            digest: of the artifact.
            name: of what is made, and of how: another way to make it needs another name.
            make: fills the empty folder that it is given; called under a lock.

        Raises:
            Exception: whatever `make` raises; nothing is kept then.
        """
        if not re.fullmatch(r"[A-Za-z0-9._-]{1,100}", name):
            raise ValueError(
                f"{name!r} is no name of a folder: use letters, digits, '.', '-', '_'."
            )
        home = Home(self.path / "derived" / f"{digest}-{name}")
        with contextlib.suppress(Gone):
            if home.about() is not None:
                return Derived(home)
        source = f"derived:{home.path.name}"
        with self.lock(source):
            if home.about() is None:
                made = self.partial(source)
                make(made / "files")
                self._keep(Home(made), home)
            try:
                return Derived(home)
            except Gone as error:
                raise ArtifactError(f"{home.path} was removed as soon as it was made.") from error

    def _keep(self, made: Home, home: Home) -> None:
        artifact = Artifact(made.files)
        size = sum(file.stat().st_size for file in artifact.files())
        # A single file has the fingerprint of a file, whatever its name.
        if home.path.name.startswith("file-"):
            (single,) = artifact.files()
            artifact = Artifact(single)
        (made.path / _LISTING).unlink(missing_ok=True)
        made.describe(About(size, artifact.fingerprint()))
        try:
            made.path.rename(home.path)
        except OSError:
            # The same content has come from elsewhere.
            if home.about() is None:
                raise
            shutil.rmtree(made.path, ignore_errors=True)

    def _home(self, digest: str, is_folder: bool) -> Home:
        kind = "folder" if is_folder else "file"
        return Home(self.path / "copies" / f"{kind}-{digest}")

    def _record(self, source: str) -> Path:
        return self.path / "sources" / f"{key_of(source)}.json"

    def _check_owner(self) -> None:
        if os.name == "nt":
            return
        facts = self.path.stat()
        if facts.st_uid != os.getuid() or facts.st_mode & 0o022:
            raise PermissionError("it belongs to another user, or others can write it")
        if stat.S_IMODE(facts.st_mode) & 0o077:
            self.path.chmod(0o700)


def key_of(source: str) -> str:
    """The name that a source goes by in the folder."""
    return hashlib.sha256(source.encode(errors="surrogatepass")).hexdigest()[:32]
