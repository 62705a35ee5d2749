from __future__ import annotations

import hashlib
import os
import pickle
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from django.core.cache import caches
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import Settings

from django_inference.artifacts import Artifact
from django_inference.artifacts.cache import cache_bytes, chunk_key
from django_inference.artifacts.errors import ArtifactError, ManifestError
from django_inference.artifacts.fetch import fetch, tag_of
from django_inference.artifacts.location import locate
from django_inference.artifacts.manifest import Manifest, decode, describe
from django_inference.artifacts.push import push
from django_inference.artifacts.records import StoreSettings
from tests.cache_servers import memcached_server, redis_server

WEIGHTS = os.urandom(2_500_000)


@pytest.fixture(scope="module")
def redis() -> Iterator[str]:
    with redis_server() as url:
        yield url


@pytest.fixture(scope="module")
def memcached() -> Iterator[str]:
    with memcached_server() as address:
        yield address


@pytest.fixture(params=["redis", "memcached"])
def alias(request: pytest.FixtureRequest, settings: Settings) -> Iterator[str]:
    alias: str = request.param
    backend = {"redis": "redis.RedisCache", "memcached": "memcached.PyMemcacheCache"}[alias]
    settings.CACHES = {
        alias: {
            "BACKEND": f"django.core.cache.backends.{backend}",
            "LOCATION": request.getfixturevalue(alias),
            "KEY_PREFIX": "shop",
        }
    }
    yield alias
    caches[alias].clear()
    caches[alias].close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "saved"
    (folder / "variables").mkdir(parents=True)
    (folder / "variables" / "data").write_bytes(WEIGHTS)
    (folder / "empty").touch()
    (folder / "graph.pb").write_bytes(b"graph")
    return folder


def set_bytes(alias: str, key: str, value: bytes) -> None:
    with closing(cache_bytes(alias)) as raw:
        raw.set(key, value, None)


def delete_bytes(alias: str, key: str) -> None:
    with closing(cache_bytes(alias)) as raw:
        raw.delete(key)


class Bomb:
    """Unpickling it ends the tests."""

    def __reduce__(self) -> Any:
        return (sys.exit, ("something was unpickled",))


def test_a_folder_comes_out_as_it_was_put_in(
    alias: str, folder: Path, settings_of_store: StoreSettings
) -> None:
    where = locate(f"cache:{alias}/detector")
    said: list[tuple[int, int]] = []
    manifest = push(folder, where, told=lambda done, total: said.append((done, total)))
    assert said[-1][0] == said[-1][1] == 2 * (len(WEIGHTS) + 5)
    assert [len(file.chunks) for file in manifest.files] == [0, 1, 3]
    copy = fetch(where.text, settings_of_store)
    assert copy.digest == Artifact(folder).digest()
    assert Path(copy.path, "empty").exists()


def test_a_file_keeps_its_name(alias: str, folder: Path, settings_of_store: StoreSettings) -> None:
    push(folder / "graph.pb", locate(f"cache:{alias}/detector"))
    copy = fetch(f"cache:{alias}/detector", settings_of_store)
    assert Path(copy.path).name == "graph.pb"


def test_what_is_pushed_anew_is_fetched_and_the_old_chunks_go(
    alias: str, folder: Path, settings_of_store: StoreSettings
) -> None:
    where = locate(f"cache:{alias}/detector")
    old = push(folder, where)
    tag = tag_of(where.text, "")
    first = fetch(where.text, settings_of_store)
    assert tag == first.tag
    (folder / "graph.pb").write_bytes(b"another graph")
    new = push(folder, where)
    assert tag_of(where.text, tag) != tag
    assert fetch(where.text, settings_of_store).digest == Artifact(folder).digest()
    (gone,) = old.chunks - new.chunks
    with closing(cache_bytes(alias)) as raw:
        assert raw.get(chunk_key("detector", gone)) is None
    assert Path(first.path).exists()


