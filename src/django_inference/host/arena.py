"""The shared memory that carries the tensors of one connection.

An anonymous memory file whose descriptor is passed over the socket: it has no name, so
nothing is left behind when either side is killed. It only ever grows, and is sealed so:
a peer that could shrink it would kill the other with SIGBUS.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import sys
import tempfile

#: The first bytes of every arena belong to the worker, see `Arena.mark`.
HEADER = 64
#: Tensors start at multiples of this, as vector instructions like it.
ALIGNMENT = 64
#: Where a new arena starts; untouched pages cost nothing.
INITIAL_SIZE = 1 << 20

_HAS_MEMFD = sys.platform == "linux"


class Arena:
    """A growing block of shared memory.

    Args:
        fd: of a memory file, which the arena then owns; a new one when left out.

    Raises:
        ValueError: the descriptor is not of a memory file that cannot shrink.
    """

    def __init__(self, fd: int | None = None) -> None:
        self.fd = -1
        self.fd = _create() if fd is None else _sealed(fd)
        self._map()

    @property
    def size(self) -> int:
        """Bytes that are mapped now."""
        return len(self.memory)

    @property
    def mark(self) -> int:
        """How many units share the batch that runs the request; 0 before it is run.

        The worker writes it, and the client reads it after the worker died: was this
        request running, and was it alone?
        """
        return self._mark[0]

    @mark.setter
    def mark(self, units: int) -> None:
        self._mark[0] = units

    def reach(self, end: int) -> None:
        """Map what a peer has added, so that `end` bytes can be read.

        Raises:
            ValueError: the file is not that long.
        """
        if end > self.size:
            if end > os.fstat(self.fd).st_size:
                raise ValueError(f"{end} bytes were announced, but the arena has fewer")
            self._map()

    def grow(self, end: int) -> None:
        """Make room for `end` bytes.

        Raises:
            ValueError: there is none.
        """
        if end > self.size:
            # Doubling keeps the number of times that both sides map it anew small.
            size = max(end, 2 * self.size)
            try:
                os.ftruncate(self.fd, -(-size // mmap.PAGESIZE) * mmap.PAGESIZE)
            except (OSError, OverflowError) as error:
                raise ValueError(f"the arena cannot grow to {size} bytes: {error}") from error
            self._map()

    def close(self) -> None:
        """Give up this side's hold. Arrays that still look into the memory keep it."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __del__(self) -> None:
        """A child of a fork forgets the arenas of its parent's channels without a close()."""
        self.close()

    def _map(self) -> None:
        # The former map is not closed: arrays may look into it. It goes with the last one.
        try:
            self.memory = mmap.mmap(self.fd, os.fstat(self.fd).st_size)
        except (OSError, OverflowError) as error:
            raise ValueError(f"the arena cannot be mapped: {error}") from error
        self._mark = memoryview(self.memory)[:8].cast("Q")


def _create() -> int:
    if _HAS_MEMFD:
        fd = os.memfd_create("inference-arena", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(fd, INITIAL_SIZE)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
        return fd
    fd, path = tempfile.mkstemp(prefix="inference-arena-")
    os.unlink(path)
    os.ftruncate(fd, INITIAL_SIZE)
    return fd


def _sealed(fd: int) -> int:
    if _HAS_MEMFD:
        try:
            seals = fcntl.fcntl(fd, fcntl.F_GET_SEALS)
        except OSError as error:
            raise ValueError("the arena is not a memory file") from error
        if not seals & fcntl.F_SEAL_SHRINK:
            raise ValueError("the arena is not sealed against shrinking")
    if os.fstat(fd).st_size < HEADER:
        raise ValueError("the arena is too small")
    return fd
