from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_inference.artifacts.errors import ManifestError
from django_inference.artifacts.source import MAX_FILES, RemoteFile, check_name, checked_names


@pytest.mark.parametrize("name", ["a", "a/b", "a b", "ä", "..a", "a..", ".hidden", "C:x", "~"])
def test_a_name_within_a_folder(name: str) -> None:
    check_name(name, "s3://b")


@pytest.mark.parametrize(
    "name",
    [
        *("", "/", "/etc/passwd", "..", "a/../b", "a/..", "./a", "a/", "a//b", "a\\b", "..\\a"),
        *("a\0b", "a\nb", "\x7f", "a" * 256, "ä" * 128, "a/" * 600 + "a", "\udc80"),
    ],
)
def test_a_name_that_leads_out_or_that_no_disk_takes(name: str) -> None:
    with pytest.raises(ManifestError, match="s3://b names a file"):
        check_name(name, "s3://b")


def test_files_are_sorted_and_each_has_a_place_of_its_own() -> None:
    files = [RemoteFile(name) for name in ("b", "a/c", "a/b")]
    assert [file.name for file in checked_names(files, "x")] == ["a/b", "a/c", "b"]
    for names in (("a", "a"), ("a", "a/b"), ("a/b", "a/b/c")):
        with pytest.raises(ManifestError, match="two files of one name"):
            checked_names([RemoteFile(name) for name in names], "x")
    with pytest.raises(ManifestError, match="holds no files"):
        checked_names([], "x")
    with pytest.raises(ManifestError, match=f"more than {MAX_FILES}"):
        checked_names([RemoteFile(str(number)) for number in range(MAX_FILES + 1)], "x")


@given(
    st.one_of(
        st.text(), st.lists(st.sampled_from(["a", "..", ".", "", "~", "\\", "C:"])).map("/".join)
    )
)
def test_what_is_accepted_stays_inside(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    folder = Path("/some/folder")
    try:
        check_name(name, "x")
    except ManifestError:
        return
    assert os.path.normpath(folder / name) == str(folder / name)
    assert (folder / name).is_relative_to(folder) and folder / name != folder
