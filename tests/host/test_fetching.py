"""Models that lie elsewhere, from the process that fetches to the answers of a worker."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import psutil
import pytest
from django.core.cache import caches
from pytest_django import Settings

from django_inference.artifacts.cache import cache_bytes, chunk_key
from django_inference.artifacts.location import locate
from django_inference.artifacts.orders import Came, Fetched, Order, Tagged
from django_inference.artifacts.push import push
from django_inference.artifacts.records import StoreSettings
from django_inference.exceptions import ModelLoadFailed, ModelNotReady
from django_inference.host import watching
from django_inference.host.control import Refused
from django_inference.host.deployment import Deployment
from django_inference.host.fetcher import FetchError, carry_out
from django_inference.host.fetching import Files
from django_inference.host.protocol import Reload, Rollback, Unload
from django_inference.specs import ModelSpec, PythonEnvironment, State, Status, Supervision
from tests.artifacts.servers import WebServer, serving
from tests.cache_servers import redis_server
from tests.host.crowd import Crowd
from tests.hosts import Host, do, eventually, is_gone

ARTIFACT = do("artifact")


@pytest.fixture
def web(tmp_path: Path) -> Iterator[WebServer]:
    (tmp_path / "web").mkdir()
    with serving(tmp_path / "web") as server:
        yield server


def put(web: WebServer, text: str) -> str:
    """Publish a model; its URL."""
    fresh = web.folder / "model.new"
    fresh.write_text(text)
    fresh.replace(web.folder / "model.txt")
    return web.url("model.txt")


def status_of(host: Host, alias: str) -> Status:
    status = host.status(alias)
    assert status
    return status


def fetcher(host: Host) -> psutil.Process:
    """The process of the host that fetches."""
    (found,) = [
        process for process in host.processes() if "django_inference.artifacts" in process.cmdline()
    ]
    return found


def test_a_model_is_fetched_and_served(shared: Host, alias: str, web: WebServer) -> None:
    client = shared.client(shared.spec(alias, artifact=put(web, "one"), replicas=2))
    assert client.one(ARTIFACT) == "one"
    status = shared.wait_status(lambda status: status.progress is None, alias)
    assert status.state is State.READY
    assert (status.version != "", status.next_version) == (True, "")
    # Once, for both replicas.
    assert web.sent == len("one")
    copies = Path(shared.settings.artifact_dir, "copies")
    assert [path.read_text() for path in copies.glob("*/files/model.txt")] == ["one"]


def test_status_says_how_far_the_transfer_is(shared: Host, alias: str, web: WebServer) -> None:
    web.hold.clear()
    spec = shared.spec(alias, artifact=put(web, "one " * 100_000))
    shared.declare(spec)
    status = shared.wait_status(lambda status: status.progress and status.progress.done, alias)
    assert status.progress
    assert (status.state, status.version) == (State.LOADING, "")
    assert (status.progress.stage, status.progress.total) == ("fetching", 400_000)
    assert 0 < status.progress.done < 400_000
    assert 0 < status.progress.seconds < 60
    # The supervisor answers all the while, and a call waits for its deadline only.
    with pytest.raises(ModelNotReady):
        shared.client(spec).one(ARTIFACT, timeout=0.1)
    web.hold.set()
    assert shared.client(spec).one(ARTIFACT) == "one " * 100_000
    assert status_of(shared, alias).progress is None


def test_the_same_content_is_the_same_version_on_every_machine(
    new_host: Callable[..., Host], web: WebServer
) -> None:
    versions = set()
    for _ in range(2):
        host = new_host()
        host.client(host.spec(artifact=put(web, "one"), journal="")).one(1)
        versions.add(status_of(host, "model").version)
    assert len(versions) == 1


def test_reload_asks_the_source_and_rollback_takes_the_older_copy(
    shared: Host, alias: str, web: WebServer
) -> None:
    client = shared.client(shared.spec(alias, artifact=put(web, "one")))
    with Crowd(client, ARTIFACT, threads=2) as crowd:
        first = status_of(shared, alias).version
        put(web, "two")
        shared.ask(Reload(alias))
        eventually(lambda: client.one(ARTIFACT) == "two")
        second = status_of(shared, alias).version
        assert second != first
        # Back without the source: the copy is still here.
        (web.folder / "model.txt").unlink()
        shared.ask(Rollback(alias))
        eventually(lambda: client.one(ARTIFACT) == "one")
        assert shared.wait_status(lambda s: not s.next_version, alias).version == first
        # And forward again.
        shared.ask(Rollback(alias))
        eventually(lambda: client.one(ARTIFACT) == "two")
        assert shared.wait_status(lambda s: not s.next_version, alias).version == second
    assert crowd.errors == []
    assert web.sent == len("one") + len("two")


def test_there_is_no_way_back_to_a_copy_that_is_gone(
    shared: Host, alias: str, web: WebServer
) -> None:
    client = shared.client(shared.spec(alias, artifact=put(web, "one")))
    assert client.one(ARTIFACT) == "one"
    put(web, "two")
    shared.ask(Reload(alias))
    eventually(lambda: client.one(ARTIFACT) == "two")
    for copy in Path(shared.settings.artifact_dir, "copies").glob("*/files/model.txt"):
        if copy.read_text() == "one":
            copy.unlink()
    with pytest.raises(Refused, match="have been replaced"):
        shared.ask(Rollback(alias))
    assert client.one(ARTIFACT) == "two"


@pytest.mark.parametrize("spoil", ["gone", "broken", "cut", "pin"])
def test_a_reload_that_cannot_be_had_leaves_the_old_version_serving(
    spoil: str, shared: Host, alias: str, web: WebServer
) -> None:
    url = put(web, "one")
    pin = hashlib.sha256(b"one").hexdigest() if spoil == "pin" else None
    client = shared.client(shared.spec(alias, artifact=url, salt="a"), declared_at=1.0)
    assert client.one(ARTIFACT) == "one"
    put(web, "broken" if spoil == "broken" else "two " * 1000)
    if spoil == "gone":
        (web.folder / "model.txt").unlink()
    elif spoil == "cut":
        web.cuts = [1000, *[0] * 1000]
    elif spoil == "pin":
        # Another pin than what lies there, and no copy of it on this machine.
        pin = "0" * 64
    with Crowd(client, ARTIFACT, threads=2) as crowd:
        shared.declare(shared.spec(alias, artifact=url, sha256=pin, salt="b"), 2.0)
        status = shared.wait_status(lambda status: status.error, alias)
    said = {
        "gone": "answered 404",
        "broken": "the artifact is broken",
        "cut": "1000 bytes came instead of 4000",
        "pin": "SHA256 pins 0000",
    }[spoil]
    assert status.error and said in status.error.message
    assert status.state is State.READY
    assert status.retry_after is not None or status.next_version
    assert crowd.errors == []
    assert set(crowd.answers) == {"one"}


def test_a_model_that_cannot_be_had_is_asked_for_again(
    shared: Host, alias: str, web: WebServer
) -> None:
    url = web.url("model.txt")
    client = shared.client(shared.spec(alias, artifact=url))
    with pytest.raises(ModelLoadFailed, match="answered 404"):
        client.one(ARTIFACT, timeout=20.0)
    status = shared.wait_status(lambda status: status.state is State.FAILED, alias)
    assert status.retry_after is not None
    assert "cannot fetch alias=" in shared.log()
    put(web, "here at last")
    eventually(lambda: answer_of(lambda: client.one(ARTIFACT)) == "here at last")


def answer_of(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except ModelLoadFailed:
        return None


def test_a_model_that_was_broken_is_fetched_anew_when_it_is_mended(
    shared: Host, alias: str, web: WebServer
) -> None:
    client = shared.client(shared.spec(alias, artifact=put(web, "broken")))
    with pytest.raises(ModelLoadFailed, match="the artifact is broken"):
        client.one(ARTIFACT)
    put(web, "mended")
    eventually(lambda: answer_of(lambda: client.one(ARTIFACT)) == "mended")


def test_a_worker_that_is_started_again_needs_no_source(
    shared: Host, alias: str, web: WebServer
) -> None:
    client = shared.client(shared.spec(alias, artifact=put(web, "one")))
    pid = client.one(do("pid"))
    put(web, "two")
    asked = len(web.requests)
    os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: client.one(do("pid")) != pid)
    assert client.one(ARTIFACT) == "one"
    assert len(web.requests) == asked


def test_what_was_unloaded_comes_back_as_it_was(shared: Host, alias: str, web: WebServer) -> None:
    client = shared.client(shared.spec(alias, artifact=put(web, "one")))
    assert client.one(ARTIFACT) == "one"
    (web.folder / "model.txt").unlink()
    shared.ask(Unload(alias))
    assert client.one(ARTIFACT) == "one"


def test_a_fetch_that_nobody_wants_any_more_is_ended(
    new_host: Callable[..., Host], web: WebServer
) -> None:
    host = new_host()
    web.hold.clear()
    host.declare(host.spec(artifact=put(web, "one " * 100_000)))
    host.wait_status(lambda status: status.progress and status.progress.done)
    process = fetcher(host)
    host.ask(Unload("model"))
    eventually(lambda: is_gone(process))
    # The next one goes on with what has come.
    web.hold.set()
    assert host.client(host.spec(artifact=web.url("model.txt"))).one(ARTIFACT) == "one " * 100_000


def test_a_fetch_leaves_with_a_supervisor_that_was_killed(
    new_host: Callable[..., Host], web: WebServer
) -> None:
    host = new_host()
    web.hold.clear()
    supervisor = host.start()
    host.declare(host.spec(artifact=put(web, "one " * 100_000)))
    host.wait_status(lambda status: status.progress and status.progress.done)
    process = fetcher(host)
    supervisor.kill()
    supervisor.wait()
    eventually(lambda: is_gone(process))


def test_a_process_that_fetches_and_dies_is_reported(
    shared: Host, alias: str, web: WebServer
) -> None:
    web.hold.clear()
    shared.declare(shared.spec(alias, artifact=put(web, "one " * 100_000)))
    shared.wait_status(lambda status: status.progress and status.progress.done, alias)
    process = fetcher(shared)
    process.kill()
    status = shared.wait_status(lambda status: status.error, alias)
    assert status.error
    assert "the process that fetches it ended with signal 9" in status.error.message
    web.hold.set()
    shared.wait_status(lambda status: status.state is State.READY, alias)


def test_a_copy_that_was_tampered_with_is_kept_out_by_its_pin_and_fetched_again(
    shared: Host, alias: str, web: WebServer
) -> None:
    url = put(web, "one")
    pin = hashlib.sha256(b"one").hexdigest()
    client = shared.client(shared.spec(alias, artifact=url, sha256=pin))
    assert client.one(ARTIFACT) == "one"
    copies = Path(shared.settings.artifact_dir, "copies")
    (copy,) = copies.glob(f"file-{pin}/files/model.txt")
    copy.write_text("evil")
    shared.ask(Reload(alias))
    shared.wait_status(lambda status: not status.next_version, alias)
    assert client.one(ARTIFACT) == "one"
    assert copy.read_text() == "one"


def test_a_storage_and_a_cache_are_asked_with_django_set_up(
    shared: Host, alias: str, tmp_path: Path
) -> None:
    """Only in the process that fetches: the worker of a built-in runtime has no Django."""
    package = tmp_path / "code"
    package.mkdir()
    (package / "fetching_settings.py").write_text(
        "SECRET_KEY = 'x'\n"
        "print('settings may print')\n"
        "STORAGES = {'models': {'BACKEND': 'django.core.files.storage.FileSystemStorage',\n"
        f"    'OPTIONS': {{'location': {str(tmp_path / 'media')!r}}}}}}}\n"
    )
    (tmp_path / "media").mkdir()
    (tmp_path / "media" / "model.txt").write_text("stored")
    spec = msgspec.structs.replace(
        shared.spec(alias, artifact="storage:models:model.txt"),
        artifact_environment=PythonEnvironment(
            settings_module="fetching_settings", path=(str(package), *sys.path)
        ),
    )
    client = shared.client(spec)
    assert client.one(ARTIFACT) == "stored"
    (tmp_path / "media" / "model.txt").unlink()
    shared.ask(Reload(alias))
    status = shared.wait_status(lambda status: status.error, alias)
    assert status.error and "storage:models:model.txt" in status.error.message
    assert status.error.traceback
    assert client.one(ARTIFACT) == "stored"


def test_a_cache_that_has_evicted_the_weights(
    shared: Host, alias: str, tmp_path: Path, settings: Settings
) -> None:
    """The host reads them from a real Redis; what is lost is named, and the old model serves."""
    package = tmp_path / "code"
    package.mkdir()
    with redis_server() as url:
        cache = {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": url}
        settings.CACHES = {"models": cache}
        (package / "caching_settings.py").write_text(
            f"SECRET_KEY = 'x'\nCACHES = {settings.CACHES!r}\n"
        )
        (tmp_path / "model.txt").write_text("one " * 1000)
        manifest = push(tmp_path / "model.txt", locate("cache:models/m"), chunk_size=1000)
        spec = msgspec.structs.replace(
            shared.spec(alias, artifact="cache:models/m"),
            artifact_environment=PythonEnvironment(
                settings_module="caching_settings", path=(str(package), *sys.path)
            ),
        )
        client = shared.client(spec)
        assert client.one(ARTIFACT) == "one " * 1000
        (tmp_path / "model.txt").write_text("two " * 1000)
        manifest = push(tmp_path / "model.txt", locate("cache:models/m"), chunk_size=1000)
        (chunk,) = manifest.chunks
        cache_bytes("models").delete(chunk_key("m", chunk))
        shared.ask(Reload(alias))
        status = shared.wait_status(lambda status: status.error, alias)
        assert status.error
        assert "chunk 1 of 4 of model.txt is gone: the cache has evicted it" in status.error.message
        assert status.state is State.READY
        assert client.one(ARTIFACT) == "one " * 1000
        push(tmp_path / "model.txt", locate("cache:models/m"), chunk_size=1000)
        eventually(lambda: client.one(ARTIFACT) == "two " * 1000)
        caches["models"].close()


def test_a_runtime_says_where_it_runs(shared: Host, alias: str, onnx_mlp: Path) -> None:
    client = shared.client(
        shared.spec(alias, "django_inference.runtimes.onnx.OnnxRuntime", artifact=onnx_mlp)
    )
    client.ask({"x": np.zeros((1, 4), "float32")})
    (replica,) = status_of(shared, alias).replicas
    assert replica.device == "cpu"
    assert replica.framework.startswith("onnxruntime ")


def test_the_stages_of_a_load_are_seen(shared: Host, alias: str) -> None:
    shared.declare(shared.spec(alias, load_seconds=1.0))
    status = shared.wait_status(lambda status: status.progress, alias)
    assert status.progress and status.progress.stage == "loading"
    shared.wait_status(lambda status: status.state is State.READY and not status.progress, alias)


# The process itself.


def order(url: str, folder: Path, **more: Any) -> Order:
    return Order(location=url, store=StoreSettings(str(folder)), **more)


async def test_an_order_is_carried_out(web: WebServer, tmp_path: Path) -> None:
    said: list[Came] = []
    url = put(web, "one")
    fetched = await carry_out(order(url, tmp_path / "a"), said.append)
    assert isinstance(fetched, Fetched)
    assert Path(fetched.copy.path).read_text() == "one"
    assert said[-1] == Came(3, 3)
    tagged = await carry_out(order(url, tmp_path / "a", tag=""), said.append)
    assert tagged == Tagged(fetched.copy.tag)


async def test_an_order_that_fails_says_why(web: WebServer, tmp_path: Path) -> None:
    with pytest.raises(FetchError, match="answered 404") as caught:
        await carry_out(order(web.url("absent"), tmp_path / "a"), lambda came: None)
    assert "in _open" in caught.value.report.traceback
    assert caught.value.report.at > 0


async def test_many_who_need_the_files_wait_for_one_transfer(
    web: WebServer, tmp_path: Path
) -> None:
    spec = ModelSpec(alias="m", runtime="r", artifact=put(web, "one"))
    files = Files(spec, StoreSettings(str(tmp_path / "a")))
    first = asyncio.create_task(files.fetched(spec))
    others = [asyncio.create_task(files.fetched(spec)) for _ in range(5)]
    await asyncio.sleep(0)
    # One replica that is stopped does not end the transfer of the others.
    first.cancel()
    paths = {(await other).artifact for other in others}
    assert len(paths) == 1
    assert web.sent == 3
    assert files.are_here
    files.release()
    await files.stop()


# Watching a source.


@asynccontextmanager
async def deployed(spec: ModelSpec, folder: Path) -> AsyncIterator[Deployment]:
    """A deployment in this process, which is looked at now and then."""
    folder.mkdir()
    store = StoreSettings(str(folder / "artifacts"))
    deployment = Deployment(spec.alias, folder, 1.0, lambda: None, store)
    deployment.declare(spec, 1.0)
    done = asyncio.Event()

    async def look() -> None:
        while not done.is_set():
            deployment.look()
            await asyncio.sleep(0.05)

    looking = asyncio.create_task(look())
    try:
        yield deployment
    finally:
        done.set()
        await looking
        await deployment.stop()


async def until(condition: Callable[[], Any]) -> None:
    limit = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < limit
        await asyncio.sleep(0.02)


@pytest.fixture
def watched(
    new_host: Callable[..., Host], web: WebServer, monkeypatch: pytest.MonkeyPatch
) -> ModelSpec:
    monkeypatch.setattr(watching, "EVERY", 0.2)
    host = new_host()
    return host.spec(artifact=put(web, "one"), supervision=Supervision(watch=True))


async def test_a_source_that_changes_is_loaded_again(
    watched: ModelSpec, web: WebServer, tmp_path: Path
) -> None:
    async with deployed(watched, tmp_path / "d") as deployment:
        await until(lambda: deployment.status().state is State.READY)
        first = deployment.status().version
        put(web, "two")
        await until(lambda: deployment.status().version != first)
        second = deployment.status().version
        # From now on nothing changes, and nothing is loaded.
        replicas = deployment.status().replicas
        asked = len(web.requests)
        await until(lambda: len(web.requests) > asked + 2)
        assert deployment.status().replicas[0].pid == replicas[0].pid
        # Whatever has been rolled back is not brought in again by watching.
        deployment.rollback()
        await until(
            lambda: deployment.status().version == first and not deployment.status().next_version
        )
        asked = len(web.requests)
        await until(lambda: len(web.requests) > asked + 3)
        assert deployment.status().version == first != second


async def test_a_source_that_cannot_be_asked_is_told_once(
    watched: ModelSpec, web: WebServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with deployed(watched, tmp_path / "d") as deployment:
        await until(lambda: deployment.status().state is State.READY)
        first = deployment.status().version
        (web.folder / "model.txt").unlink()
        asked = len(web.requests)
        await until(lambda: len(web.requests) > asked + 2)
        assert deployment.status().state is State.READY
        assert caplog.text.count("cannot watch the source alias=model") == 1
        put(web, "back")
        await until(lambda: deployment.status().version != first)


async def test_a_source_without_tags_is_not_watched(
    watched: ModelSpec, web: WebServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    web.etags = False
    async with deployed(watched, tmp_path / "d") as deployment:
        await until(lambda: deployment.status().state is State.READY)
        await until(lambda: "cannot watch the source" in caplog.text)
        asked = len(web.requests)
        await asyncio.sleep(1.0)
        assert len(web.requests) == asked


async def test_who_declares_the_model_anew_has_the_source_asked_once(
    watched: ModelSpec, web: WebServer, tmp_path: Path
) -> None:
    spec = msgspec.structs.replace(watched, supervision=Supervision())
    async with deployed(spec, tmp_path / "d") as deployment:
        await until(lambda: deployment.status().state is State.READY)
        first = deployment.status().version
        put(web, "two")
        asked = len(web.requests)
        await asyncio.sleep(0.6)
        assert len(web.requests) == asked
        deployment.declare(spec, 2.0)
        await until(lambda: deployment.status().version != first)
