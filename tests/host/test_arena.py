from __future__ import annotations

import contextlib
import fcntl
import gc
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from django_inference.host.arena import HEADER, INITIAL_SIZE, Arena

linux = pytest.mark.skipif(sys.platform != "linux", reason="memory files are Linux's")


def peer_of(arena: Arena) -> Arena:
    """The other side, as it gets the descriptor."""
    return Arena(os.dup(arena.fd))


def memory_file(size: int = 4096, seals: int = 0) -> int:
    fd = os.memfd_create("test", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, size)
    if seals:
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd


def test_both_sides_see_the_same_memory() -> None:
    ours = Arena()
    theirs = peer_of(ours)
    ours.memory[100:105] = b"hello"
    assert theirs.memory[100:105] == b"hello"
    theirs.mark = 7
    assert ours.mark == 7
    ours.close()
    theirs.close()


def test_an_arena_starts_unmarked() -> None:
    arena = Arena()
    assert arena.mark == 0
    assert arena.size == INITIAL_SIZE
    arena.close()


@pytest.mark.parametrize("grower", [0, 1])
def test_what_one_side_adds_the_other_reaches(grower: int) -> None:
    first = Arena()
    sides = [first, peer_of(first)]
    ours, theirs = sides[grower], sides[1 - grower]
    end = 3 * INITIAL_SIZE
    ours.grow(end)
    ours.memory[end - 4 : end] = b"tail"
    with pytest.raises(ValueError, match="fewer"):
        theirs.reach(ours.size + 1)
    theirs.reach(end)
    assert theirs.memory[end - 4 : end] == b"tail"
    theirs.mark = 3
    assert ours.mark == 3
    ours.close()
    theirs.close()


def test_growing_keeps_what_is_there_and_what_looks_into_it() -> None:
    arena = Arena()
    array = np.ndarray((4,), np.int64, arena.memory, HEADER)
    array[...] = [1, 2, 3, 4]
    arena.grow(10 * INITIAL_SIZE)
    again = np.ndarray((4,), np.int64, arena.memory, HEADER)
    assert again.tolist() == [1, 2, 3, 4]
    again[0] = 9
    assert array[0] == 9
    arena.close()
    assert array.tolist() == [9, 2, 3, 4]


def test_room_that_is_there_is_not_added() -> None:
    arena = Arena()
    arena.grow(INITIAL_SIZE)
    assert arena.size == INITIAL_SIZE
    arena.grow(INITIAL_SIZE + 1)
    assert arena.size == 2 * INITIAL_SIZE
    arena.close()


@linux
def test_an_arena_cannot_shrink() -> None:
    arena = Arena()
    with pytest.raises(PermissionError):
        os.ftruncate(arena.fd, HEADER)
    arena.close()


@linux
@pytest.mark.parametrize(
    ("size", "seals"),
    [
        (4096, 0),
        (4096, fcntl.F_SEAL_GROW),
        (HEADER - 1, fcntl.F_SEAL_SHRINK),
        (0, fcntl.F_SEAL_SHRINK),
        (4096, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_WRITE),
        (1 << 62, fcntl.F_SEAL_SHRINK),
    ],
)
def test_a_memory_file_that_could_hurt_is_refused(size: int, seals: int) -> None:
    fd = memory_file(size, seals)
    with pytest.raises(ValueError, match="arena"):
        Arena(fd)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


@linux
def test_what_is_no_memory_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(4096))
    reader, writer = os.pipe()
    for fd in (os.open(path, os.O_RDWR), reader, writer, os.open("/dev/zero", os.O_RDWR)):
        with pytest.raises(ValueError, match="not a memory file"):
            Arena(fd)


@linux
def test_a_memory_file_that_may_only_be_read_is_refused() -> None:
    fd = memory_file(4096, fcntl.F_SEAL_SHRINK)
    read_only = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY)
    with pytest.raises(ValueError, match="arena"):
        Arena(read_only)
    os.close(fd)


@linux
def test_an_arena_that_is_forgotten_leaves_no_descriptor() -> None:
    gc.collect()
    before = open_files()
    for _ in range(10):
        Arena()
    gc.collect()
    # Whatever others close meanwhile is theirs.
    assert open_files() <= before


def open_files() -> set[tuple[str, int]]:
    found = set()
    for fd in os.listdir("/proc/self/fd"):
        # The listing's own is closed by now.
        with contextlib.suppress(FileNotFoundError):
            found.add((fd, os.stat(f"/proc/self/fd/{fd}").st_ino))
    return found
