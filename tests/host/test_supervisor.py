from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from django_inference.exceptions import ModelNotReady
from django_inference.host import supervisor as module
from django_inference.host.__main__ import MAX_LOG
from django_inference.host.control import Conversation, HostUnavailable
from django_inference.host.protocol import (
    LENGTH,
    MAX_CONTROL_FRAME,
    ClientMessage,
    Declare,
    HostMessage,
    Inspect,
    Refusal,
    Report,
    Update,
    pack,
    receive,
)
from django_inference.host.rundir import RuntimeDir
from django_inference.host.supervisor import AlreadyRunning, Supervisor
from django_inference.specs import State
from tests.hosts import PATIENCE, Host, do, eventually, is_gone

NewHost = Callable[..., Host]

as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")

#: A program that calls the model, hangs up, and stays until its standard input is closed.
CALLER = """
import sys
from tests.hosts import Host
from pathlib import Path
from django_inference.specs import HostSettings
import msgspec
host = Host()
host.home.rmdir()
host.home = Path(sys.argv[2])
host.journal = host.home / "journal"
host.settings = msgspec.json.decode(sys.argv[1], type=HostSettings)
client = host.client()
print(client.one("hello"), flush=True)
client.close()
input()
"""


def caller(host: Host) -> subprocess.Popen[str]:
    """Another process that uses the host."""
    import msgspec

    return subprocess.Popen(
        [sys.executable, "-c", CALLER, msgspec.json.encode(host.settings).decode(), str(host.home)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def raw(host: Host) -> socket.socket:
    """A connection to the control socket, to say anything on it."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # With a timeout it would not wait where many are waiting already.
    sock.connect(str(host.folder.socket))
    sock.settimeout(PATIENCE)
    return sock


# Starting.


def test_the_first_call_starts_the_host(host: Host) -> None:
    assert host.report() is None
    assert host.client().one("hello") == "hello"
    report = host.report()
    assert report
    assert psutil.Process(report.pid).ppid() != os.getpid()
    assert [status.alias for status in report.statuses] == ["model"]


def test_only_this_user_may_enter(host: Host) -> None:
    host.client().one(1)
    sockets = [host.folder.socket, *host.folder.workers.iterdir()]
    assert len(sockets) == 2
    for path in sockets:
        assert stat.S_ISSOCK(path.lstat().st_mode)
    assert stat.S_IMODE(host.folder.path.lstat().st_mode) == 0o700
    assert stat.S_IMODE(host.folder.socket.lstat().st_mode) == 0o600
    assert stat.S_IMODE(host.folder.log.lstat().st_mode) == 0o600


def test_many_processes_and_threads_start_one_host_and_load_once(host: Host) -> None:
    callers = [caller(host) for _ in range(3)]
    client = host.client()
    answers: list[Any] = []
    threads = [
        threading.Thread(target=lambda: answers.append(client.one("hello"))) for _ in range(10)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == ["hello"] * 10
    assert [said(process) for process in callers] == ["hello"] * 3
    for process in callers:
        process.communicate("\n")
    assert len(host.notes("loaded")) == 1
    assert host.log().count("model host listens") == 1


def test_what_is_logged_when_a_model_is_loaded(host: Host) -> None:
    host.client().one(1)
    status = host.status()
    assert status
    line = next(line for line in host.log().splitlines() if "model loaded" in line)
    assert f"model loaded alias=model version={status.version} pid={status.pid} seconds=" in line


def test_a_log_that_has_grown_long_is_put_aside(host: Host) -> None:
    host.folder.create()
    with host.folder.log.open("wb") as log:
        log.truncate(MAX_LOG + 1)
    host.client().one(1)
    assert host.folder.log.with_suffix(".log.1").stat().st_size == MAX_LOG + 1
    assert host.log().count("model host listens") == 1


def test_a_second_host_for_the_folder_is_refused(host: Host) -> None:
    first = host.start()
    second = host.start()
    assert second.wait(PATIENCE) == 1
    assert first.poll() is None
    assert "another model host serves" in host.log()
    first.terminate()
    assert first.wait(PATIENCE) == 0


async def test_the_second_supervisor_knows_why(host: Host) -> None:
    process = host.start()
    with pytest.raises(AlreadyRunning, match=str(host.folder.path)):
        await Supervisor(host.folder, linger=None, graceful_timeout=1).run(lambda: None)
    process.terminate()
    process.wait(PATIENCE)


def test_what_a_killed_host_has_left_behind_is_cleared_away(host: Host) -> None:
    host.folder.create()
    leftovers = [host.folder.socket, host.folder.workers / "0-abc.sock"]
    for path in leftovers:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(str(path))
    host.folder.host_lock.touch()
    assert host.client().one("hello") == "hello"
    assert not leftovers[1].exists()


def test_without_autostart_there_is_no_host(new_host: NewHost) -> None:
    host = new_host(autostart=False)
    # Whoever runs it may be about to start it again, so a call waits for its deadline.
    with pytest.raises(ModelNotReady, match="no model host listens") as caught:
        host.client().one(1, timeout=0.3)
    assert caught.value.alias == "model"
    assert caught.value.status_code == 503
    assert caught.value.retry_after
    assert not host.processes()


def test_a_host_of_ones_own_needs_no_autostart(new_host: NewHost) -> None:
    host = new_host(autostart=False)
    process = host.start()
    assert host.client().one("hello") == "hello"
    process.terminate()
    assert process.wait(PATIENCE) == 0


@pytest.mark.parametrize(
    ("python", "words"), [("/no/such/python", "No such file"), ("/bin/false", "see ")]
)
def test_a_host_that_cannot_be_started(new_host: NewHost, python: str, words: str) -> None:
    host = new_host(python=python)
    with pytest.raises(HostUnavailable, match=words) as caught:
        host.client().one(1, timeout=5)
    assert "could not be started" in str(caught.value)
    assert str(caught.value).startswith("Predictor 'model'")


def test_a_host_that_never_listens_is_given_up(new_host: NewHost, tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexec sleep 30\n")
    python.chmod(0o700)
    host = new_host(python=str(python), start_timeout=0.2)
    with pytest.raises(HostUnavailable, match=r"did not listen within 0\.2 s"):
        host.client().one(1, timeout=5)
    eventually(lambda: not host.processes())


def test_arguments_that_make_no_sense_end_with_a_message(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir(mode=0o777)
    (tmp_path / "run").chmod(0o777)
    done = subprocess.run(
        [sys.executable, "-m", "django_inference.host", "--runtime-dir", str(tmp_path / "run")],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 1
    assert "others can write" in done.stderr
    assert "Traceback" not in done.stderr


# Strangers.


def test_garbage_on_the_control_socket_harms_nobody(
    module_host: Host, request: pytest.FixtureRequest
) -> None:
    host = module_host
    client = host.client()
    client.one(1)
    before = host.report()
    assert before
    supervisor = psutil.Process(before.pid)
    descriptors = supervisor.num_fds()
    rng = random.Random(7)
    declare = bytearray(pack(Declare(host.spec(), 0.0)))
    for index in range(300 * request.config.getoption("--fuzz")):
        with raw(host) as sock:
            match index % 5:
                case 0:
                    sock.sendall(rng.randbytes(rng.randrange(1, 200)))
                case 1:
                    body = rng.randbytes(rng.randrange(0, 50))
                    sock.sendall(LENGTH.pack(len(body)) + body)
                case 2:
                    mutated = declare.copy()
                    # Not in the runtime's name or its options: that would be another model.
                    mutated[rng.randrange(4, 24)] = rng.randrange(256)
                    sock.sendall(mutated)
                case 3:
                    sock.sendall(declare[: rng.randrange(len(declare))])
                case 4:
                    pass
    assert client.one("hello") == "hello"
    after = host.report()
    assert after
    assert after.pid == before.pid
    assert [s.pid for s in after.statuses if s.alias == "model"] == [before.statuses[0].pid]
    eventually(lambda: supervisor.num_fds() <= descriptors + 1)


@pytest.mark.parametrize("length", [MAX_CONTROL_FRAME + 1, 2**31, 2**32 - 1])
def test_a_claim_that_is_too_long_is_refused_at_once(module_host: Host, length: int) -> None:
    host = module_host
    host.client().one(1)
    with raw(host) as sock:
        sock.sendall(LENGTH.pack(length))
        answer = receive(sock, HostMessage, time.monotonic() + PATIENCE)
        assert isinstance(answer, Refusal)
        assert str(length) in answer.message
        assert sock.recv(1) == b""


def test_a_long_claim_that_is_never_kept_costs_no_memory(module_host: Host) -> None:
    host = module_host
    host.client().one(1)
    report = host.report()
    assert report
    supervisor = psutil.Process(report.pid)
    before = supervisor.memory_info().rss
    connections = [raw(host) for _ in range(50)]
    for sock in connections:
        sock.sendall(LENGTH.pack(MAX_CONTROL_FRAME) + bytes(10_000))
    assert host.report()
    assert supervisor.memory_info().rss - before < 50 * MAX_CONTROL_FRAME / 20
    for sock in connections:
        sock.close()


def test_a_message_of_the_greatest_length_is_read(module_host: Host) -> None:
    host = module_host
    host.client().one(1)
    with raw(host) as sock:
        sock.sendall(LENGTH.pack(MAX_CONTROL_FRAME) + bytes(MAX_CONTROL_FRAME))
        answer = receive(sock, HostMessage, time.monotonic() + PATIENCE)
    assert isinstance(answer, Refusal)
    assert "malformed" in answer.message
    assert host.report()


def test_a_client_is_told_what_was_wrong(module_host: Host) -> None:
    host = module_host
    host.client().one(1)
    with raw(host) as sock:
        sock.sendall(pack(Refusal("not a client's word")))
        assert isinstance(receive(sock, HostMessage, time.monotonic() + PATIENCE), Refusal)


STRANGER = """
import os, socket, sys
os.setgroups([])
os.setgid(54321)
os.setuid(54321)
sock = socket.socket(socket.AF_UNIX)
sock.settimeout(20)
try:
    sock.connect(sys.argv[1])
    sock.sendall(bytes.fromhex(sys.argv[2]))
    print(len(sock.recv(100)))
except ConnectionError:
    print("reset")
except PermissionError:
    print("kept out")
"""


@as_root
def test_another_user_is_refused_even_where_the_folder_lets_them_in(host: Host) -> None:
    host.client().one(1)
    for path in (host.home, host.folder.path):
        path.chmod(0o711)
    host.folder.socket.chmod(0o666)
    done = subprocess.run(
        [sys.executable, "-c", STRANGER, str(host.folder.socket), pack(Inspect()).hex()],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    if done.stdout.strip() == "kept out":
        pytest.skip("others cannot enter this system's folder for temporary files")
    assert done.stdout.strip() in ("0", "reset")
    assert "refused a client of another user" in host.log()
    assert "uid=54321" in host.log()
    assert host.report()


async def test_the_user_at_the_other_end_is_looked_at(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    supervisor = Supervisor(RuntimeDir(tmp_path), linger=None, graceful_timeout=1)
    server = await asyncio.start_unix_server(supervisor._on_client, tmp_path / "s")
    for uid, is_heard in ((os.getuid(), True), (0, True), (54321, False)):
        monkeypatch.setattr(module, "peer", lambda sock, uid=uid: (1, uid))
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(tmp_path / "s"))
            try:
                sock.sendall(pack(Inspect()))
                answer = await asyncio.to_thread(sock.recv, 100)
            except ConnectionError:
                answer = b""
            assert bool(answer) == is_heard
    server.close()


# Following.


def test_a_client_that_follows_is_told_of_every_change(host: Host) -> None:
    spec = host.spec(load_seconds=0.1)
    deadline = time.monotonic() + PATIENCE
    with Conversation(host.settings, deadline) as conversation:
        states = [conversation.ask(Declare(spec, 1.0, follow=True))]
        while not (isinstance(states[-1], Update) and states[-1].sockets):
            states.append(conversation.answer())
        os.kill(host.notes("loaded")[0], signal.SIGKILL)
        died = conversation.answer()
        assert isinstance(died, Update)
        assert not died.sockets
        assert died.error
        assert "signal 9" in died.error.message
    assert [update.state for update in states if isinstance(update, Update)][:1] == [State.LOADING]
    assert isinstance(states[-1], Update)
    assert states[-1].state is State.READY


# Leaving.


def test_the_host_leaves_after_its_last_client_process(new_host: NewHost) -> None:
    host = new_host(linger=0.3)
    client = caller(host)
    assert said(client) == "hello"
    # The process has no connection any more, but it may still want to predict.
    time.sleep(1.0)
    running = host.processes()
    assert len(running) == 2
    client.communicate("\n")
    eventually(lambda: all(map(is_gone, running)))
    assert "no client process" in host.log()
    assert not host.folder.socket.exists()
    assert list(host.folder.workers.iterdir()) == []


def test_a_host_in_the_foreground_stays_without_clients(host: Host) -> None:
    process = host.start()
    time.sleep(0.7)
    assert process.poll() is None
    process.terminate()
    assert process.wait(PATIENCE) == 0


def ask_in_thread(client: Any, item: Any, outcomes: list[Any]) -> threading.Thread:
    def ask() -> None:
        try:
            outcomes.append(client.one(item))
        except Exception as error:
            outcomes.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    return thread


@pytest.mark.parametrize("how", ["stop", "SIGTERM", "SIGINT"])
def test_running_calls_are_answered_before_the_host_leaves(host: Host, how: str) -> None:
    process = host.start()
    client = host.client()
    client.one(1)
    outcomes: list[Any] = []
    running = ask_in_thread(client, do("sleep", 0.4), outcomes)
    time.sleep(0.1)
    if how == "stop":
        host.stop()
    else:
        process.send_signal(getattr(signal, how))
    assert process.wait(PATIENCE) == 0
    running.join()
    (answer,) = outcomes
    assert answer in host.notes("loaded")
    assert host.notes("close") == host.notes("loaded")
    assert "model host leaves" in host.log()


def test_a_call_that_takes_too_long_does_not_hold_the_host(new_host: NewHost) -> None:
    host = new_host(graceful_timeout=0.3, autostart=False)
    process = host.start()
    client = host.client()
    client.one(1)
    outcomes: list[Any] = []
    running = ask_in_thread(client, do("wait", str(host.home / "never")), outcomes)
    time.sleep(0.1)
    began = time.monotonic()
    process.terminate()
    assert process.wait(PATIENCE) == 0
    assert time.monotonic() - began < 4
    running.join()
    (error,) = outcomes
    assert isinstance(error, ModelNotReady)


def test_a_model_that_is_being_loaded_does_not_hold_the_host(host: Host) -> None:
    process = host.start()
    host.declare(host.spec(load_seconds=20))
    eventually(lambda: host.notes("load"))
    began = time.monotonic()
    process.terminate()
    assert process.wait(PATIENCE) == 0
    assert time.monotonic() - began < 4


def test_a_host_that_was_stopped_is_started_again_by_the_next_call(host: Host) -> None:
    client = host.client()
    first = client.one(do("pid"))
    host.stop()
    assert host.report() is None
    assert client.one(do("pid")) != first


def test_the_workers_of_a_killed_host_leave_by_themselves(new_host: NewHost) -> None:
    host = new_host(autostart=False)
    process = host.start()
    client = host.client(host.spec(replicas=2))
    client.one(1)
    status = eventually(
        lambda: (s := host.status()) and all(r.state is State.READY for r in s.replicas) and s
    )
    workers = [psutil.Process(replica.pid) for replica in status.replicas]
    assert len(workers) == 2
    process.kill()
    process.wait(PATIENCE)
    eventually(lambda: all(map(is_gone, workers)))


def test_a_killed_host_is_replaced_by_the_next_call(host: Host) -> None:
    client = host.client()
    client.one(1)
    report = host.report()
    assert report
    host.processes()
    os.kill(report.pid, signal.SIGKILL)
    # Its worker may give a last answer before it notices.
    eventually(lambda: client.one("hello") == "hello" and host.report())
    after = host.report()
    assert after
    assert after.pid != report.pid


def test_control_messages_are_what_the_type_says(host: Host) -> None:
    # What the tests above send by hand must not have become something else.
    assert isinstance(host.declare(host.spec()), Update)
    assert isinstance(host.ask(Inspect()), Report)
    assert ClientMessage
