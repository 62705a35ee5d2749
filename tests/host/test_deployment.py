"""Versions, replicas and restarts, as clients see them."""

from __future__ import annotations

import itertools
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from django_inference.exceptions import ModelLoadFailed
from django_inference.host.protocol import Reload, Unload
from django_inference.specs import EngineOptions, State, Status
from tests.host.crowd import Crowd, Later
from tests.hosts import Client, Host, do, eventually


@pytest.fixture
def host(module_host: Host, alias: str) -> Iterator[Host]:
    """The host of this file, with a journal of the test's own."""
    module_host.journal = module_host.home / f"journal-{alias}"
    yield module_host
    module_host.ask(Unload(alias))


def status_of(host: Host, alias: str) -> Status:
    status = host.status(alias)
    assert status
    return status


def answers_of(client: Client) -> Iterator[Any]:
    """What the model says of its version, again and again."""
    while True:
        yield client.one(do("salt"))
        time.sleep(0.01)


def test_a_hundred_threads_load_once(host: Host, alias: str) -> None:
    client = host.client(host.spec(alias, load_seconds=0.2))
    barrier = threading.Barrier(100)
    answers: list[Any] = []

    def call(index: int) -> None:
        barrier.wait()
        answers.append((index, client.one(index)))

    threads = [threading.Thread(target=call, args=(index,)) for index in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [(index, index) for index in range(100)]
    assert len(host.notes("load")) == len(host.notes("loaded")) == 1


def test_a_model_is_asked_for_without_waiting(host: Host, alias: str) -> None:
    spec = host.spec(alias, load_seconds=0.3)
    update = host.declare(spec)
    assert update.state is State.LOADING
    assert update.sockets == ()
    status = status_of(host, alias)
    assert status.state is State.LOADING
    assert eventually(lambda: host.declare(spec).sockets)
    status = status_of(host, alias)
    assert status.state is State.READY
    assert status.load_seconds >= 0.3
    assert status.memory > 10_000_000
    assert status.pid == host.notes("loaded")[0]
    assert status.version
    assert len(host.notes("load")) == 1


def test_what_a_worker_has_counted_can_be_read(host: Host, alias: str) -> None:
    client = host.client(host.spec(alias))
    for index in range(5):
        client.one(index)
    with pytest.raises(Exception, match="broken"):
        client.one(do("raise", "broken"))
    status = status_of(host, alias)
    counts = status.replicas[0].statistics
    assert (counts.requests, counts.failures) == (6, 1)
    error = eventually(lambda: status_of(host, alias).error)
    assert error.message == "ValueError: broken"
    assert "in _act" in error.traceback
    assert status.state is State.READY


def test_an_older_declaration_never_replaces_a_newer_one(host: Host, alias: str) -> None:
    old, new = host.spec(alias, salt="old"), host.spec(alias, salt="new")
    assert host.client(old, declared_at=100.0).one(do("salt")) == "old"
    assert host.client(new, declared_at=200.0).one(do("salt")) is not None
    eventually(lambda: host.client(new, declared_at=200.0).one(do("salt")) == "new")
    # A web worker of yesterday still runs: it is served by the model of today.
    for _ in range(3):
        assert host.client(old, declared_at=100.0).one(do("salt")) == "new"
        assert host.client(old, declared_at=200.0).one(do("salt")) == "new"
    assert len(host.notes("loaded")) == 2


def test_a_newer_declaration_takes_over_without_an_error(host: Host, alias: str) -> None:
    old, new = host.spec(alias, salt="old"), host.spec(alias, salt="new", load_seconds=0.2)
    with Crowd(host.client(old, declared_at=100.0), do("salt")) as crowd:
        host.declare(new, 200.0)
        status = status_of(host, alias)
        assert status.state is State.READY
        assert status.next_version not in ("", status.version)
        eventually(lambda: crowd.answers[-1] == "new")
        assert status_of(host, alias).next_version == ""
    assert crowd.errors == []
    first_new = crowd.answers.index("new")
    assert "old" not in crowd.answers[first_new + 20 :]
    old_pid, new_pid = host.notes("loaded")
    eventually(lambda: not psutil.pid_exists(old_pid))
    assert status_of(host, alias).pid == new_pid


def test_a_roll_back_is_a_newer_declaration(host: Host, alias: str) -> None:
    old, new = host.spec(alias, salt="old"), host.spec(alias, salt="new")
    for at, spec in enumerate((old, new, old), 100):
        salts = answers_of(host.client(spec, declared_at=at))
        assert spec.runtime_options["salt"] in itertools.islice(salts, 10_000)


def test_a_new_version_that_cannot_be_loaded_leaves_the_old_one_serving(
    host: Host, alias: str, tmp_path: Path
) -> None:
    broken = tmp_path / "model.bin"
    broken.write_text("broken")
    old = host.client(host.spec(alias, salt="old"), declared_at=100.0)
    assert old.one(do("salt")) == "old"
    new = host.client(host.spec(alias, salt="new", artifact=broken), declared_at=200.0)
    assert new.one(do("salt")) == "old"
    status = eventually(lambda: (s := status_of(host, alias)).retry_after is not None and s)
    assert status.state is State.READY
    assert status.error.message == "RuntimeError: the artifact is broken"
    assert status.next_version
    broken.write_text("mended")
    eventually(lambda: new.one(do("salt")) == "new")
    assert status_of(host, alias).error is None


def test_a_reload_beside_the_running_model_fails_no_call(host: Host, alias: str) -> None:
    with Crowd(host.client(host.spec(alias, load_seconds=0.1)), do("pid")) as crowd:
        for _ in range(2):
            before = crowd.answers[-1]
            host.ask(Reload(alias))
            eventually(lambda: crowd.answers[-1] != before)  # noqa: B023
    assert crowd.errors == []
    assert set(crowd.answers) == set(host.notes("loaded"))
    eventually(lambda: len(host.notes("close")) == 2)


def test_a_reload_reads_the_artifact_of_today(host: Host, alias: str, tmp_path: Path) -> None:
    artifact = tmp_path / "model.bin"
    artifact.write_text("one")
    client = host.client(host.spec(alias, artifact=artifact))
    client.one(1)
    version = status_of(host, alias).version
    artifact.write_text("other")
    host.ask(Reload(alias))
    eventually(lambda: status_of(host, alias).version != version)
    assert client.one(2) == 2


def test_a_reload_of_a_model_that_nobody_declared_does_nothing(host: Host, alias: str) -> None:
    host.ask(Reload(alias))
    assert status_of(host, alias).state is State.UNLOADED


def test_an_unloaded_model_gives_its_memory_back_and_is_loaded_by_the_next_call(
    host: Host, alias: str
) -> None:
    client = host.client(host.spec(alias))
    first = client.one(do("pid"))
    host.ask(Unload(alias))
    eventually(lambda: not psutil.pid_exists(first))
    status = status_of(host, alias)
    assert (status.state, status.replicas, status.pid) == (State.UNLOADED, (), 0)
    assert host.notes("close") == [first]
    assert client.one(do("pid")) != first
    assert len(host.notes("loaded")) == 2


def test_a_running_call_is_answered_before_the_model_is_unloaded(host: Host, alias: str) -> None:
    client = host.client(host.spec(alias))
    first = client.one(do("pid"))
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.append(client.one(do("sleep", 0.3))))
    thread.start()
    time.sleep(0.1)
    host.ask(Unload(alias))
    thread.join()
    assert answers == [first]


