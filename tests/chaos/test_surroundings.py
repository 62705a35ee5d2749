"""What the host lives on gives out: descriptors, disk space, and its own release."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from django_inference.specs import State
from tests.host.crowd import Later
from tests.hosts import PATIENCE, Host, do, eventually

as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can mount and set limits")


def exhausted(pid: int) -> Callable[[], None]:
    """Let a process open nothing more; return how to undo that."""
    process = psutil.Process(pid)
    before = process.rlimit(psutil.RLIMIT_NOFILE)
    # The first four descriptors are in use as long as it lives.
    process.rlimit(psutil.RLIMIT_NOFILE, (4, before[1]))

    def restore() -> None:
        process.rlimit(psutil.RLIMIT_NOFILE, before)

    return restore


# Descriptors.


@as_root
def test_a_host_without_descriptors_recovers_with_them(host: Host) -> None:
    client = host.client()
    first = client.one(do("pid"))
    report = host.report()
    assert report
    restore = exhausted(report.pid)
    # Calls need the supervisor for nothing; nobody can talk to it for now.
    assert [client.one(index) for index in range(20)] == list(range(20))
    os.kill(first, 9)
    eventually(lambda: not psutil.pid_exists(first))
    waiting = Later(client, do("pid"))
    # Longer than it takes to find out, several times, that no worker can be started.
    time.sleep(2.0)
    assert waiting.is_alive()
    restore()
    second = waiting.result()
    assert second != first
    assert host.status()
    after = host.report()
    assert after
    assert after.pid == report.pid
    assert "Too many open files" in host.log()


@as_root
def test_a_worker_without_descriptors_answers_whom_it_has_heard(host: Host) -> None:
    client = host.client()
    pid = client.one(do("pid"))
    restore = exhausted(pid)
    callers = [Later(client, index) for index in range(12)]
    time.sleep(1.0)
    assert client.one("known") == "known"
    assert psutil.Process(pid).cpu_percent(0.5) < 60
    restore()
    assert [later.result() for later in callers] == list(range(12))
    assert client.one(do("pid")) == pid


def test_workers_may_have_as_many_descriptors_as_there_are(host: Host) -> None:
    pid = host.client().one(do("pid"))
    soft, hard = psutil.Process(pid).rlimit(psutil.RLIMIT_NOFILE)
    assert soft == hard == resource.getrlimit(resource.RLIMIT_NOFILE)[1]


# Disk space.


def test_a_full_disk_for_the_log_stops_nothing(host: Host) -> None:
    host.folder.create()
    host.folder.log.symlink_to("/dev/full")
    with open("/dev/full", "wb", buffering=0) as full, pytest.raises(OSError, match="No space"):
        full.write(b"x")
    client = host.client()
    pid = client.one(do("pid"))
    with pytest.raises(Exception, match="no such class"):
        client.one(do("raise", "no such class"))
    os.kill(pid, 9)
    assert client.one(do("pid")) != pid
    report = host.report()
    assert report
    assert report.statuses[0].state is State.READY


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """A file system of a few pages."""
    place = tmp_path / "disk"
    place.mkdir(mode=0o700)
    command = ["mount", "-t", "tmpfs", "-o", "size=128k,mode=0700", "tmpfs", str(place)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting is not allowed here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(place: Path) -> Path:
    """Leave no byte."""
    filler = place / "filler"
    with filler.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
        while True:
            file.write(bytes(4096))
    return filler


@as_root
def test_a_disk_that_fills_up_stops_nothing(tiny: Path, new_host: Callable[..., Host]) -> None:
    host = new_host(runtime_dir=str(tiny / "run"))
    client = host.client()
    pid = client.one(do("pid"))
    filler = fill(tiny)
    os.kill(pid, 9)
    second = client.one(do("pid"))
    assert second != pid
    assert client.one("hello") == "hello"
    filler.unlink()
    os.kill(second, 9)
    assert client.one(do("pid")) != second
    assert f"pid={second}" in host.log()


@as_root
def test_a_host_that_is_started_on_a_full_disk_says_so(
    tiny: Path, new_host: Callable[..., Host]
) -> None:
    host = new_host(runtime_dir=str(tiny / "run"))
    host.folder.create()
    filler = fill(tiny)
    done = subprocess.run(
        [
            *(sys.executable, "-P", "-m", "django_inference.host"),
            *("--runtime-dir", str(host.folder.path)),
        ],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    # Not killed by a signal for writing into a page that the disk has no room for.
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    filler.unlink()
    assert host.client().one("hello") == "hello"


# An older release runs on this machine.

OLDER = """
import sys
from django_inference.host import protocol, rundir
protocol.VERSION = rundir.VERSION = 1
if sys.argv[1] == "host":
    from django_inference.host.__main__ import main
    sys.exit(main(sys.argv[2:]))
import time
from django_inference.specs import HostSettings
from tests.hosts import Client, Host, do
settings = HostSettings(runtime_dir=sys.argv[2], autostart=False)
model = Host()
client = Client(settings, model.spec("model", salt="older"), time.time())
print(client.one(do("salt")), flush=True)
for line in sys.stdin:
    client.close()
    print(client.one(do("salt")), flush=True)
"""


def older(*arguments: str, **pipes: Any) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", OLDER, *arguments], text=True, **pipes)


def test_an_older_host_lives_on_beside_a_new_one(host: Host) -> None:
    host.folder.create()
    old_host = older("host", "--runtime-dir", str(host.folder.path), stderr=subprocess.DEVNULL)
    eventually((host.folder.path / "host1.sock").exists)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    old_client = older("client", str(host.folder.path), **pipes)
    assert old_client.stdout
    assert old_client.stdin

    def ask_older() -> str:
        assert old_client.stdin
        assert old_client.stdout
        old_client.stdin.write("\n")
        old_client.stdin.flush()
        return old_client.stdout.readline().strip()

    assert old_client.stdout.readline().strip() == "older"
    # A client of this release starts a host of its own, in the same folder.
    client = host.client(host.spec(salt="newer"))
    assert client.one(do("salt")) == "newer"
    report = host.report()
    assert report
    assert report.pid != old_host.pid
    assert len(report.statuses) == 1
    # Neither took anything from the other: new connections to both still work.
    assert ask_older() == "older"
    host.stop()
    assert ask_older() == "older"
    assert client.one(do("salt")) == "newer"
    old_host.terminate()
    assert old_host.wait(PATIENCE) == 0
    assert client.one(do("salt")) == "newer"
    old_client.kill()
    old_client.communicate()


# Peers that misbehave towards the supervisor, while it is needed.


def test_peers_that_stop_amid_a_word_hold_nobody_up(host: Host) -> None:
    import socket

    from django_inference.host.protocol import LENGTH, Declare, pack

    client = host.client()
    pid = client.one(do("pid"))
    report = host.report()
    assert report
    silent: list[socket.socket] = []
    before = psutil.Process(report.pid).num_fds()
    declare = pack(Declare(host.spec(), 0.0, follow=True))
    for index in range(60):
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(10)
        sock.connect(str(host.folder.socket))
        # Half a header, a header alone, half a message, and one who never reads what follows.
        sock.sendall((LENGTH.pack(500)[:2], LENGTH.pack(500), declare[:60], declare)[index % 4])
        silent.append(sock)
    os.kill(pid, 9)
    answers: list[Any] = []
    threads = [
        threading.Thread(target=lambda: answers.append(client.one("hello"))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == ["hello"] * 8
    for sock in silent:
        sock.close()
    eventually(lambda: psutil.Process(report.pid).num_fds() <= before + 3)
    after = host.report()
    assert after
    assert after.pid == report.pid
