from __future__ import annotations

import io
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile, File
from django.core.files.storage import InMemoryStorage, Storage, storages
from pytest_django import Settings

from django_inference.artifacts import Artifact
from django_inference.artifacts.errors import ArtifactError
from django_inference.artifacts.fetch import fetch, tag_of
from django_inference.artifacts.records import StoreSettings

WEIGHTS = os.urandom(3_000_000)


class Bucket(Storage):
    """A store of objects: folders exist by the names of what is in them, and there is no disk."""

    def __init__(self) -> None:
        self._objects: dict[str, tuple[bytes, datetime]] = {}

    def _open(self, name: str, mode: str = "rb") -> File[bytes]:
        return File(io.BytesIO(self._objects[name][0]), name)

    def _save(self, name: str, content: Any) -> str:
        self._objects[name] = content.read(), datetime.now(UTC)
        return name

    def delete(self, name: str) -> None:
        del self._objects[name]

    def exists(self, name: str) -> bool:
        return name in self._objects

    def size(self, name: str) -> int:
        return len(self._objects[name][0])

    def listdir(self, path: str) -> tuple[list[str], list[str]]:
        prefix = f"{path}/"
        below = [name.removeprefix(prefix) for name in self._objects if name.startswith(prefix)]
        folders = {name.partition("/")[0] for name in below if "/" in name}
        return sorted(folders), [name for name in below if "/" not in name]

    def get_modified_time(self, name: str) -> datetime:
        return self._objects[name][1]


class Timeless(InMemoryStorage):
    """Has paths that are not on the disk, and keeps no times."""

    def get_modified_time(self, name: str) -> datetime:
        raise NotImplementedError


@pytest.fixture(autouse=True)
def shelves(settings: Settings, tmp_path: Path) -> None:
    settings.STORAGES = {
        "default": {
            "BACKEND": "django.core.files.storage.FileSystemStorage",
            "OPTIONS": {"location": tmp_path / "media"},
        },
        "bucket": {"BACKEND": f"{__name__}.Bucket"},
        "timeless": {"BACKEND": f"{__name__}.Timeless"},
        "missing": {"BACKEND": "storages.backends.nowhere.Storage"},
    }


def save(alias: str, **files: bytes) -> None:
    for name, content in files.items():
        storages[alias].save(name.replace("__", "/").replace("_dot_", "."), ContentFile(content))


each_kind = pytest.mark.parametrize("alias", ["default", "bucket", "timeless"])


@each_kind
def test_a_file_and_a_folder(alias: str, settings_of_store: StoreSettings) -> None:
    save(alias, models__3__a=b"a", models__3__deep__er__b=WEIGHTS, models__m_dot_onnx=b"m")
    file = fetch(f"storage:{alias}:models/m.onnx", settings_of_store)
    assert Path(file.path).name == "m.onnx"
    assert Path(file.path).read_bytes() == b"m"
    folder = fetch(f"storage:{alias}:models/3/", settings_of_store)
    assert Path(folder.path, "deep/er/b").read_bytes() == WEIGHTS
    assert len(list(Artifact(folder.path).files())) == 2
    assert fetch(f"storage:{alias}:models/3", settings_of_store).path == folder.path


def test_the_default_storage_needs_no_alias(settings_of_store: StoreSettings) -> None:
    save("default", m_dot_onnx=b"m")
    assert Path(fetch("storage:m.onnx", settings_of_store).path).read_bytes() == b"m"


def test_a_change_is_seen_where_the_storage_keeps_times(
    settings_of_store: StoreSettings, tmp_path: Path
) -> None:
    save("default", m=b"old")
    save("timeless", m=b"old")
    tag = tag_of("storage:m", "")
    assert tag and tag_of("storage:m", tag) == tag
    (tmp_path / "media" / "m").write_bytes(b"new")
    os.utime(tmp_path / "media" / "m", (1, 1))
    assert tag_of("storage:m", tag) != tag
    assert tag_of("storage:timeless:m", "") == ""
    first = fetch("storage:timeless:m", settings_of_store)
    storages["timeless"].delete("m")
    save("timeless", m=b"new")
    assert fetch("storage:timeless:m", settings_of_store).digest != first.digest


@each_kind
def test_what_is_not_there_is_named(alias: str, settings_of_store: StoreSettings) -> None:
    save(alias, other=b"x")
    for path in ("models/3/", "m.onnx"):
        with pytest.raises(ArtifactError, match=f"storage:{alias}:{path}"):
            fetch(f"storage:{alias}:{path}", settings_of_store)


def test_a_storage_that_cannot_be_had_is_named(settings_of_store: StoreSettings) -> None:
    with pytest.raises(ArtifactError, match="STORAGES has no 'nowhere' that can be used"):
        fetch("storage:nowhere:m", settings_of_store)
    with pytest.raises(ArtifactError, match="STORAGES has no 'missing' that can be used"):
        fetch("storage:missing:m", settings_of_store)


def test_a_storage_cannot_be_left(settings_of_store: StoreSettings, tmp_path: Path) -> None:
    (tmp_path / "media").mkdir()
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "media" / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(ArtifactError, match="names nothing in a storage"):
        fetch("storage:../secret", settings_of_store)


def test_a_storage_that_disappears_in_between(
    settings_of_store: StoreSettings, tmp_path: Path
) -> None:
    save("default", m=b"m")
    copy = fetch("storage:m", settings_of_store)
    (tmp_path / "media").rename(tmp_path / "gone")
    with pytest.raises(ArtifactError, match="storage:m: .*No such file"):
        fetch("storage:m", settings_of_store)
    # What is pinned and here needs no storage.
    assert fetch("storage:m", settings_of_store, sha256=copy.digest).path == copy.path
