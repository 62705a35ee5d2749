"""Archives from elsewhere, unpacked only when nothing in them can do harm.

A member that climbs out, an absolute path, a link, a device, an encrypted member, two members
of one name, and a bomb (far more bytes than the archive has) are refused, and then nothing is
unpacked at all.
"""

from __future__ import annotations

import gzip
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from django_inference.artifacts.errors import UnsafeArchive
from django_inference.artifacts.room import SPARE
from django_inference.artifacts.source import MAX_FILES, PIECE, check_name
from django_inference.specs import one_line

#: Bytes that one byte of an archive may become. Weights hardly compress; zeros do, a
#: thousandfold, which is what a bomb is made of.
MAX_RATIO = 100
#: Bytes for which the ratio is not looked at.
SMALL = 16 << 20
#: Bytes that a reader of archives may ask for at once: more is a header without an end.
MAX_READ = 16 << 20


class Member(NamedTuple):
    """A file in an archive: its path, its announced size, and its bytes."""

    name: str
    size: int
    content: IO[bytes]


def unpack(archive: Path, folder: Path, *, limit: int | None = None) -> None:
    """Unpack an archive into a new folder.

    An archive that holds one folder and nothing else counts as that folder.

    Args:
        archive: `.zip`, `.tar`, `.tar.gz` or `.tgz`.
        folder: is made.
        limit: bytes that may come out of it; what the disk has is the limit in any case.

    Raises:
        UnsafeArchive: it holds what is not unpacked, or is no such archive. The folder is
            not there then.
        OSError: the disk is full, or cannot be written.
    """
    folder.mkdir(mode=0o700)
    try:
        _safely(archive, folder, limit)
        inner = list(folder.iterdir())
        if not inner:
            raise UnsafeArchive(f"{archive.name} holds no files.")
        if len(inner) == 1 and inner[0].is_dir():
            _lift(inner[0], folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _safely(archive: Path, folder: Path, limit: int | None) -> None:
    try:
        _unpack(archive, folder, _allowed(archive, limit))
    except UnsafeArchive:
        raise
    except Exception as error:
        # Of what a broken archive makes the libraries raise, no list is complete.
        if isinstance(error, OSError) and not isinstance(error, gzip.BadGzipFile):
            raise
        raise UnsafeArchive(f"{archive.name} cannot be unpacked: {one_line(error)}") from error


def _allowed(archive: Path, limit: int | None) -> int:
    free = max(0, shutil.disk_usage(archive.parent).free - SPARE)
    by_ratio = SMALL + archive.stat().st_size * MAX_RATIO
    return min(free, by_ratio, free if limit is None else limit)


def _unpack(archive: Path, folder: Path, allowed: int) -> None:
    taken = 0
    seen: set[str] = set()
    members = _zipped if archive.name.lower().endswith(".zip") else _tarred
    for member in members(archive, allowed):
        if member.name in seen:
            raise UnsafeArchive(f"{archive.name} holds {member.name!r} twice.")
        seen.add(member.name)
        if len(seen) > MAX_FILES:
            raise UnsafeArchive(f"{archive.name} holds more than {MAX_FILES} files.")
        path = folder / member.name
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            out = path.open("xb")
        except (FileExistsError, NotADirectoryError) as error:
            raise UnsafeArchive(f"{archive.name} holds {member.name!r} twice.") from error
        with out, member.content as content:
            # The announced size may be a lie: the bytes are counted.
            while piece := content.read(PIECE):
                taken += len(piece)
                if taken > allowed:
                    raise UnsafeArchive(_bomb(archive, allowed))
                out.write(piece)


def _zipped(archive: Path, allowed: int) -> Iterator[Member]:
    with zipfile.ZipFile(archive) as file:
        for info in file.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise UnsafeArchive(f"{archive.name} holds {info.filename!r}, {_kind(kind)}.")
            if info.flag_bits & 1:
                raise UnsafeArchive(f"{archive.name} holds {info.filename!r}, which is encrypted.")
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise UnsafeArchive(f"{archive.name} is compressed in an uncommon way.")
            if info.is_dir():
                check_name(info.orig_filename.removesuffix("/"), archive.name)
                continue
            if info.file_size > allowed:
                raise UnsafeArchive(_bomb(archive, allowed))
            # As it is written: `filename` is what zipfile has made of it.
            check_name(info.orig_filename, archive.name)
            yield Member(info.orig_filename, info.file_size, file.open(info))


def _tarred(archive: Path, allowed: int) -> Iterator[Member]:
    with archive.open("rb") as raw:
        is_zipped = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        inner: Any = gzip.GzipFile(fileobj=raw) if is_zipped else raw
        with tarfile.open(fileobj=_Bounded(archive, inner, allowed), mode="r:") as file:  # type: ignore[call-overload]
            for info in file:
                if info.isdir():
                    if info.name not in (".", "./"):
                        check_name(info.name.removeprefix("./"), archive.name)
                    continue
                if not info.isreg() or info.issparse():
                    kind = "a sparse file" if info.isreg() else _tar_kind(info)
                    raise UnsafeArchive(f"{archive.name} holds {info.name!r}, {kind}.")
                name = info.name.removeprefix("./")
                check_name(name, archive.name)
                if check := getattr(tarfile, "data_filter", None):
                    # A second opinion, where Python is 3.11.4 or newer.
                    check(info, str(archive.parent))
                content = file.extractfile(info)
                assert content is not None
                yield Member(name, info.size, content)


class _Bounded:
    """A file that ends a reader who asks for too much: at once, or altogether."""

    def __init__(self, archive: Path, file: IO[bytes], allowed: int) -> None:
        self._archive = archive
        self._file = file
        # Headers and padding take room, too: a kilobyte and a half for each member.
        self._allowed = allowed + SMALL
        self.seekable = file.seekable

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= MAX_READ:
            raise UnsafeArchive(f"{self._archive.name} has a header of {size} bytes.")
        self._check(self._file.tell() + size)
        return self._file.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        self._check(offset)
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def _check(self, position: int) -> None:
        if position > self._allowed:
            raise UnsafeArchive(_bomb(self._archive, self._allowed))


def _lift(inner: Path, folder: Path) -> None:
    # The folder may hold one of its own name.
    aside = folder.with_name(f"{folder.name}.inner")
    shutil.rmtree(aside, ignore_errors=True)
    inner.rename(aside)
    folder.rmdir()
    aside.rename(folder)


def _bomb(archive: Path, allowed: int) -> str:
    size = archive.stat().st_size
    return f"{archive.name} would become more than {allowed} bytes, out of {size}."


def _kind(kind: int) -> str:
    return "a link" if kind == stat.S_IFLNK else "which is neither a file nor a folder"


def _tar_kind(info: tarfile.TarInfo) -> str:
    return "a link" if info.issym() or info.islnk() else "which is neither a file nor a folder"
