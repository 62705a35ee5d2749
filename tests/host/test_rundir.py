from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from django_inference.host.control import Conversation, HostUnavailable
from django_inference.host.rundir import RuntimeDir
from tests.hosts import Host

STRANGER = 54321

as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can give folders away")


@pytest.fixture
def parent(tmp_path: Path) -> Iterator[Path]:
    parent = tmp_path / "parent"
    parent.mkdir(mode=0o700)
    yield parent
    parent.chmod(0o700)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_the_folder_is_made_for_this_user_only(parent: Path) -> None:
    folder = RuntimeDir(parent / "deep" / "run")
    folder.create()
    folder.create()
    assert mode(folder.path) == mode(folder.workers) == 0o700
    assert mode(folder.path.parent) == 0o700


def test_a_folder_that_others_may_read_is_closed_to_them(parent: Path) -> None:
    folder = RuntimeDir(parent / "run")
    folder.path.mkdir()
    folder.path.chmod(0o755)
    folder.create()
    assert mode(folder.path) == 0o700


@pytest.mark.parametrize("permissions", [0o775, 0o757, 0o770, 0o707])
def test_a_folder_that_others_may_write_is_refused(parent: Path, permissions: int) -> None:
    # Somebody else could have put a socket of theirs in it already.
    folder = RuntimeDir(parent / "run")
    folder.path.mkdir()
    folder.path.chmod(permissions)
    with pytest.raises(PermissionError, match="others can write"):
        folder.create()


@pytest.mark.parametrize("permissions", [0o775, 0o777])
def test_a_parent_in_which_others_could_replace_the_folder_is_refused(
    parent: Path, permissions: int
) -> None:
    parent.chmod(permissions)
    with pytest.raises(PermissionError, match=str(parent)):
        RuntimeDir(parent / "run").create()


def test_a_parent_like_tmp_is_fine(parent: Path) -> None:
    parent.chmod(0o1777)
    RuntimeDir(parent / "run").create()


@as_root
def test_a_folder_of_another_user_is_refused(parent: Path) -> None:
    folder = RuntimeDir(parent / "run")
    folder.path.mkdir(mode=0o700)
    os.chown(folder.path, STRANGER, STRANGER)
    with pytest.raises(PermissionError, match="another user"):
        folder.create()


@as_root
def test_a_parent_of_another_user_is_refused(parent: Path) -> None:
    os.chown(parent, STRANGER, STRANGER)
    with pytest.raises(PermissionError, match="another user"):
        RuntimeDir(parent / "run").create()


def test_a_link_in_the_place_of_the_folder_is_refused(parent: Path) -> None:
    (parent / "elsewhere").mkdir(mode=0o700)
    (parent / "run").symlink_to(parent / "elsewhere")
    with pytest.raises(PermissionError):
        RuntimeDir(parent / "run").create()


def test_a_host_is_not_started_in_a_folder_that_is_not_safe(host: Host) -> None:
    host.folder.path.mkdir()
    host.folder.path.chmod(0o777)
    with pytest.raises(HostUnavailable, match="others can write"):
        Conversation(host.settings, time.monotonic() + 10)
    assert not host.processes()


def test_the_epoch_is_seen_by_whoever_opens_it(parent: Path) -> None:
    folder = RuntimeDir(parent / "run")
    folder.create()
    with pytest.raises(FileNotFoundError):
        folder.epoch()
    writer = folder.epoch(writable=True)
    reader = folder.epoch()
    before = reader.value
    writer.advance()
    assert reader.value == before + 1
    with pytest.raises(TypeError):
        reader.advance()


def test_the_epoch_goes_on_where_the_former_host_left_it(parent: Path) -> None:
    # Otherwise a client might take the routes of the former host for current.
    folder = RuntimeDir(parent / "run")
    folder.create()
    folder.epoch(writable=True).advance()
    folder.epoch(writable=True).advance()
    assert folder.epoch().value == 2


def test_a_link_in_the_place_of_the_epoch_is_not_followed(parent: Path) -> None:
    folder = RuntimeDir(parent / "run")
    folder.create()
    folder.epoch(writable=True)
    (epoch,) = (path for path in folder.path.iterdir() if path.name.startswith("epoch"))
    target = epoch.rename(parent / "elsewhere")
    epoch.symlink_to(target)
    with pytest.raises(OSError, match="epoch"):
        folder.epoch(writable=True)
