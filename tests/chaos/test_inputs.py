"""Inputs that kill or hang the model, amid others; and inputs without end."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from django_inference.exceptions import ModelCrashed, PredictionTimeout
from django_inference.specs import Supervision
from tests.host.crowd import Crowd, Later
from tests.hosts import Host, do, eventually

MB = 1 << 20


def test_a_segfault_fails_its_own_input_alone(host: Host, is_long: bool) -> None:
    client = host.client(host.spec(supervision=Supervision(quarantine=0.0)))
    client.one(1)
    wrong: list[Any] = []
    is_over = threading.Event()

    def call(thread: int) -> None:
        number = thread
        while not is_over.is_set():
            number += 10
            try:
                if client.ask([number, {"x": number}]) != [number, {"x": number}]:
                    wrong.append(number)
            except Exception as error:
                wrong.append(error)

    threads = [threading.Thread(target=call, args=(index,)) for index in range(6)]
    for thread in threads:
        thread.start()
    killers = []
    for _ in range(20 if is_long else 3):
        try:
            killers.append(client.one(do("segfault")))
        except ModelCrashed as error:
            killers.append(error)
    is_over.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert all(isinstance(outcome, ModelCrashed) for outcome in killers)
    assert "signal 11" in host.log()


def test_while_one_replica_hangs_the_other_serves(
    host: Host, tmp_path: Path, is_long: bool
) -> None:
    spec = host.spec(supervision=Supervision(replicas=2, run_timeout=1.0))
    client = host.client(spec)
    eventually(lambda: len(host.declare(spec).sockets) == 2)
    with Crowd(client, do("pid"), threads=3) as crowd:
        for number in range(10 if is_long else 2):
            loaded = len(host.notes("loaded"))
            never = str(tmp_path / f"never {number}")
            hung = Later(client, do("hang unless", never), timeout=0.8)
            assert isinstance(hung.result(), PredictionTimeout)
            eventually(lambda: len(host.notes("loaded")) > loaded)  # noqa: B023
            eventually(lambda: len(host.declare(spec).sockets) == 2)
    assert crowd.errors == []
    assert host.log().count("a run took longer than run_timeout") >= 1


def test_a_megabyte_a_request_leaves_nothing_behind(host: Host, is_long: bool) -> None:
    client = host.client()
    pid = client.one(do("pid"))
    report = host.report()
    assert report
    processes = [psutil.Process(each) for each in (os.getpid(), pid, report.pid)]
    requests = 100_000 if is_long else 2_500
    wrong: list[Any] = []

    def call(thread: int, count: int) -> None:
        x = np.full(MB, thread, np.uint8)
        for index in range(count):
            x[index % MB] = index % 251
            y = client.one({"x": x})["x"]
            if y is x or y[index % MB] != index % 251 or y[-1] != x[-1]:
                wrong.append((thread, index))
            if index % 100 == 0:
                # A few give up, and their connections with them.
                try:
                    client.one({"do": "sleep", "with": 0.005, "x": x}, timeout=0.002)
                except PredictionTimeout:
                    continue

    def run(count: int) -> list[tuple[int, int]]:
        threads = [threading.Thread(target=call, args=(n, count // 4)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        time.sleep(0.3)
        return [(p.memory_info().rss, p.num_fds()) for p in processes]

    before = run(requests // 5)
    after = run(requests - requests // 5)
    assert wrong == []
    for (rss, fds), (rss_after, fds_after) in zip(before, after, strict=True):
        # Idle connections keep an arena of a few megabytes each: up to four of them.
        assert rss_after - rss < 24 * MB
        assert abs(fds_after - fds) <= 4 * 3
    growth = [(b[0] - a[0]) // 1024 for a, b in zip(before, after, strict=True)]
    print(f"{requests} requests of 1 MB: grown by {growth} KiB (client, worker, supervisor)")
    assert client.one(do("pid")) == pid
