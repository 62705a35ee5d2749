from __future__ import annotations

import gzip
import io
import os
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from django_inference.artifacts.errors import UnsafeArchive
from django_inference.artifacts.unpack import SMALL, unpack

Pack = Callable[[Path, dict[str, bytes]], Path]


def zipped(folder: Path, files: dict[str, bytes]) -> Path:
    path = folder / "m.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def tarred(folder: Path, files: dict[str, bytes], name: str = "m.tar.gz") -> Path:
    path = folder / name
    with tarfile.open(path, "w:gz" if name.endswith("gz") else "w") as archive:
        for member, content in files.items():
            info = tarfile.TarInfo(member)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def plain(folder: Path, files: dict[str, bytes]) -> Path:
    return tarred(folder, files, "m.tar")


def tar_with(folder: Path, *members: tarfile.TarInfo) -> Path:
    path = folder / "m.tgz"
    with tarfile.open(path, "w:gz") as archive:
        for member in members:
            archive.addfile(member)
    return path


def member(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def content_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


each_kind = pytest.mark.parametrize("pack", [zipped, tarred, plain])


@each_kind
def test_files_come_out_as_they_went_in(pack: Pack, tmp_path: Path) -> None:
    files = {"saved_model.pb": b"graph", "variables/data": os.urandom(3_000_000), "empty": b""}
    unpack(pack(tmp_path, files), tmp_path / "out")
    assert content_of(tmp_path / "out") == files


@each_kind
def test_an_archive_of_one_folder_is_that_folder(pack: Pack, tmp_path: Path) -> None:
    unpack(pack(tmp_path, {"m/m/a": b"a", "m/b": b"b"}), tmp_path / "out")
    assert content_of(tmp_path / "out") == {"m/a": b"a", "b": b"b"}


def test_folders_of_an_archive_are_no_files(tmp_path: Path) -> None:
    (tmp_path / "source" / "inner").mkdir(parents=True)
    (tmp_path / "source" / "inner" / "a").write_bytes(b"a")
    with tarfile.open(tmp_path / "m.tgz", "w:gz") as archive:
        archive.add(tmp_path / "source", arcname=".")
    unpack(tmp_path / "m.tgz", tmp_path / "out")
    assert content_of(tmp_path / "out") == {"a": b"a"}
    with zipfile.ZipFile(tmp_path / "m.zip", "w") as zip_archive:
        zip_archive.mkdir("inner")
        zip_archive.writestr("inner/a", b"a")
        zip_archive.writestr("b", b"b")
    unpack(tmp_path / "m.zip", tmp_path / "other")
    assert content_of(tmp_path / "other") == {"inner/a": b"a", "b": b"b"}


@each_kind
@pytest.mark.parametrize(
    "name",
    ["../evil", "a/../../evil", "/tmp/evil", "a\\..\\evil", "C:\\evil", "a//b", "..", "a\nb"],
)
def test_a_member_that_climbs_out_is_refused(pack: Pack, name: str, tmp_path: Path) -> None:
    with pytest.raises(UnsafeArchive, match="leads out of a folder"):
        unpack(pack(tmp_path, {"good": b"good", name: b"evil"}), tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} <= {"m.zip", "m.tar.gz", "m.tar"}


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (tarfile.SYMTYPE, "a link"),
        (tarfile.LNKTYPE, "a link"),
        (tarfile.CHRTYPE, "neither a file nor a folder"),
        (tarfile.BLKTYPE, "neither a file nor a folder"),
        (tarfile.FIFOTYPE, "neither a file nor a folder"),
    ],
)
def test_links_and_devices_are_refused(kind: bytes, said: str, tmp_path: Path) -> None:
    with pytest.raises(UnsafeArchive, match=f"'dev/x', {said}|'dev/x', which is {said}"):
        unpack(tar_with(tmp_path, member("dev/x", kind, "good")), tmp_path / "out")


def test_a_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "m.zip", "w") as archive:
        info = zipfile.ZipInfo("x")
        info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(UnsafeArchive, match="'x', a link"):
        unpack(tmp_path / "m.zip", tmp_path / "out")


@each_kind
def test_two_members_of_one_name_are_refused(pack: Pack, tmp_path: Path) -> None:
    archive = pack(tmp_path, {"a/b": b"1", "a": b"2"})
    with pytest.raises(UnsafeArchive, match="twice"):
        unpack(archive, tmp_path / "out")
    with pytest.raises(UnsafeArchive, match="twice"):
        unpack(pack(tmp_path, {"a": b"1", "a/b": b"2"}), tmp_path / "out")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_that_comes_again_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "m.zip", "w") as archive:
        archive.writestr("a", b"1")
        archive.writestr("a", b"2")
    with pytest.raises(UnsafeArchive, match="'a' twice"):
        unpack(tmp_path / "m.zip", tmp_path / "out")


