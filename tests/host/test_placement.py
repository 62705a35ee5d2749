"""Cores, threads and devices."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from django_inference.exceptions import ModelLoadFailed
from django_inference.host import placement
from django_inference.host.placement import THREADS, Placement
from django_inference.specs import State, Supervision
from tests.hosts import Host, do, eventually


@pytest.fixture(autouse=True)
def plain_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Eight cores, no quota, and nothing said by the environment."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    monkeypatch.setattr(placement, "_QUOTA", tmp_path / "cpu.max")
    for name in (*THREADS, "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)


def quota(text: str) -> None:
    placement._QUOTA.write_text(text)


def places(replicas: int, **rules: Any) -> list[Placement]:
    return [Placement(Supervision(replicas=replicas, **rules), i) for i in range(replicas)]


def threads_of(place: Placement) -> set[str | None]:
    return {place.environment.get(name) for name in THREADS}


@pytest.mark.parametrize(
    ("replicas", "cores", "threads"),
    [
        (1, [()], "8"),
        (2, [(0, 1, 2, 3), (4, 5, 6, 7)], "4"),
        (3, [(0, 1), (2, 3), (4, 5)], "2"),
        (8, [(core,) for core in range(8)], "1"),
        (9, [()] * 9, "1"),
    ],
)
def test_replicas_get_cores_of_their_own(
    replicas: int, cores: list[tuple[int, ...]], threads: str
) -> None:
    found = places(replicas)
    assert [place.cores for place in found] == cores
    assert all(threads_of(place) == {threads} for place in found)


def test_only_the_cores_that_the_host_may_use_are_given_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 5, 6, 11})
    assert [place.cores for place in places(2)] == [(3, 5), (6, 11)]


def test_a_replica_that_is_replaced_gets_the_same_cores() -> None:
    rules = Supervision(replicas=2)
    assert Placement(rules, 1).cores == Placement(rules, 3).cores == (4, 5, 6, 7)


@pytest.mark.parametrize(
    ("text", "replicas", "threads"),
    [
        ("max 100000\n", 1, "8"),
        ("200000 100000\n", 1, "2"),
        ("250000 100000\n", 2, "1"),
        ("50000 100000\n", 1, "1"),
        ("400000 100000\n", 2, "2"),
        ("1600000 100000\n", 1, "8"),
        ("", 1, "8"),
        ("nonsense\n", 1, "8"),
        ("1 2 3\n", 1, "8"),
    ],
)
def test_the_quota_of_a_container_counts(text: str, replicas: int, threads: str) -> None:
    quota(text)
    for place in places(replicas):
        assert threads_of(place) == {threads}


def test_under_a_quota_nothing_is_pinned() -> None:
    quota("400000 100000\n")
    assert [place.cores for place in places(2)] == [(), ()]
    quota("800000 100000\n")
    assert [len(place.cores) for place in places(2)] == [4, 4]


def test_what_the_user_has_said_about_threads_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    (place,) = places(1)
    assert "OMP_NUM_THREADS" not in place.environment
    assert place.environment["MKL_NUM_THREADS"] == "8"
    # The option was said later, and of this model.
    (place,) = places(1, threads=5)
    assert threads_of(place) == {"5"}


@pytest.mark.parametrize(
    ("visible", "devices", "given"),
    [
        (None, (), [None] * 3),
        (None, ("cuda:0", "cuda:1"), ["0", "1", "0"]),
        (None, ("cuda",), ["0", "0", "0"]),
        (None, ("cpu",), ["", "", ""]),
        (None, ("cuda:1", "cpu"), ["1", "", "1"]),
        ("4,6", (), ["4", "6", "4"]),
        ("4,6", ("cuda:1",), ["6", "6", "6"]),
        ("GPU-a,GPU-b,GPU-c", (), ["GPU-a", "GPU-b", "GPU-c"]),
        ("", (), [None] * 3),
        ("", ("cuda:0",), ["", "", ""]),
        ("4", ("cpu",), ["", "", ""]),
    ],
)
def test_replicas_take_turns_on_devices(
    monkeypatch: pytest.MonkeyPatch,
    visible: str | None,
    devices: tuple[str, ...],
    given: list[str | None],
) -> None:
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    found = [p.environment.get("CUDA_VISIBLE_DEVICES") for p in places(3, devices=devices)]
    assert found == given


def test_one_replica_sees_every_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    (place,) = places(1)
    assert "CUDA_VISIBLE_DEVICES" not in place.environment


def test_a_device_that_there_is_not_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    with pytest.raises(OSError, match=r"there is no cuda:5: the host sees 2"):
        places(1, devices=("cuda:5",))


# In real workers, on the real machine.


def test_workers_run_where_they_were_put(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    mine = sorted(os.sched_getaffinity(0))
    if len(mine) < 2 or len(mine) != placement._usable(len(mine)):
        pytest.skip("needs two cores of its own")
    spec = host.spec(supervision=Supervision(replicas=2))
    eventually(lambda: len(host.declare(spec).sockets) == 2)
    status = host.status()
    assert status
    cores = [os.sched_getaffinity(replica.pid) for replica in status.replicas]
    assert not cores[0] & cores[1]
    assert {len(some) for some in cores} == {len(mine) // 2}
    client = host.client(spec)
    assert set(client.one(do("affinity"))) in cores
    assert client.one(do("variable", "OMP_NUM_THREADS")) == str(len(mine) // 2)


def test_threads_and_devices_reach_the_worker(host: Host) -> None:
    rules = Supervision(threads=3, devices=("cpu",))
    client = host.client(host.spec(supervision=rules))
    assert client.one(do("variable", "OPENBLAS_NUM_THREADS")) == "3"
    assert client.one(do("variable", "CUDA_VISIBLE_DEVICES")) == ""


def test_a_model_whose_device_is_not_there_fails_and_says_so(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    client = host.client(host.spec(supervision=Supervision(devices=("cuda:1",))))
    with pytest.raises(ModelLoadFailed, match="there is no cuda:1: the host sees 1"):
        client.one(1, timeout=15)
    status = host.status()
    assert status
    assert status.state is State.FAILED
    assert status.retry_after is not None
