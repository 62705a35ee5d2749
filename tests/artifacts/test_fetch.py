from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from django_inference.artifacts import Artifact
from django_inference.artifacts.errors import ArtifactError, TransferCut
from django_inference.artifacts.fetch import fetch, tag_of
from django_inference.artifacts.records import Copy, StoreSettings, localized
from django_inference.artifacts.room import SPARE
from django_inference.artifacts.store import Store
from django_inference.specs import ModelSpec
from tests.artifacts.servers import WebServer
from tests.hosts import eventually

WEIGHTS = os.urandom(300_000)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Progress:
    def __init__(self) -> None:
        self.said: list[tuple[int, int]] = []

    def __call__(self, done: int, total: int) -> None:
        self.said.append((done, total))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "source" / "saved"
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"graph")
    (folder / "variables" / "data").write_bytes(WEIGHTS)
    return folder


@pytest.fixture
def weights(web: WebServer) -> str:
    (web.folder / "m.onnx").write_bytes(WEIGHTS)
    return web.url("m.onnx")


# Files and folders of fsspec.


def test_a_file_is_copied_under_the_digest_of_its_content(
    folder: Path, settings_of_store: StoreSettings
) -> None:
    progress = Progress()
    file = folder / "variables" / "data"
    copy = fetch(f"file://{file}", settings_of_store, told=progress)
    assert Path(copy.path).read_bytes() == WEIGHTS
    assert Path(copy.path).name == "data"
    assert copy.digest == sha256(WEIGHTS) == Artifact(copy.path).digest()
    assert copy.digest in copy.path
    assert progress.said[-1] == (len(WEIGHTS), len(WEIGHTS))
    assert os.stat(settings_of_store.folder).st_mode & 0o077 == 0


def test_a_folder_is_copied_with_everything_in_it(
    folder: Path, settings_of_store: StoreSettings
) -> None:
    copy = fetch(f"file://{folder}", settings_of_store)
    assert copy.digest == Artifact(folder).digest() == Artifact(copy.path).digest()
    assert Path(copy.path, "variables", "data").read_bytes() == WEIGHTS
    assert fetch(f"file://{folder}/", settings_of_store).path == copy.path


def test_any_file_system_of_fsspec_will_do(settings_of_store: StoreSettings) -> None:
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    memory.pipe("/models/a/b.bin", WEIGHTS)
    memory.pipe("/models/c.bin", b"c")
    try:
        copy = fetch("memory://models", settings_of_store)
        assert sorted(os.listdir(copy.path)) == ["a", "c.bin"]
        memory.pipe("/models/c.bin", b"d")
        other = fetch("memory://models", settings_of_store)
        assert other.digest != copy.digest
        assert Path(copy.path).exists()
    finally:
        memory.rm("/models", recursive=True)


def test_a_chained_url_reads_out_of_an_archive(
    tmp_path: Path, settings_of_store: StoreSettings
) -> None:
    with zipfile.ZipFile(tmp_path / "c.zip", "w") as archive:
        archive.writestr("inner/m.onnx", b"onnx")
    copy = fetch(f"zip://inner/m.onnx::file://{tmp_path}/c.zip", settings_of_store)
    assert Path(copy.path).name == "m.onnx"
    assert Path(copy.path).read_bytes() == b"onnx"


def test_a_file_that_has_not_changed_is_not_read_again(
    folder: Path, settings_of_store: StoreSettings
) -> None:
    url = f"file://{folder}"
    first = fetch(url, settings_of_store)
    progress = Progress()
    assert fetch(url, settings_of_store, told=progress) == first
    assert progress.said == []
    (folder / "saved_model.pb").write_bytes(b"another")
    second = fetch(url, settings_of_store, told=progress)
    assert second.digest != first.digest
    assert progress.said
    assert Path(first.path).exists()


def test_the_tag_tells_a_change_without_reading(folder: Path) -> None:
    url = f"file://{folder}"
    tag = tag_of(url, "")
    assert tag and tag_of(url, tag) == tag
    (folder / "saved_model.pb").write_bytes(b"another")
    assert tag_of(url, tag) != tag


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("file:///not/there", "there is no such file or folder"),
        ("nosuch://a/b", "nosuch"),
        ("storage:", "names nothing in a storage"),
    ],
)
def test_what_cannot_be_had_is_named(url: str, said: str, settings_of_store: StoreSettings) -> None:
    with pytest.raises(ArtifactError, match=said) as caught:
        fetch(url, settings_of_store)
    assert url in str(caught.value)


# Over HTTP.


