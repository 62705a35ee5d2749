"""New versions under load."""

from __future__ import annotations

import statistics
import threading
import time
from pathlib import Path

import pytest

from django_inference.host.protocol import Reload
from tests.hosts import Client, Host, do, eventually


class Asker(threading.Thread):
    """Asks for the version all the time; remembers how long it took, and what cannot be."""

    def __init__(self, client: Client, deploys: Deploys) -> None:
        super().__init__()
        self._client, self._deploys = client, deploys
        self.is_over = False
        self.seconds: list[float] = []
        self.wrong: list[str] = []
        self.seen: set[int] = set()

    def run(self) -> None:
        while not self.is_over:
            serving = self._deploys.serving
            began = time.monotonic()
            try:
                answer = int(self._client.one(do("artifact")))
            except Exception as error:
                self.wrong.append(repr(error))
                continue
            self.seconds.append(time.monotonic() - began)
            self.seen.add(answer)
            # Not older than what served when it was asked, not newer than what there is.
            if not serving <= answer <= self._deploys.written:
                self.wrong.append(f"{answer}, not {serving} to {self._deploys.written}")
            time.sleep(0.001)


class Deploys:
    """An artifact that holds the number of its version."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.written = self.serving = 0
        self.write()
        self.serving = self.written

    def write(self) -> None:
        """Put the next one in its place."""
        self.written += 1
        fresh = self.path.with_suffix(".new")
        fresh.write_text(str(self.written))
        fresh.replace(self.path)


def quantile(seconds: list[float]) -> float:
    return statistics.quantiles(seconds, n=100)[98]


@pytest.mark.parametrize("replicas", [1, 2])
def test_reloads_under_load_fail_no_call_and_mix_no_versions(
    host: Host, tmp_path: Path, is_long: bool, replicas: int, record_property: object
) -> None:
    deploys = Deploys(tmp_path / "model")
    spec = host.spec(artifact=deploys.path, replicas=replicas)
    clients = [host.client(spec) for _ in range(2)]
    eventually(lambda: len(host.declare(spec).sockets) == replicas)
    askers = [Asker(clients[index % 2], deploys) for index in range(6)]
    for asker in askers:
        asker.start()
    time.sleep(5.0 if is_long else 1.0)
    steady = [seconds for asker in askers for seconds in asker.seconds]
    begun = [len(asker.seconds) for asker in askers]
    rounds = 30 if is_long else 4
    for _ in range(rounds):
        began = time.monotonic()
        deploys.write()
        host.ask(Reload("model"))
        eventually(
            lambda: (s := host.status()) and not s.next_version and latest(clients[0], deploys)
        )
        # Every call from now on has to be answered by it.
        deploys.serving = deploys.written
        time.sleep(max(0.0, 2.0 - (time.monotonic() - began)) if is_long else 0.3)
    for asker in askers:
        asker.is_over = True
    for asker in askers:
        asker.join()
    assert [wrong for asker in askers for wrong in asker.wrong] == []
    assert set.union(*(asker.seen for asker in askers)) == set(range(1, rounds + 2))
    during = [
        seconds
        for asker, first in zip(askers, begun, strict=True)
        for seconds in asker.seconds[first:]
    ]
    print(
        f"{rounds} reloads, {replicas} replicas: p99 {1000 * quantile(during):.1f} ms, "
        f"steady {1000 * quantile(steady):.1f} ms, {len(during)} calls"
    )


def latest(client: Client, deploys: Deploys) -> bool:
    return int(client.one(do("artifact"))) == deploys.written
