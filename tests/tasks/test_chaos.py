"""Workers and hosts are killed under load: every job ends with one result, which is right."""

from __future__ import annotations

import time

import psutil
import pytest

from tests.servers.running import running
from tests.tasks.conftest import OfficeIn
from tests.tasks.office import Office, kill

pytestmark = [pytest.mark.chaos, pytest.mark.servers, pytest.mark.timeout(300)]

WORKERS = 3
#: Jobs that are done between two blows.
PROGRESS = 20


@pytest.mark.parametrize("name", ["sqlite", "postgresql"])
def test_no_job_is_lost_wrong_or_recorded_twice(
    office_in: OfficeIn, name: str, request: pytest.FixtureRequest
) -> None:
    is_long = request.config.getoption("--chaos")
    office = office_in(name)
    office.ask("watch_records")
    for _ in range(WORKERS):
        office.hire()
    havoc = Havoc(office, *((2_000, 5.0, 6) if is_long else (120, 0.5, 3)))
    began = time.monotonic()
    havoc.wreak(1500.0 if is_long else 240.0)
    seconds = time.monotonic() - began
    report = office.ask("report")
    print(f"{name}: {havoc.jobs} jobs in {seconds:.1f} s; killed: {havoc.killed}; {report}")
    assert report["wrong"] == []
    assert report["files"] == 2 * (havoc.jobs // 10)
    assert report["states"] == {"succeeded": havoc.jobs}
    # A result was written once for each, whatever was run twice.
    assert report["records"] == {"1": havoc.jobs}


class Havoc:
    """Jobs, and the killing of those who do them.

    Args:
        office: where.
        jobs: how many are submitted, bit by bit.
        pause: seconds between two killed workers.
        least: workers that have to be killed.
    """

    def __init__(self, office: Office, jobs: int, pause: float, least: int) -> None:
        self.jobs = self._done = 0
        self.killed = {"workers": 0, "hosts": 0}
        self._office, self._wanted, self._pause, self._least = office, jobs, pause, least
        self._portion = jobs // 20
        self._struck_at = time.monotonic()

    def wreak(self, seconds: float) -> None:
        """Submit and kill until all is done."""
        until = time.monotonic() + seconds
        while not self._is_over():
            assert time.monotonic() < until, self._office.ask("jobs")
            if self.jobs < self._wanted:
                self._office.ask("submit", self._portion, 0.03, self.jobs)
                self.jobs += self._portion
            for worker in self._office.workers:
                # As an administrator has it: what ends by itself is started again.
                if worker.poll() is not None:
                    self._office.replace(worker)
                    self.killed["ended"] = self.killed.get("ended", 0) + 1
                    break
            done = self._office.ask("jobs").get("succeeded", 0)
            waited = time.monotonic() - self._struck_at
            # Who kills everybody while they still start up waits for ever.
            if waited < self._pause or done < self._done + PROGRESS:
                time.sleep(0.05)
                continue
            self._strike(done)
            self._done, self._struck_at = done, time.monotonic()

    def _strike(self, done: int) -> None:
        self._office.replace(self._office.workers[0])
        self.killed["workers"] += 1
        # At a third, and at two thirds of what there is to do.
        if self.killed["hosts"] < 2 and done > self._wanted * (self.killed["hosts"] + 1) // 3:
            self.killed["hosts"] += kill_host(self._office)

    def _is_over(self) -> bool:
        if self.jobs < self._wanted or not self._office.ask("are_done", self.jobs):
            return False
        if self.killed["workers"] >= self._least and self.killed["hosts"] == 2:
            return True
        # Few blows on a fast machine prove little: go on until there were enough.
        self._wanted += 4 * self._portion
        return False


def kill_host(office: Office) -> int:
    supervisors = office.site.supervisors()
    workers = running(office.site.processes(), "django_inference.host.worker")
    kill([process.pid for process in (*supervisors, *workers)])
    psutil.wait_procs(supervisors, timeout=30)
    return len(supervisors)
