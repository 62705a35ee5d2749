from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_inference.artifacts.errors import ArtifactError, TransferCut
from django_inference.artifacts.source import Listing, RemoteFile, Source
from django_inference.artifacts.transfer import transfer

CONTENT = bytes(range(256)) * 4


class Scripted(Source):
    """Gives as many bytes each time as its script says."""

    def __init__(self, script: list[int], *, raises: bool = False, resumes: bool = True) -> None:
        self._script = script
        self._raises = raises
        self._resumes = resumes
        self.offsets: list[int] = []

    def look(self, known: str = "") -> Listing:
        raise NotImplementedError

    def read(self, file: RemoteFile, offset: int) -> tuple[int, Iterator[bytes]]:
        self.offsets.append(offset)
        begin = offset if self._resumes else 0
        count = self._script.pop(0) if self._script else len(CONTENT)
        return begin, self._pieces(CONTENT[begin : begin + count])

    def _pieces(self, content: bytes) -> Iterator[bytes]:
        yield from (content[at : at + 7] for at in range(0, len(content), 7))
        if self._raises and self._script:
            raise TransferCut("the line is dead")


def listing(size: int | None = len(CONTENT), sha256: str = "") -> Listing:
    return Listing((RemoteFile("a/m", size, sha256),), is_folder=True)


def told(done: int, total: int) -> None:
    assert total == 0 or done <= total


@given(
    script=st.lists(st.integers(1, 400), max_size=20),
    raises=st.booleans(),
    here=st.integers(0, 1500),
)
def test_however_it_is_cut_the_file_is_whole(
    tmp_path_factory: pytest.TempPathFactory, script: list[int], raises: bool, here: int
) -> None:
    folder = tmp_path_factory.mktemp("transfer")
    (folder / "a").mkdir()
    (folder / "a" / "m").write_bytes((CONTENT * 2)[:here])
    source = Scripted([*script], raises=raises)
    assert transfer(source, listing(), folder, told)
    assert (folder / "a" / "m").read_bytes() == CONTENT
    assert source.offsets[:1] in ([], [here], [0])


def test_a_source_that_sends_nothing_is_given_up(tmp_path: Path) -> None:
    with pytest.raises(TransferCut, match="300 bytes came instead of 1024"):
        transfer(Scripted([300, 0, 0, 0]), listing(), tmp_path, told)
    assert (tmp_path / "a" / "m").stat().st_size == 300


def test_a_source_that_always_begins_at_the_beginning_comes_to_an_end(tmp_path: Path) -> None:
    source = Scripted([100, 200, 300], resumes=False)
    transfer(source, listing(), tmp_path, told)
    assert (tmp_path / "a" / "m").read_bytes() == CONTENT
    with pytest.raises(TransferCut):
        transfer(Scripted([100] * 9, resumes=False), listing(), tmp_path / "other", told)


@pytest.mark.parametrize("size", [100, 1000])
def test_a_file_that_is_longer_than_was_said_is_refused(size: int, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=f"longer than the {size} bytes"):
        transfer(Scripted([]), listing(size), tmp_path, told)


def test_a_file_of_unknown_length_is_taken_as_it_comes(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "m").write_bytes(b"half of it")
    source = Scripted([])
    transfer(source, listing(None), tmp_path, told)
    assert (tmp_path / "a" / "m").read_bytes() == CONTENT
    assert source.offsets == [0]


def test_an_empty_file_is_made(tmp_path: Path) -> None:
    transfer(Scripted([0]), listing(0), tmp_path, told)
    assert (tmp_path / "a" / "m").read_bytes() == b""


def test_a_file_is_compared_with_what_the_source_says_of_it(tmp_path: Path) -> None:
    transfer(Scripted([]), listing(sha256=hashlib.sha256(CONTENT).hexdigest()), tmp_path, told)
    with pytest.raises(ArtifactError, match="its SHA-256 differs"):
        transfer(Scripted([]), listing(sha256="0" * 64), tmp_path, told)
    assert not (tmp_path / "a" / "m").exists()


def test_a_link_in_the_place_of_a_file_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "outside").write_bytes(b"precious")
    (tmp_path / "in" / "a").mkdir(parents=True)
    (tmp_path / "in" / "a" / "m").symlink_to(tmp_path / "outside")
    with pytest.raises(OSError, match="symbolic link"):
        transfer(Scripted([]), listing(), tmp_path / "in", told)
    assert (tmp_path / "outside").read_bytes() == b"precious"