def test_nothing_is_ever_unpickled(alias: str, settings_of_store: StoreSettings) -> None:
    """Whoever can write to the cache cannot run code in who fetches from it."""
    caches[alias].set("detector", Bomb())
    with pytest.raises(ManifestError, match="holds no manifest"):
        fetch(f"cache:{alias}/detector", settings_of_store)
    content = pickle.dumps(Bomb())
    manifest = one_chunk(content)
    set_bytes(alias, "detector", msgspec.json.encode(manifest))
    caches[alias].set(chunk_key("detector", manifest.files[0].chunks[0]), Bomb())
    try:
        copy = fetch(f"cache:{alias}/detector", settings_of_store)
    except ArtifactError as error:
        # Pickled in another protocol, perhaps: still nothing but bytes that differ.
        assert "SHA-256" in str(error) or "bytes came" in str(error)
    else:
        assert Path(copy.path).read_bytes() == content


def one_chunk(content: bytes, name: str = "m.onnx") -> Manifest:
    digest = hashlib.sha256(content).hexdigest()
    file = {"name": name, "size": len(content), "sha256": digest, "chunks": [digest]}
    return msgspec.convert({"is_folder": False, "chunk_size": 1_000_000, "files": [file]}, Manifest)


def test_a_chunk_that_was_evicted_is_named(
    alias: str, folder: Path, settings_of_store: StoreSettings
) -> None:
    manifest = push(folder, locate(f"cache:{alias}/detector"))
    second = manifest.files[2].chunks[1]
    delete_bytes(alias, chunk_key("detector", second))
    with pytest.raises(ArtifactError, match="chunk 2 of 3 of variables/data is gone"):
        fetch(f"cache:{alias}/detector", settings_of_store)
    push(folder, locate(f"cache:{alias}/detector"))
    assert fetch(f"cache:{alias}/detector", settings_of_store).digest == Artifact(folder).digest()


def test_a_chunk_that_was_tampered_with_is_named(
    alias: str, folder: Path, settings_of_store: StoreSettings
) -> None:
    manifest = push(folder, locate(f"cache:{alias}/detector"))
    set_bytes(alias, chunk_key("detector", manifest.files[1].chunks[0]), b"forge")
    with pytest.raises(ArtifactError, match="chunk 1 of 1 of graph.pb is not what was pushed"):
        fetch(f"cache:{alias}/detector", settings_of_store)


def test_a_whole_model_that_was_exchanged_is_kept_out_by_a_pin(
    alias: str, folder: Path, settings_of_store: StoreSettings
) -> None:
    good = Artifact(folder / "graph.pb").digest()
    where = locate(f"cache:{alias}/detector")
    push(folder / "graph.pb", where)
    fetch(where.text, settings_of_store, sha256=good)
    (folder / "graph.pb").write_bytes(b"forged")
    push(folder / "graph.pb", where)
    fetch(where.text, settings_of_store)
    other = StoreSettings(f"{settings_of_store.folder}-of-another-host")
    with pytest.raises(ArtifactError, match="SHA256 pins"):
        fetch(where.text, other, sha256=good)


def test_a_key_that_holds_nothing_is_named(alias: str, settings_of_store: StoreSettings) -> None:
    with pytest.raises(ArtifactError, match="has no such key"):
        fetch(f"cache:{alias}/absent", settings_of_store)


def test_the_value_of_somebody_else_is_no_model(
    alias: str, settings_of_store: StoreSettings
) -> None:
    caches[alias].set("page", "<html>")
    with pytest.raises(ManifestError, match="holds no manifest of a model"):
        fetch(f"cache:{alias}/page", settings_of_store)


def test_a_lifetime_is_kept_to(alias: str, folder: Path) -> None:
    push(folder / "graph.pb", locate(f"cache:{alias}/a"), timeout=1000)
    push(folder / "graph.pb", locate(f"cache:{alias}/b"))
    if alias == "redis":
        client = cast(Any, caches[alias])._cache.get_client()
        assert client.ttl(caches[alias].make_key("a")) in range(900, 1001)
        assert client.ttl(caches[alias].make_key("b")) == -1


def test_a_server_that_is_gone_is_named(
    settings: Settings, folder: Path, settings_of_store: StoreSettings
) -> None:
    settings.CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": "redis://127.0.0.1:9",
        }
    }
    for act in (
        lambda: fetch("cache:default/m", settings_of_store),
        lambda: push(folder, locate("cache:default/m")),
    ):
        with pytest.raises(ArtifactError, match="cache:default/m: ConnectionError"):
            act()


