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
        fd: of a memory file, which the arena owns from now on, and closes where it refuses
            it; a new one when left out.

    Raises:
        ValueError: the descriptor is not of a memory file that cannot shrink.
    """

    fd = -1

    def __init__(self, fd: int | None = None) -> None:
        self.fd = _create() if fd is None else fd
        try:
            if fd is not None:
                _check(fd)
            self._map()
        except BaseException:
            os.close(self.fd)
            self.fd = -1
            raise

    def __del__(self) -> None:
        """A descriptor is not closed by itself."""
        if self.fd >= 0:
            os.close(self.fd)

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
        """Give up this side's hold. Arrays that still look into the memory keep it.

        The mark stays readable.
        """
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
            # A codec and its hooks form a circle, which may wait long for the collector:
            # the memory shall not wait with them.
            mark = self.mark
            self._use(mmap.mmap(-1, HEADER))
            self.mark = mark

    def _map(self) -> None:
        try:
            self._use(mmap.mmap(self.fd, os.fstat(self.fd).st_size))
        except (OSError, OverflowError) as error:
            raise ValueError(f"the arena cannot be mapped: {error}") from error

    def _use(self, memory: mmap.mmap) -> None:
        # The former map is not closed: arrays may look into it. It goes with the last one.
        self.memory = memory
        self._mark = memoryview(memory)[:8].cast("Q")


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


def _check(fd: int) -> None:
    if _HAS_MEMFD:
        try:
            seals = fcntl.fcntl(fd, fcntl.F_GET_SEALS)
        except OSError as error:
            raise ValueError("the arena is not a memory file") from error
        if not seals & fcntl.F_SEAL_SHRINK:
            raise ValueError("the arena is not sealed against shrinking")
    if os.fstat(fd).st_size < HEADER:
        raise ValueError("the arena is too small")
