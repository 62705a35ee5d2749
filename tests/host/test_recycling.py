"""Workers that are replaced before they do harm, and models that rest while nobody calls."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import psutil

from django_inference.specs import State, Supervision
from tests.host.crowd import Crowd, Later
from tests.hosts import Host, do, eventually

MB = 1 << 20


def test_an_idle_model_gives_its_memory_back_until_the_next_call(shared: Host, alias: str) -> None:
    client = shared.client(shared.spec(alias, supervision=Supervision(idle_unload=1.0)))
    first = client.one(do("pid"))
    for _ in range(4):
        # Not idle for a whole second.
        time.sleep(0.5)
        assert client.one(do("pid")) == first
    eventually(lambda: not psutil.pid_exists(first))
    status = shared.status(alias)
    assert status
    assert status.state is State.UNLOADED
    assert shared.notes("close") == [first]
    assert client.one(do("pid")) != first


def test_a_long_run_is_not_idle(shared: Host, alias: str) -> None:
    client = shared.client(shared.spec(alias, supervision=Supervision(idle_unload=0.6)))
    first = client.one(do("pid"))
    assert client.one(do("sleep", 2.0)) == first
    assert shared.notes("close") == []


def test_a_model_that_leaks_requests_is_replaced_without_a_gap(shared: Host, alias: str) -> None:
    client = shared.client(shared.spec(alias, supervision=Supervision(max_requests=150)))
    with Crowd(client, do("pid")) as crowd:
        eventually(lambda: len(shared.notes("close")) >= 2)
    assert crowd.errors == []
    pids = shared.notes("loaded")
    assert len(pids) >= 3
    assert set(crowd.answers) <= set(pids)
    assert all(crowd.answers.count(pid) >= 150 for pid in pids[:2])
    assert shared.log().count("max_requests=150") >= 2
    # Replaced on purpose is not restarted: nothing went wrong.
    status = shared.status(alias)
    assert status
    assert status.error is None
    assert status.replicas[0].restarts == 0


def test_a_model_that_leaks_memory_is_replaced_without_a_gap(shared: Host, alias: str) -> None:
    usual = shared.client(shared.spec(f"{alias}-usual"))
    usual.one(1)
    status = shared.status(f"{alias}-usual")
    assert status
    limit = status.memory + 60 * MB
    client = shared.client(shared.spec(alias, supervision=Supervision(max_memory=limit)))
    first = client.one(do("pid"))
    with Crowd(client, do("pid"), threads=2) as crowd:
        assert client.one(do("leak", 20 * MB)) == first
        time.sleep(1.2)
        assert crowd.answers[-1] == first
        assert client.one(do("leak", 60 * MB)) == first
        eventually(lambda: crowd.answers[-1] != first)
    assert crowd.errors == []
    eventually(lambda: not psutil.pid_exists(first))
    assert shared.notes("close") == [first]
    assert f"pid={first}: max_memory={limit}" in shared.log()


def test_a_replacement_that_cannot_be_loaded_leaves_the_old_worker_serving(
    shared: Host, alias: str, tmp_path: Path
) -> None:
    poison = tmp_path / "poison"
    rules = Supervision(max_requests=30)
    client = shared.client(shared.spec(alias, supervision=rules, kill_at=str(poison)))
    first = client.one(do("pid"))
    poison.touch()
    with Crowd(client, do("pid"), threads=2) as crowd:
        eventually(lambda: len(shared.notes("load")) >= 2)
        time.sleep(1.0)
        poison.unlink()
        assert set(crowd.answers) == {first}
        # It is tried again, after a while.
        eventually(lambda: crowd.answers[-1] != first)
    assert crowd.errors == []


def test_within_the_budget_the_model_that_rested_longest_has_to_go(
    new_host: Callable[..., Host],
) -> None:
    probe = new_host()
    probe.client(probe.spec()).one(1)
    status = probe.status()
    assert status
    # Room for two models of that size, not for three.
    host = new_host(memory_budget=int(status.memory * 2.6))
    clients = {alias: host.client(host.spec(alias)) for alias in ("a", "b", "c")}
    pids = {alias: clients[alias].one(do("pid")) for alias in ("a", "b")}
    time.sleep(1.2)
    assert clients["a"].one(do("pid")) == pids["a"]
    pids["c"] = clients["c"].one(do("pid"))
    eventually(lambda: not psutil.pid_exists(pids["b"]))
    assert "memory budget" in host.log()
    # b rested longest; it comes back on use, and now a has to go.
    assert clients["a"].one(do("pid")) == pids["a"]
    assert clients["c"].one(do("pid")) == pids["c"]
    assert clients["b"].one(do("pid")) != pids["b"]
    eventually(lambda: not psutil.pid_exists(pids["a"]))
    assert clients["c"].one(do("pid")) == pids["c"]


def test_a_budget_never_ends_a_model_that_is_at_work_or_alone(
    new_host: Callable[..., Host],
) -> None:
    host = new_host(memory_budget=1)
    client = host.client(host.spec("a"))
    other = host.client(host.spec("b"))
    first = client.one(do("pid"))
    time.sleep(1.2)
    assert client.one(do("pid")) == first
    busy = Later(client, do("sleep", 2.0))
    time.sleep(0.2)
    second = other.one(do("pid"))
    # At work, it stays although the other was used later; then it is the one used last.
    assert busy.result() == first
    eventually(lambda: not psutil.pid_exists(second))
    assert client.one(do("pid")) == first
