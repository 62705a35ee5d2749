"""Requests to a site under gunicorn while processes are killed: none is lost, none is wrong."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable

import httpx
import psutil
import pytest

from django_inference.specs import State, Status
from tests.servers.conftest import SiteOf
from tests.servers.running import Site, running
from tests.servers.web import Server

THREADS = 12


class Load:
    """Threads that send numbered requests and check every answer against its number."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.right = 0
        self.wrong: list[str] = []
        self.slowest = 0.0
        self._numbers = itertools.count()
        self._lock = threading.Lock()

    def send(self, count: int, meanwhile: Callable[[], None]) -> None:
        """Send so many requests, and do something again and again until they are answered."""
        last = self.right + len(self.wrong) + count
        threads = [threading.Thread(target=self._run, args=(last,)) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            meanwhile()
        for thread in threads:
            thread.join()

    def _run(self, last: int) -> None:
        with httpx.Client(base_url=self.server.client.base_url, timeout=60.0) as client:
            while True:
                with self._lock:
                    number = next(self._numbers)
                    if number >= last:
                        # Whoever came too late has taken a number that nobody sends.
                        return
                self._call(client, number)

    def _call(self, client: httpx.Client, number: int) -> None:
        began = time.monotonic()
        body = [{"value": number, "seconds": 0.001}, {"value": -number}]
        try:
            response = client.post("/predict/shaken/", json=body)
            said = response.text
            is_right = response.status_code == 200 and response.json()["result"] == [
                2 * number,
                -2 * number,
            ]
        except httpx.HTTPError as error:
            said, is_right = repr(error), False
        with self._lock:
            self.slowest = max(self.slowest, time.monotonic() - began)
            if is_right:
                self.right += 1
            else:
                self.wrong.append(f"{number}: {said[:300]}")


def kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


class Killer:
    """Kills processes of a site, and lets it come to itself between two blows."""

    def __init__(self, site: Site, pause: float) -> None:
        self._site = site
        self._pause = pause
        self._random = random.Random(7)
        self.killed: Counter[str] = Counter()

    def worker(self) -> None:
        """One of the two workers."""
        time.sleep(self._pause)
        status = self._site.status("shaken")
        ready = [r.pid for r in status.replicas if r.state is State.READY] if status else []
        if len(ready) == 2:
            kill(self._random.choice(ready))
            self.killed["worker"] += 1

    def host(self) -> None:
        """The supervisor; its workers leave with it."""
        if self._is_up():
            time.sleep(self._pause)
            for process in self._site.supervisors():
                kill(process.pid)
                self.killed["host"] += 1

    def both(self) -> None:
        """The supervisor and all the workers."""
        if self._is_up():
            time.sleep(self._pause)
            workers = running(self._site.processes(), "django_inference.host.worker")
            for process in (*self._site.supervisors(), *workers):
                kill(process.pid)
            self.killed["both"] += 1

    def _is_up(self) -> bool:
        time.sleep(0.05)
        status: Status | None = self._site.status("shaken")
        return status is not None and status.state is State.READY


@pytest.mark.parametrize("victim", ["worker", "host", "both"])
def test_no_request_is_lost_or_wrong(site_of: SiteOf, is_long: bool, victim: str) -> None:
    site = site_of("shaken")
    site.expects_errors = True
    server = site.serve("gunicorn gthread").wait_listening()
    site.wait_ready("shaken")
    killer = Killer(site, 1.0 if is_long else 0.4)
    load = Load(server)
    total, least = (10_000, 10) if is_long else (1_200, 3)
    load.send(total, getattr(killer, victim))
    # Few blows on a fast machine prove little: go on until there were enough.
    for _ in range(60):
        if killer.killed[victim] >= least:
            break
        load = proceed(load, total // 6, getattr(killer, victim))
    # The last blow may have come after the last answer: a call brings everything back.
    load = proceed(load, THREADS, lambda: time.sleep(0.05))
    assert load.wrong == []
    assert load.right >= total
    assert killer.killed[victim] >= least
    print(f"{victim}: {dict(killer.killed)} killed, slowest answer {load.slowest:.1f} s")
    after = site.wait_ready("shaken")
    assert len({replica.pid for replica in after.replicas}) == 2
    # One host, two workers, and nothing of those that were killed.
    time.sleep(0.5)
    assert len(site.supervisors()) == 1
    workers = running(site.processes(), "django_inference.host.worker")
    assert len([w for w in workers if w.status() != psutil.STATUS_ZOMBIE]) == 2


def proceed(load: Load, count: int, meanwhile: Callable[[], None]) -> Load:
    """More requests of the same load, whose counts go on."""
    more = Load(load.server)
    more.send(count, meanwhile)
    more.right += load.right
    more.wrong += load.wrong
    more.slowest = max(more.slowest, load.slowest)
    return more