@each_kind
def test_a_bomb_is_refused_before_it_fills_the_disk(pack: Pack, tmp_path: Path) -> None:
    archive = pack(tmp_path, {"zeros": bytes(40_000_000)})
    if pack is plain:
        # Nothing is compressed: this one is no bomb, but may be too large all the same.
        with pytest.raises(UnsafeArchive, match="more than 1000 bytes"):
            unpack(archive, tmp_path / "out", limit=1000)
        return
    assert archive.stat().st_size * 100 + SMALL < 40_000_000
    with pytest.raises(UnsafeArchive, match="would become more than"):
        unpack(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_size_that_is_a_lie_is_found_out(tmp_path: Path) -> None:
    archive = zipped(tmp_path, {"zeros": bytes(40_000_000)})
    raw = bytearray(archive.read_bytes())
    # The announced size, in both headers: it stands behind the check sum and the packed size.
    size = (40_000_000).to_bytes(4, "little")
    assert raw.count(size) == 2
    archive.write_bytes(raw.replace(size, (1000).to_bytes(4, "little")))
    with pytest.raises(UnsafeArchive):
        unpack(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_header_without_an_end_is_refused(tmp_path: Path) -> None:
    header = tarfile.TarInfo("x")
    header.type, header.size = tarfile.XHDTYPE, 10_000_000_000
    (tmp_path / "m.tgz").write_bytes(gzip.compress(header.tobuf(tarfile.GNU_FORMAT) + bytes(1024)))
    with pytest.raises(UnsafeArchive, match="header of 10000000000 bytes"):
        unpack(tmp_path / "m.tgz", tmp_path / "out")


def test_headers_of_headers_are_refused(tmp_path: Path) -> None:
    header = tarfile.TarInfo("x")
    header.type, header.size = tarfile.XHDTYPE, 0
    (tmp_path / "m.tgz").write_bytes(gzip.compress(header.tobuf() * 5000))
    with pytest.raises(UnsafeArchive):
        unpack(tmp_path / "m.tgz", tmp_path / "out")


def test_an_encrypted_member_is_refused(tmp_path: Path) -> None:
    archive = zipped(tmp_path, {"a": b"secret"})
    raw = bytearray(archive.read_bytes())
    raw[raw.index(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(raw)
    with pytest.raises(UnsafeArchive, match="encrypted"):
        unpack(archive, tmp_path / "out")


@pytest.mark.parametrize("name", ["m.zip", "m.tar", "m.tgz"])
@pytest.mark.parametrize("content", [b"", b"PK", b"this is no archive", bytes(1024), b"\x1f\x8b\0"])
def test_what_is_no_archive_is_refused(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UnsafeArchive, match=name):
        unpack(tmp_path / name, tmp_path / "out")
    assert not (tmp_path / "out").exists()


NAMES = st.one_of(
    st.lists(st.sampled_from(["a", "b", "..", ".", "", "~", "c:"]), min_size=1).map("/".join),
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=20),
)
KINDS = st.sampled_from([tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE])


@given(st.lists(st.tuples(NAMES, KINDS, NAMES), max_size=6))
def test_whatever_an_archive_holds_nothing_lands_outside(
    tmp_path_factory: pytest.TempPathFactory, members: list[tuple[str, bytes, str]]
) -> None:
    home = tmp_path_factory.mktemp("unpack")
    (home / "in").mkdir()
    archive = tar_with(home / "in", *(member(*one) for one in members))
    before = archive.read_bytes()
    try:
        unpack(archive, home / "in" / "out")
    except UnsafeArchive:
        assert sorted(path.name for path in home.rglob("*")) == ["in", "m.tgz"]
        return
    assert archive.read_bytes() == before
    assert {path.name for path in home.iterdir()} == {"in"}
    assert {path.name for path in (home / "in").iterdir()} == {"m.tgz", "out"}
    for path in (home / "in" / "out").rglob("*"):
        assert not path.is_symlink()


@settings(max_examples=300)
@given(st.data(), st.sampled_from(["m.zip", "m.tgz", "m.tar"]))
def test_a_damaged_archive_is_unsafe_or_whole(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, name: str
) -> None:
    home = tmp_path_factory.mktemp("damaged")
    files = {"a": b"a" * 100, "b/c": b"c" * 2000}
    archive = zipped(home, files) if name == "m.zip" else tarred(home, files, name)
    raw = bytearray(archive.read_bytes())
    for _ in range(data.draw(st.integers(1, 5))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    archive.write_bytes(raw[: data.draw(st.integers(0, len(raw)))])
    try:
        unpack(archive, home / "out")
    except UnsafeArchive:
        assert not (home / "out").exists()
    assert {path.name for path in home.iterdir()} <= {name, "out"}
