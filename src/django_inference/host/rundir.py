"""The host's folder: what lies where, and who may enter."""

from __future__ import annotations

import mmap
import os
import stat
from pathlib import Path

from django_inference.host.protocol import VERSION

#: Supervisor and workers share one log, so they write it alike.
LOG_FORMAT = "%(asctime)s %(levelname)s %(process)d %(name)s: %(message)s"
LOG_TIME = "%Y-%m-%dT%H:%M:%S%z"


class RuntimeDir:
    """The paths in the host's folder.

    Args:
        path: of the folder.

    Attributes:
        socket: of the supervisor. Its name holds the protocol's version, so that an
            upgraded client starts a host of its own instead of confusing an older one.
        host_lock: held by the one supervisor for as long as it lives.
        start_lock: held by the client that starts it.
        log: of a supervisor that was started by a client.
        workers: folder of the workers' sockets.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.socket = self.path / f"host{VERSION}.sock"
        self.host_lock = self.path / f"host{VERSION}.lock"
        self.start_lock = self.path / f"start{VERSION}.lock"
        self.log = self.path / "host.log"
        self.workers = self.path / f"workers{VERSION}"
        self._epoch = self.path / f"epoch{VERSION}"

    def create(self) -> None:
        """Make the folder, for this user only.

        Raises:
            PermissionError: it is there, but others could enter it, or it is another's.
        """
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path.mkdir(mode=0o700, exist_ok=True)
        for folder in (self.path.parent, self.path):
            facts = folder.lstat()
            # The parent may be a folder for everyone such as /run, but it must not be one
            # in which somebody else could put another folder in the place of ours.
            is_safe = facts.st_uid in (0, os.getuid()) and stat.S_ISDIR(facts.st_mode)
            is_open = facts.st_mode & 0o022 and not facts.st_mode & stat.S_ISVTX
            if not is_safe or is_open:
                raise PermissionError(f"{folder} belongs to another user, or others can write it")
        if self.path.lstat().st_uid != os.getuid():
            raise PermissionError(f"{self.path} belongs to another user")
        self.path.chmod(0o700)
        self.workers.mkdir(mode=0o700, exist_ok=True)

    def epoch(self, *, writable: bool = False) -> Epoch:
        """Open the counter of changes.

        Raises:
            OSError: there is none yet, or it cannot be opened.
        """
        flags = os.O_RDWR | os.O_CREAT if writable else os.O_RDONLY
        fd = os.open(self._epoch, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            if writable and os.fstat(fd).st_size < Epoch.SIZE:
                # Not a hole: on a full disk, writing into one would end the process.
                os.pwrite(fd, bytes(Epoch.SIZE), 0)
            access = mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ
            return Epoch(mmap.mmap(fd, Epoch.SIZE, access=access))
        finally:
            os.close(fd)


class Epoch:
    """A number that every process can read and that changes when routes do.

    A client compares it before each call, which is cheaper than a connection on which the
    supervisor would push, and survives forks.
    """

    SIZE = 8

    def __init__(self, memory: mmap.mmap) -> None:
        self._number = memoryview(memory).cast("Q")

    @property
    def value(self) -> int:
        """The number."""
        return self._number[0]

    def advance(self) -> None:
        """Tell every client to ask again."""
        self._number[0] += 1