def test_a_file_from_a_web_server(
    web: WebServer, weights: str, settings_of_store: StoreSettings
) -> None:
    copy = fetch(weights, settings_of_store)
    assert Path(copy.path).read_bytes() == WEIGHTS
    assert Path(copy.path).name == "m.onnx"
    assert (len(web.requests), web.sent) == (2, len(WEIGHTS))
    assert fetch(weights, settings_of_store).path == copy.path
    assert web.sent == len(WEIGHTS)


@pytest.mark.parametrize("cuts", [[100_000], [1, 2, 3, 150_000]])
def test_a_transfer_that_is_cut_goes_on_where_it_was(
    cuts: list[int], web: WebServer, weights: str, settings_of_store: StoreSettings
) -> None:
    web.cuts = [*cuts]
    copy = fetch(weights, settings_of_store)
    assert Path(copy.path).read_bytes() == WEIGHTS
    assert web.sent == len(WEIGHTS)
    ranges = [wanted for _, wanted, _ in web.requests if wanted]
    sums = [sum(cuts[: n + 1]) for n in range(len(cuts))]
    assert ranges == [f"bytes={begin}-" for begin in sums]


def test_what_has_come_is_kept_for_the_next_attempt(
    web: WebServer, weights: str, settings_of_store: StoreSettings
) -> None:
    web.cuts = [100_000, 0, 0, 0]
    with pytest.raises(TransferCut, match=f"100000 bytes came instead of {len(WEIGHTS)}"):
        fetch(weights, settings_of_store)
    copy = fetch(weights, settings_of_store)
    assert Path(copy.path).read_bytes() == WEIGHTS
    assert web.sent == len(WEIGHTS)


def test_a_file_that_changes_in_between_is_begun_again(
    web: WebServer, weights: str, settings_of_store: StoreSettings
) -> None:
    web.cuts = [100_000, 0, 0, 0]
    with pytest.raises(TransferCut):
        fetch(weights, settings_of_store)
    other = os.urandom(len(WEIGHTS))
    (web.folder / "m.onnx").write_bytes(other)
    assert Path(fetch(weights, settings_of_store).path).read_bytes() == other


def test_a_server_without_ranges_or_validators_is_read_from_the_beginning(
    web: WebServer, weights: str, settings_of_store: StoreSettings
) -> None:
    web.ranges = False
    web.cuts = [100_000]
    assert Path(fetch(weights, settings_of_store).path).read_bytes() == WEIGHTS
    assert web.sent == len(WEIGHTS) + 100_000
    web.etags = False
    web.cuts = [100_000]
    (web.folder / "n.onnx").write_bytes(WEIGHTS)
    assert Path(fetch(web.url("n.onnx"), settings_of_store).path).read_bytes() == WEIGHTS
    # Nothing says that it is unchanged, so it is read each time.
    before = web.sent
    fetch(web.url("n.onnx"), settings_of_store)
    assert web.sent == before + len(WEIGHTS)
    assert tag_of(web.url("n.onnx"), "") == ""


def test_errors_of_the_web_show_no_secrets(
    web: WebServer, settings_of_store: StoreSettings
) -> None:
    url = web.url("absent.onnx?signature=secret").replace("//", "//me:secret@")
    with pytest.raises(ArtifactError, match="404 Not Found") as caught:
        fetch(url, settings_of_store)
    assert "secret" not in str(caught.value)
    assert web.requests[0][2] == "Basic bWU6c2VjcmV0"


def test_errors_of_libraries_show_no_secrets(settings_of_store: StoreSettings) -> None:
    for url in ("http://h/a b.onnx?signature=secret", "nosuch://me:secret@h/m?signature=secret"):
        with pytest.raises(ArtifactError) as caught:
            fetch(url, settings_of_store)
        assert "secret" not in str(caught.value)


def test_a_password_is_not_told_to_whom_a_server_refers(
    web: WebServer, weights: str, tmp_path: Path, settings_of_store: StoreSettings
) -> None:
    from tests.artifacts.servers import serving

    with serving(tmp_path) as front:
        front.refers_to = weights
        fetch(front.url("x.onnx").replace("//", "//me:secret@"), settings_of_store)
        assert front.requests[0][2]
    assert [authorization for _, _, authorization in web.requests] == ["", ""]


def test_a_server_that_refers_to_a_file_of_this_disk_is_not_followed(
    web: WebServer, tmp_path: Path, settings_of_store: StoreSettings
) -> None:
    (tmp_path / "secret").write_text("secret")
    web.refers_to = f"file://{tmp_path}/secret"
    with pytest.raises(ArtifactError):
        fetch(web.url("x.onnx"), settings_of_store)


def test_a_server_that_is_gone_is_named(tmp_path: Path, settings_of_store: StoreSettings) -> None:
    with pytest.raises(ArtifactError, match="Connection refused"):
        fetch("http://127.0.0.1:9/m.onnx", settings_of_store)