# Replicas.


def test_replicas_share_the_calls(host: Host, alias: str) -> None:
    spec = host.spec(alias, replicas=2)
    client = host.client(spec)
    eventually(lambda: len(host.declare(spec).sockets) == 2)
    answers: list[Any] = []
    threads = [
        threading.Thread(target=lambda: answers.append(client.one(do("sleep", 0.1))))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pids = set(host.notes("loaded"))
    assert len(pids) == 2
    assert {answers.count(pid) for pid in pids} == {4}
    assert {replica.pid for replica in status_of(host, alias).replicas} == pids


def test_replicas_are_added_by_a_declaration(host: Host, alias: str) -> None:
    host.client(host.spec(alias)).one(1)
    more = host.spec(alias, replicas=3)
    eventually(lambda: len(host.declare(more).sockets) == 3)
    assert len(set(host.notes("loaded"))) == 3


def test_while_one_replica_restarts_the_other_answers(host: Host, alias: str) -> None:
    spec = host.spec(alias, replicas=2)
    eventually(lambda: len(host.declare(spec).sockets) == 2)
    with Crowd(host.client(spec), do("pid")) as crowd:
        victim = host.notes("loaded")[0]
        os.kill(victim, signal.SIGKILL)
        eventually(lambda: len(host.notes("loaded")) == 3)
    assert crowd.errors == []
    replicas = status_of(host, alias).replicas
    assert sorted(replica.restarts for replica in replicas) == [0, 1]


def test_the_replicas_of_a_reload_move_together(host: Host, alias: str, tmp_path: Path) -> None:
    for number in (1, 2, 3):
        (tmp_path / f"gate{number}").touch()
    spec = host.spec(alias, replicas=2, gates=str(tmp_path / "gate"))
    eventually(lambda: len(host.declare(spec).sockets) == 2)
    old = set(host.notes("loaded"))
    with Crowd(host.client(spec), do("pid")) as crowd:
        host.ask(Reload(alias))
        eventually(lambda: len(host.notes("loaded")) == 3)
        # One replica alone could not take the traffic of two.
        time.sleep(0.2)
        assert {replica.pid for replica in status_of(host, alias).replicas} == old
        (tmp_path / "gate4").touch()
        eventually(lambda: not old & set(crowd.answers[-10:]))
    assert crowd.errors == []
    eventually(lambda: not any(map(psutil.pid_exists, old)))


# Failing and coming back.


def started(pid: int) -> float:
    """When a process was started, on the clock that began when the machine did."""
    facts = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(facts[19]) / os.sysconf("SC_CLK_TCK")


def test_a_failed_load_is_told_with_its_cause(host: Host, alias: str, tmp_path: Path) -> None:
    artifact = tmp_path / "model.bin"
    artifact.write_text("broken")
    client = host.client(host.spec(alias, artifact=artifact))
    # Whoever asks later is told at once as well, not after their deadline.
    for _ in range(3):
        with pytest.raises(ModelLoadFailed) as caught:
            client.one(1)
        error = caught.value
        assert str(error) == (
            f"Predictor {alias!r}: the model could not be loaded: "
            "RuntimeError: the artifact is broken"
        )
        assert error.status_code == 503
        assert error.retry_after is not None
        assert 1.0 <= error.retry_after <= 2.0
        assert "in load" in error.details
    status = status_of(host, alias)
    assert status.state in (State.FAILED, State.LOADING)
    assert status.version
    assert status.error
    assert status.error.message == "RuntimeError: the artifact is broken"


@pytest.mark.skipif(sys.platform != "linux", reason="start times are looked up in /proc")
def test_a_mended_artifact_is_loaded_before_the_wait_is_over(
    host: Host, alias: str, tmp_path: Path
) -> None:
    artifact = tmp_path / "model.bin"
    artifact.write_text("broken")
    client = host.client(host.spec(alias, artifact=artifact))
    with pytest.raises(ModelLoadFailed) as caught:
        client.one(1)
    error = caught.value
    assert str(error) == (
        f"Predictor {alias!r}: the model could not be loaded: RuntimeError: the artifact is broken"
    )
    assert error.status_code == 503
    assert error.retry_after == pytest.approx(1, abs=0.2)
    assert "in load" in error.details
    status = status_of(host, alias)
    assert status.state is State.FAILED
    assert status.error
    assert status.error.message == "RuntimeError: the artifact is broken"
    # Whoever asks during the wait is told at once, not after their deadline.
    with pytest.raises(ModelLoadFailed):
        client.one(1)
    # The first wait is one second, the second two.
    wait = eventually(lambda: (w := status_of(host, alias).retry_after) and w > 1.5 and w)
    assert len(host.notes("load")) == 2
    artifact.write_text("mended")
    mended_at = time.clock_gettime(time.CLOCK_BOOTTIME)
    eventually(lambda: status_of(host, alias).state is State.READY)
    assert started(status_of(host, alias).pid) - mended_at < wait - 0.3
    assert client.one(1) == 1
    assert status_of(host, alias).error is None


def test_a_missing_artifact_that_arrives_is_loaded(host: Host, alias: str, tmp_path: Path) -> None:
    artifact = tmp_path / "late.bin"
    client = host.client(host.spec(alias, artifact=artifact))
    with pytest.raises(ModelLoadFailed, match=r"late\.bin"):
        client.one(1)
    artifact.write_text("here")
    eventually(lambda: status_of(host, alias).state is State.READY)
    assert client.one(1) == 1


def test_a_load_that_kills_its_process_is_tried_again_ever_more_slowly(
    host: Host, alias: str, tmp_path: Path
) -> None:
    poison = tmp_path / "poison"
    poison.touch()
    client = host.client(host.spec(alias, kill_at=str(poison)))
    with pytest.raises(ModelLoadFailed, match="ended with status 7"):
        client.one(1)
    first = status_of(host, alias).retry_after
    assert first is not None
    assert first <= 1.0
    eventually(lambda: len(host.notes("load")) == 2)
    second = eventually(lambda: status_of(host, alias).retry_after)
    assert 1.0 < second <= 2.0
    assert status_of(host, alias).state is State.FAILED
    # Who does not want to wait that long unloads it: the next call begins anew.
    poison.unlink()
    host.ask(Unload(alias))
    assert client.one(1) == 1
    assert len(host.notes("load")) == 3


def test_a_worker_that_dies_is_back_soon(host: Host, alias: str) -> None:
    client = host.client(host.spec(alias))
    for restarts in (1, 2, 3):
        pid = client.one(do("pid"))
        os.kill(pid, signal.SIGKILL)
        began = time.monotonic()
        assert client.one(do("pid")) != pid
        assert time.monotonic() - began < 5
        assert status_of(host, alias).replicas[0].restarts == restarts
    assert "signal 9" in host.log()


def test_a_model_that_leaves_while_it_is_loaded_says_so(host: Host, alias: str) -> None:
    # The name of the module does not matter: importing it fails like a model of one's own.
    client = host.client(host.spec(alias, runtime="tests.no_such_module.Model"))
    with pytest.raises(ModelLoadFailed, match="no_such_module"):
        client.one(1)


def test_a_batch_delay_gathers_calls_in_a_worker(host: Host, alias: str) -> None:
    client = host.client(host.spec(alias, options=EngineOptions(max_batch_delay=0.5)))
    # Five callers who are known to call.
    _ = [call.result() for call in [Later(client, do("sleep", 0.1)) for _ in range(5)]]
    calls = [Later(client, do("batch")) for _ in range(5)]
    assert [call.result() for call in calls] == [5] * 5


def test_a_lone_caller_waits_for_no_batch(host: Host, alias: str) -> None:
    # Longer than any call of these tests may take.
    client = host.client(host.spec(alias, options=EngineOptions(max_batch_delay=3600)))
    assert [client.one(do("batch")) for _ in range(5)] == [1] * 5


def test_a_batch_waits_for_a_caller_of_the_last_second_only(host: Host, alias: str) -> None:
    client = host.client(host.spec(alias, options=EngineOptions(max_batch_delay=3600)))
    _ = [call.result() for call in [Later(client, do("sleep", 0.1)) for _ in range(3)]]
    # Two of the three are expected to call again, for a while.
    assert client.one(do("batch")) == 1


def test_what_arrives_during_a_run_forms_the_next_batch(host: Host, alias: str) -> None:
    client = host.client(host.spec(alias))
    client.one(1)
    gate = host.home / f"gate-{alias}"
    busy = threading.Thread(target=client.one, args=(do("wait", str(gate)),))
    busy.start()
    eventually(lambda: status_of(host, alias).replicas[0].statistics.requests == 1)
    time.sleep(0.05)
    sizes: list[Any] = []
    threads = [
        threading.Thread(target=lambda: sizes.append(client.one(do("batch")))) for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    time.sleep(0.2)
    gate.touch()
    for thread in (busy, *threads):
        thread.join()
    assert len(sizes) == 20
    assert max(sizes) >= 15