def test_a_redis_that_is_too_small_is_found_out(settings: Settings, folder: Path) -> None:
    with redis_server("--maxmemory", "3mb", "--maxmemory-policy", "allkeys-lru") as url:
        settings.CACHES = {
            "default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": url}
        }
        with pytest.raises(ArtifactError, match="too little room|gone as soon as it was written"):
            push(folder, locate("cache:default/m"))
        caches["default"].close()


def test_a_memcached_takes_no_more_than_a_megabyte_at_once(
    memcached: str, settings: Settings, folder: Path
) -> None:
    settings.CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.memcached.PyMemcacheCache",
            "LOCATION": memcached,
        }
    }
    with pytest.raises(ArtifactError, match="too large|did not take"):
        push(folder, locate("cache:default/m"), chunk_size=1_200_000)


@pytest.mark.parametrize(
    "backend",
    [
        "django.core.cache.backends.locmem.LocMemCache",
        "django.core.cache.backends.filebased.FileBasedCache",
        "django.core.cache.backends.db.DatabaseCache",
        "django.core.cache.backends.dummy.DummyCache",
    ],
)
def test_a_cache_that_unpickles_is_refused(
    backend: str,
    settings: Settings,
    folder: Path,
    tmp_path: Path,
    settings_of_store: StoreSettings,
) -> None:
    settings.CACHES = {"default": {"BACKEND": backend, "LOCATION": str(tmp_path / "cache")}}
    for act in (
        lambda: fetch("cache:default/m", settings_of_store),
        lambda: push(folder, locate("cache:default/m")),
    ):
        with pytest.raises(ArtifactError, match=f"{backend}, which unpickles what it reads"):
            act()


def test_a_cache_that_is_not_declared_is_named(settings_of_store: StoreSettings) -> None:
    with pytest.raises(ArtifactError, match="CACHES has no 'nowhere'"):
        fetch("cache:nowhere/m", settings_of_store)


# Manifests.


def test_a_manifest_comes_back_from_its_json(folder: Path) -> None:
    manifest = describe(folder, 1_000_000)
    assert decode(msgspec.json.encode(manifest), "x") == manifest
    assert describe(folder / "graph.pb", 1_000_000).is_folder is False


def changed(**changes: Any) -> bytes:
    plain = msgspec.to_builtins(one_chunk(b"weights"))
    for key, value in changes.items():
        (plain if key in plain else plain["files"][0])[key] = value
    return msgspec.json.encode(plain)


@pytest.mark.parametrize(
    "raw",
    [
        *(b"", b"{}", b"null", b"\x80\x04.", b"[" * 100_000),
        *(changed(size=-1), changed(size=2_000_000), changed(size=0), changed(size=1.5)),
        *(changed(chunk_size=0), changed(chunk_size=1 << 40), changed(chunks=[])),
        *(changed(chunks=["0" * 63]), changed(sha256="G" * 64), changed(name="../x")),
        *(changed(name="/etc/passwd"), changed(files=[]), changed(format="django-inference 2")),
        changed(unknown=1, extra=2),
        changed(files=msgspec.to_builtins(one_chunk(b"weights"))["files"] * 2),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(raw: bytes) -> None:
    with pytest.raises(ManifestError, match="cache:a/b"):
        decode(raw, "cache:a/b")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
FILE = st.fixed_dictionaries(
    {
        "name": st.text(max_size=10) | st.sampled_from(["a", "b/c", "../x"]),
        "size": st.integers(-1, 10**9) | JSON,
        "sha256": st.from_regex("[0-9a-f]{64}", fullmatch=True) | JSON,
        "chunks": st.lists(st.from_regex("[0-9a-f]{64}", fullmatch=True), max_size=3) | JSON,
    }
)
MANIFEST = st.fixed_dictionaries(
    {
        "is_folder": st.booleans(),
        "chunk_size": st.integers(-1, 10**10),
        "files": st.lists(FILE, max_size=3),
    }
)


@given(st.one_of(st.binary(), JSON.map(msgspec.json.encode), MANIFEST.map(msgspec.json.encode)))
def test_any_bytes_are_a_manifest_or_an_error(raw: bytes) -> None:
    try:
        found = decode(raw, "x")
    except ManifestError:
        return
    for file in found.files:
        assert 0 <= file.size <= len(file.chunks) * found.chunk_size