# Pins.


def test_a_pin_is_compared_with_what_came(
    web: WebServer, weights: str, settings_of_store: StoreSettings
) -> None:
    with pytest.raises(ArtifactError, match="SHA256 pins"):
        fetch(weights, settings_of_store, sha256="0" * 64)
    # What was refused is not transferred again, as long as it is the same.
    before = web.sent
    with pytest.raises(ArtifactError, match="SHA256 pins"):
        fetch(weights, settings_of_store, sha256="0" * 64)
    assert web.sent == before
    copy = fetch(weights, settings_of_store, sha256=sha256(WEIGHTS).upper())
    assert copy.digest == sha256(WEIGHTS)


def test_two_halves_that_do_not_belong_together_are_thrown_away(
    web: WebServer, weights: str, settings_of_store: StoreSettings, store: Store
) -> None:
    web.cuts = [100_000, 0, 0, 0]
    with pytest.raises(TransferCut):
        fetch(weights, settings_of_store)
    (half,) = (store.path / "partial").glob("*/files/m.onnx")
    half.write_bytes(bytes(100_000))
    with pytest.raises(ArtifactError, match="SHA256 pins"):
        fetch(weights, settings_of_store, sha256=sha256(WEIGHTS))
    assert fetch(weights, settings_of_store, sha256=sha256(WEIGHTS)).digest == sha256(WEIGHTS)


def test_what_is_pinned_and_here_is_not_asked_for(
    web: WebServer, weights: str, settings_of_store: StoreSettings
) -> None:
    fetch(weights, settings_of_store)
    asked = len(web.requests)
    copy = fetch(weights, settings_of_store, sha256=sha256(WEIGHTS))
    assert Path(copy.path).read_bytes() == WEIGHTS
    # Nor from another place, under another name.
    other = fetch("s3://nobody/has/this.bin", settings_of_store, sha256=sha256(WEIGHTS))
    assert Path(other.path).name == "this.bin"
    assert Path(other.path).read_bytes() == WEIGHTS
    assert len(web.requests) == asked


def test_a_copy_that_was_tampered_with_is_fetched_again(
    web: WebServer, weights: str, settings_of_store: StoreSettings
) -> None:
    copy = Path(fetch(weights, settings_of_store).path)
    copy.write_bytes(b"forged")
    assert Path(fetch(weights, settings_of_store).path).read_bytes() == WEIGHTS
    assert web.sent == 2 * len(WEIGHTS)
    # With the same size and time only the content tells: it is read where it is pinned.
    facts = copy.stat()
    copy.write_bytes(os.urandom(len(WEIGHTS)))
    os.utime(copy, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    pinned = fetch(weights, settings_of_store, sha256=sha256(WEIGHTS))
    assert Path(pinned.path).read_bytes() == WEIGHTS
    assert web.sent == 3 * len(WEIGHTS)


def test_a_copy_that_was_merely_touched_stays(
    web: WebServer, weights: str, settings_of_store: StoreSettings
) -> None:
    copy = fetch(weights, settings_of_store)
    os.utime(copy.path, ns=(1, 1))
    assert fetch(weights, settings_of_store) == copy
    assert web.sent == len(WEIGHTS)


# Archives.


def tar_of(folder: Path, name: str) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        archive.add(folder, arcname=name)
    return packed.getvalue()


def test_an_archive_becomes_a_folder_and_its_pin_is_its_own(
    web: WebServer, folder: Path, settings_of_store: StoreSettings
) -> None:
    packed = tar_of(folder, "saved")
    (web.folder / "m.tgz").write_bytes(packed)
    with pytest.raises(ArtifactError, match="SHA256 pins"):
        fetch(web.url("m.tgz"), settings_of_store, sha256=Artifact(folder).digest())
    copy = fetch(web.url("m.tgz"), settings_of_store, sha256=sha256(packed))
    assert copy.digest == Artifact(folder).digest()
    assert Path(copy.path, "variables", "data").read_bytes() == WEIGHTS
    spec = ModelSpec(alias="m", runtime="r", artifact=web.url("m.tgz"), sha256=sha256(packed))
    loaded = localized(spec, copy)
    Artifact(str(loaded.artifact), sha256=loaded.sha256).verify()
    asked = len(web.requests)
    assert fetch(web.url("m.tgz"), settings_of_store, sha256=sha256(packed)).path == copy.path
    assert len(web.requests) == asked
    assert fetch(web.url("m.tgz"), settings_of_store).path == copy.path


def test_an_archive_that_climbs_out_is_refused_and_leaves_nothing(
    web: WebServer, tmp_path: Path, settings_of_store: StoreSettings, store: Store
) -> None:
    with zipfile.ZipFile(web.folder / "m.zip", "w") as archive:
        archive.writestr("good", b"good")
        archive.writestr("../../evil", b"evil")
    with pytest.raises(ArtifactError, match="'../../evil'"):
        fetch(web.url("m.zip"), settings_of_store)
    assert not list(tmp_path.rglob("evil")) + list(tmp_path.rglob("good"))
    assert not list((store.path / "copies").iterdir())


# Together.


FETCH = """
import sys
from django_inference.artifacts.fetch import fetch
from django_inference.artifacts.records import StoreSettings
print("ready", flush=True)
sys.stdin.readline()
print(fetch(sys.argv[1], StoreSettings(sys.argv[2])).path)
"""


def test_eight_processes_that_ask_at_once_make_one_transfer(
    web: WebServer, weights: str, settings_of_store: StoreSettings
) -> None:
    web.hold.clear()
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", FETCH, weights, settings_of_store.folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(8)
    ]
    for process in processes:
        assert process.stdout is not None and process.stdin is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    # Whoever has the lock is in the middle, until everybody else waits for it.
    eventually(lambda: len(web.requests) == 1)
    web.hold.set()
    paths = {process.communicate(timeout=60)[0] for process in processes}
    assert len(paths) == 1
    assert Path(paths.pop().strip()).read_bytes() == WEIGHTS
    assert web.sent == len(WEIGHTS)


