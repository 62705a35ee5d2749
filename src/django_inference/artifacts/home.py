"""One kept folder of the store: its files, who uses them, and how it goes."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import uuid
import weakref
from collections.abc import Iterator
from pathlib import Path

import msgspec

if sys.platform != "win32":
    import fcntl


class Gone(Exception):
    """The folder has been removed, or is being removed."""


class About(msgspec.Struct, frozen=True):
    """What is known of a kept folder.

    Attributes:
        size: bytes of its files.
        fingerprint: of its files when they were put there (`Artifact.fingerprint`).
    """

    size: int
    fingerprint: str


class Hold:
    """Keeps a folder from being removed, until it is closed or its process has ended.

    Raises:
        Gone: it has been removed.
    """

    def __init__(self, home: Home) -> None:
        try:
            fd = os.open(home.lock, os.O_RDWR | getattr(os, "O_CLOEXEC", 0))
        except OSError as error:
            raise Gone(home.path) from error
        self._close = weakref.finalize(self, os.close, fd)
        try:
            if sys.platform != "win32":
                fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            # It may have been moved away between the two lines above.
            if os.stat(home.lock).st_ino != os.fstat(fd).st_ino:
                raise Gone(home.path)
            os.utime(home.lock)
        except OSError as error:
            self.close()
            raise Gone(home.path) from error

    def close(self) -> None:
        """Let it go."""
        self._close()


class Home:
    """A folder with `files`, a lock, and what is known of them.

    Args:
        path: in the store.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.files = path / "files"
        self.lock = path / "lock"
        self._about = path / "about.json"

    def about(self) -> About | None:
        """What is known of it; None where it is not there or not whole."""
        try:
            return msgspec.json.decode(self._about.read_bytes(), type=About)
        except (OSError, msgspec.DecodeError):
            return None

    def describe(self, about: About) -> None:
        """Write down what is known."""
        # Its time of change says when it was used last.
        self.lock.touch(mode=0o600)
        self._about.write_bytes(msgspec.json.encode(about))

    @property
    def last_used(self) -> float:
        """Seconds since the epoch."""
        try:
            return self.lock.stat().st_mtime
        except OSError:
            return 0.0

    def remove(self, trash: Path) -> bool:
        """Remove it, unless it is used; say whether it has gone.

        Args:
            trash: a folder on the same disk: what is moved there is gone at once.
        """
        with self._alone() as is_alone:
            return is_alone and self.discard(trash)

    def discard(self, trash: Path) -> bool:
        """Remove it even if it is used: open files stay readable for those who read them."""
        aside = trash / uuid.uuid4().hex
        try:
            self.path.rename(aside)
        except OSError:
            return False
        shutil.rmtree(aside, ignore_errors=True)
        return True

    @contextlib.contextmanager
    def _alone(self) -> Iterator[bool]:
        try:
            fd = os.open(self.lock, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError:
            yield False
            return
        try:
            if sys.platform != "win32":
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True
        finally:
            os.close(fd)
