from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from django_inference.artifacts import Artifact

needs_sha256sum = pytest.mark.skipif(
    shutil.which("sha256sum") is None, reason="this system has no sha256sum"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "saved_model"
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"graph")
    (folder / "variables" / "index").write_bytes(b"index")
    return folder


def test_an_artifact_is_a_path(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(b"weights")
    artifact = Artifact(str(path))
    with open(artifact, "rb") as file:
        assert file.read() == b"weights"
    assert os.fspath(artifact) == str(artifact) == str(path)
    assert artifact.path == Path(artifact) == path


def test_a_pinned_digest_is_trust() -> None:
    assert not Artifact("/m").trusted
    assert Artifact("/m", trusted=True).trusted
    assert Artifact("/m", sha256="0" * 64).trusted


def test_the_files_of_a_folder_are_always_listed_in_the_same_order(folder: Path) -> None:
    for name in reversed("abcdefghijklmnopqrst"):
        (folder / name).touch()
    names = [str(file.relative_to(folder)) for file in Artifact(folder).files()]
    assert names == sorted([*"abcdefghijklmnopqrst", "saved_model.pb", "variables/index"])
    single = folder / "saved_model.pb"
    assert list(Artifact(single).files()) == [single]


def test_the_fingerprint_changes_when_a_file_does(folder: Path) -> None:
    artifact = Artifact(folder)
    seen = [artifact.fingerprint()]

    def changed() -> bool:
        seen.append(artifact.fingerprint())
        return seen[-1] not in seen[:-1]

    assert not changed()
    (folder / "variables" / "index").write_bytes(b"longer index")
    assert changed()
    os.utime(folder / "saved_model.pb", ns=(1, 1))
    assert changed()
    (folder / "saved_model.pb").rename(folder / "other.pb")
    assert changed()
    (folder / "new").touch()
    assert changed()
    (folder / "new").unlink()
    assert not changed()


def test_the_fingerprint_does_not_depend_on_where_the_artifact_lies(folder: Path) -> None:
    copy = folder.with_name("copy")
    shutil.copytree(folder, copy)
    assert Artifact(copy).fingerprint() == Artifact(folder).fingerprint()


@needs_sha256sum
def test_the_digest_of_a_file_is_what_sha256sum_prints(folder: Path) -> None:
    path = folder / "saved_model.pb"
    said = subprocess.run(["sha256sum", path], capture_output=True, text=True, check=True).stdout
    assert Artifact(path).digest() == said.split()[0]


@needs_sha256sum
def test_the_digest_of_a_folder_is_what_sha256sum_prints_for_its_files(folder: Path) -> None:
    names = sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())
    listing = subprocess.run(
        ["sha256sum", *names], cwd=folder, capture_output=True, check=True
    ).stdout
    assert Artifact(folder).digest() == hashlib.sha256(listing).hexdigest()


def test_a_pin_is_compared_with_the_content(folder: Path) -> None:
    path = folder / "saved_model.pb"
    pin = hashlib.sha256(b"graph").hexdigest()
    Artifact(path, sha256=pin).verify()
    Artifact(path, sha256=pin.upper()).verify()
    Artifact(path).verify()
    path.write_bytes(b"forged")
    with pytest.raises(ValueError, match=pin):
        Artifact(path, sha256=pin).verify()
    Artifact(folder, sha256=Artifact(folder).digest()).verify()


def test_what_is_not_there_cannot_be_read(tmp_path: Path) -> None:
    artifact = Artifact(tmp_path / "missing", sha256="0" * 64)
    for method in (artifact.fingerprint, artifact.digest, artifact.verify):
        with pytest.raises(FileNotFoundError):
            method()
