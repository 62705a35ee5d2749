from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from filelock import FileLock

from django_inference.artifacts import Artifact
from django_inference.artifacts.errors import ArtifactError
from django_inference.artifacts.home import Gone
from django_inference.artifacts.records import Copy, Record, StoreSettings
from django_inference.artifacts.room import PARTIAL_FOR, make_room
from django_inference.artifacts.source import Listing, RemoteFile
from django_inference.artifacts.store import Store

LISTING = Listing((RemoteFile("m.onnx", 3),), is_folder=False, tag="1")


def kept(store: Store, content: bytes, name: str = "m.onnx") -> Copy:
    folder = store.partial(f"memory://{content!r}")
    (folder / "files" / name).write_bytes(content)
    digest = Artifact(folder / "files" / name).digest()
    return store.add(folder, digest, is_folder=False, name=name)


def test_the_folder_is_for_this_user_only(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    Store(StoreSettings(str(folder)))
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o750)
    Store(StoreSettings(str(folder)))
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_folder_that_others_can_write_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(ArtifactError, match="ARTIFACT_DIR .* others can write it"):
        Store(StoreSettings(str(tmp_path)))


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ArtifactError, match="ARTIFACT_DIR .*file/a cannot be used"):
        Store(StoreSettings(str(tmp_path / "file" / "a")))


def test_the_same_content_under_two_names_lies_there_once(store: Store) -> None:
    first, second = kept(store, b"abc", "a.onnx"), kept(store, b"abc", "b.onnx")
    assert (Path(first.path).name, Path(second.path).name) == ("a.onnx", "b.onnx")
    assert os.stat(first.path).st_ino == os.stat(second.path).st_ino


def test_a_file_and_a_folder_of_one_digest_are_kept_apart(store: Store) -> None:
    folder = store.partial("memory://folder")
    (folder / "files" / "m").write_bytes(b"weights")
    digest = Artifact(folder / "files").digest()
    as_folder = store.add(folder, digest, is_folder=True)
    # The file whose SHA-256 is the folder's digest: the listing that it is taken of.
    listing = f"{Artifact(Path(as_folder.path, 'm')).digest()}  m\n".encode()
    as_file = kept(store, listing, "SHA256SUMS")
    assert as_file.digest == as_folder.digest
    assert Path(as_file.path).read_bytes() == listing
    assert Path(as_folder.path, "m").read_bytes() == b"weights"


def test_a_damaged_copy_gives_way_to_the_same_content_from_elsewhere(store: Store) -> None:
    copy = kept(store, b"abc")
    Path(copy.path).unlink()
    assert Path(kept(store, b"abc").path).read_bytes() == b"abc"


@pytest.mark.parametrize("about", [b"", b"{", b"null", b'{"size": "x"}'])
def test_a_copy_whose_notes_are_broken_is_none(about: bytes, store: Store) -> None:
    copy = kept(store, b"abc")
    Path(copy.home, "about.json").write_bytes(about)
    assert store.find(copy.digest, is_folder=False, name="m.onnx") is None


def test_a_record_that_is_broken_is_none(store: Store) -> None:
    assert store.record("s3://b/c") is None
    record = Record(digest="d", is_folder=False, name="c", tag="t", sha256="s", asked_at=1.0)
    store.note("s3://b/c", record)
    assert store.record("s3://b/c") == record
    (path,) = (store.path / "sources").iterdir()
    path.write_bytes(b"{")
    assert store.record("s3://b/c") is None


def test_a_transfer_is_gone_on_with_only_for_the_same_files(store: Store) -> None:
    def put(listing: Listing) -> bool:
        path = store.partial("s3://b", listing) / "files" / "m.onnx"
        was_there = path.exists()
        path.write_bytes(b"a")
        return was_there

    assert [put(LISTING), put(LISTING)] == [False, True]
    longer = Listing((RemoteFile("m.onnx", 4),), is_folder=False, tag="1")
    assert [put(longer), put(longer)] == [False, True]
    unknown = Listing(LISTING.files, is_folder=False)
    assert [put(unknown), put(unknown)] == [False, False]


def test_old_transfers_and_the_trash_are_cleared_away(store: Store) -> None:
    for source, age in (("s3://old", PARTIAL_FOR + 60), ("s3://new", 60.0), ("s3://used", 1e9)):
        folder = store.partial(source, LISTING)
        then = time.time() - age
        (folder / "files" / "m.onnx").touch()
        os.utime(folder / "files" / "m.onnx", (then, then))
    (store.trash / "x").mkdir()
    with store.lock("s3://used"):
        make_room(store, 0)
    begun = [store.begun(source) for source in ("s3://old", "s3://new", "s3://used")]
    assert begun == [None, LISTING, LISTING]
    assert not list(store.trash.iterdir())


def test_a_hold_ends_with_its_process(store: Store) -> None:
    copy = kept(store, b"abc")
    program = (
        "import sys\n"
        "from django_inference.artifacts.records import Copy\n"
        "hold = Copy(path='', home=sys.argv[1], digest='').hold()\n"
        "print('held', flush=True)\n"
        "sys.stdin.read()\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", program, copy.home], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    (home,) = store.homes()
    assert not home.remove(store.trash)
    holder.communicate(timeout=20)
    assert home.remove(store.trash)
    with pytest.raises(Gone):
        copy.hold()


def test_what_is_being_removed_cannot_be_held(store: Store) -> None:
    copy = kept(store, b"abc")
    (home,) = store.homes()
    with home._alone() as is_alone:
        assert is_alone
        with pytest.raises(Gone):
            copy.hold()
    copy.hold().close()


# What is made from an artifact.


def test_what_is_derived_is_made_once(store: Store) -> None:
    made = []

    def make(folder: Path) -> None:
        made.append(threading.current_thread().name)
        time.sleep(0.1)
        (folder / "weights.bin").write_bytes(b"w")

    found: list[Path] = []

    def ask() -> None:
        derived = store.derived("d" * 64, "external-data", make)
        found.append(Path(derived))
        derived.close()

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert len(set(found)) == 1
    assert (found[0] / "weights.bin").read_bytes() == b"w"


def test_what_could_not_be_made_is_tried_again(store: Store) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").touch()
        raise RuntimeError("no memory")

    with pytest.raises(RuntimeError, match="no memory"):
        store.derived("d", "q8", fail)
    derived = store.derived("d", "q8", lambda folder: (folder / "whole").touch())
    assert [path.name for path in derived.path.iterdir()] == ["whole"]


def test_what_is_derived_makes_room_too_unless_it_is_kept(store: Store) -> None:
    def make(folder: Path) -> None:
        (folder / "weights.bin").write_bytes(bytes(900))

    derived = store.derived("d", "q8", make)
    limited = Store(StoreSettings(str(store.path), limit=1000))
    make_room(limited, 500)
    assert derived.path.exists()
    derived.close()
    make_room(limited, 500)
    assert not derived.path.exists()


@pytest.mark.parametrize("name", ["", "a/b", "..\\x", "ä", "a" * 101])
def test_a_name_of_what_is_derived_is_that_of_a_folder(name: str, store: Store) -> None:
    with pytest.raises(ValueError, match="no name of a folder"):
        store.derived("d", name, lambda folder: None)


def test_two_who_need_room_wait_for_each_other(store: Store) -> None:
    began = threading.Event()

    def make() -> None:
        began.set()
        make_room(store, 0)

    with FileLock(store.path / "locks" / "room.lock", thread_local=False):
        thread = threading.Thread(target=make)
        thread.start()
        began.wait()
        assert thread.is_alive()
    thread.join(20)
    assert not thread.is_alive()