def test_what_was_fetched_while_one_waited_for_it_is_not_asked_for(
    web: WebServer, weights: str, settings_of_store: StoreSettings, store: Store
) -> None:
    web.etags = False
    first = fetch(weights, settings_of_store)
    record = store.record(weights)
    assert record is not None
    asked = len(web.requests)
    with ThreadPoolExecutor() as threads, store.lock(weights):
        second = threads.submit(fetch, weights, settings_of_store)
        # As if it had been asked after the other one began to wait, whenever that was.
        store.note(weights, msgspec.structs.replace(record, asked_at=time.time() + 60))
    assert second.result() == first
    assert len(web.requests) == asked


# The limit.


@pytest.fixture
def several(web: WebServer) -> Iterator[list[str]]:
    for name in "abc":
        (web.folder / name).write_bytes(name.encode() * 1000)
    yield [web.url(name) for name in "abc"]


def aged(copy: Copy, seconds: int) -> Copy:
    os.utime(Path(copy.home, "lock"), (seconds, seconds))
    return copy


def test_the_copy_that_was_not_used_for_the_longest_time_makes_room(
    several: list[str], settings_of_store: StoreSettings
) -> None:
    limited = StoreSettings(settings_of_store.folder, limit=2500)
    first = aged(fetch(several[0], limited), 200)
    second = aged(fetch(several[1], limited), 100)
    third = fetch(several[2], limited)
    assert [Path(copy.path).exists() for copy in (first, second, third)] == [True, False, True]


def test_what_is_in_use_is_never_removed(
    several: list[str], settings_of_store: StoreSettings, caplog: pytest.LogCaptureFixture
) -> None:
    limited = StoreSettings(settings_of_store.folder, limit=1500)
    first = fetch(several[0], limited)
    hold = first.hold()
    second = fetch(several[1], limited)
    assert Path(first.path).exists()
    assert "over ARTIFACT_LIMIT: 2000 of 1500 bytes" in caplog.text
    hold.close()
    fetch(several[2], limited)
    assert not Path(first.path).exists()
    assert not Path(second.path).exists()


def test_what_can_never_fit_is_refused_before_it_is_transferred(
    web: WebServer, several: list[str], settings_of_store: StoreSettings
) -> None:
    with pytest.raises(ArtifactError, match="takes 1000 bytes, and ARTIFACT_LIMIT is 999"):
        fetch(several[0], StoreSettings(settings_of_store.folder, limit=999))
    assert not list(Path(settings_of_store.folder).glob("partial/*/files/*"))


def test_a_disk_that_is_too_small_is_named(
    several: list[str], settings_of_store: StoreSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage("/")._replace(free=500)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(ArtifactError, match="takes 1000 more bytes, .* has 500 left"):
        fetch(several[0], settings_of_store)


def test_what_has_come_already_needs_no_more_room(
    web: WebServer,
    several: list[str],
    settings_of_store: StoreSettings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    web.cuts = [900, 0, 0, 0]
    with pytest.raises(TransferCut):
        fetch(several[0], settings_of_store)
    usage = shutil.disk_usage("/")._replace(free=SPARE + 100)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    assert Path(fetch(several[0], settings_of_store).path).read_bytes() == b"a" * 1000
