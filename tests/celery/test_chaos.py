"""Workers, hosts and the broker are killed under load: every job ends with one right result."""

from __future__ import annotations

import time
from typing import NamedTuple

import pytest

from tests.celery.brokers import Broker
from tests.celery.office import CeleryOffice, celery_office
from tests.tasks.test_chaos import kill_host

pytestmark = pytest.mark.chaos


class Plan(NamedTuple):
    """How much is done and destroyed.

    Attributes:
        jobs: that are submitted at once.
        seconds: that each takes.
        children: of each of the two workers.
        pause: seconds between two killed workers.
        stride: jobs that have to be done between them: who kills everybody while they still
            start up waits for ever.
        least: workers that have to be killed.
        requeue_after: seconds after which a job that nobody has begun is enqueued again.
        patience: seconds for all of it.
        goes_on: workers are killed until all jobs are done, not only until there were enough.
    """

    jobs: int
    seconds: float
    children: int
    pause: float
    stride: int
    least: int
    requeue_after: float
    patience: float
    goes_on: bool = False


SHORT = Plan(90, 0.1, 2, pause=0.5, stride=12, least=3, requeue_after=5.0, patience=480.0)
LONG = Plan(
    2_000, 0.2, 4, pause=5.0, stride=100, least=8, requeue_after=20.0, patience=1500.0, goes_on=True
)


@pytest.mark.parametrize("kind", ["rabbitmq", "redis"])
def test_no_job_is_lost_wrong_or_recorded_twice(kind: str, request: pytest.FixtureRequest) -> None:
    plan = LONG if request.config.getoption("--chaos") else SHORT
    broker: Broker = request.getfixturevalue(kind)
    variables = {"SITE_REQUEUE_AFTER": str(plan.requeue_after)}
    with celery_office("shaken", broker=broker, **variables) as office:
        office.ask("watch_records")
        havoc = Havoc(office, broker, plan)
        began = time.monotonic()
        havoc.wreak()
        seconds = time.monotonic() - began
        report = office.ask("report")
    print(f"{kind}: {havoc.jobs} jobs in {seconds:.1f} s; killed: {havoc.killed}; {report}")
    assert report["wrong"] == []
    assert report["states"] == {"succeeded": havoc.jobs}
    # A result was written once for each, whatever was run twice.
    assert report["records"] == {"1": havoc.jobs}


class Havoc:
    """Jobs, and the killing of those who do them."""

    def __init__(self, office: CeleryOffice, broker: Broker, plan: Plan) -> None:
        self.jobs = 0
        self.killed = {"workers": 0, "hosts": 0, "brokers": 0}
        self._office, self._broker, self._plan = office, broker, plan
        self._done = 0

    def wreak(self) -> None:
        """Kill until all is done."""
        until = time.monotonic() + self._plan.patience
        for _ in range(2):
            self._office.employ(self._plan.children)
        self._submit(self._plan.jobs)
        while not (is_done := self._office.ask("are_done", self.jobs)) or not self._is_enough:
            assert time.monotonic() < until, f"{self._office.ask('jobs')}\n{self._office.log}"
            if is_done:
                # Few blows on a fast machine prove little: go on until there were enough.
                self._submit(self._plan.jobs // 3)
            time.sleep(self._plan.pause)
            said = self._office.ask("jobs")
            is_due = said.get("succeeded", 0) > self._done + self._plan.stride
            if is_due and said.get("running") and (self._plan.goes_on or not self._is_enough):
                self._strike(said["succeeded"])

    def _strike(self, done: int) -> None:
        self._done = done
        # The other one works on. Every second time the children are left behind.
        worker = self._office.hired[0]
        self._office.dismiss(worker, orphans=self.killed["workers"] % 2 == 1)
        self._office.employ(self._plan.children)
        self.killed["workers"] += 1
        # At a third, and at two thirds of what there is to do.
        if self.killed["hosts"] < 2 and done > self._plan.jobs * (self.killed["hosts"] + 1) // 3:
            self.killed["hosts"] += kill_host(self._office)
        if not self.killed["brokers"] and done > self._plan.jobs // 2:
            self._broker.kill()
            self._broker.start()
            self.killed["brokers"] += 1

    @property
    def _is_enough(self) -> bool:
        killed = self.killed
        enough = killed["workers"] >= self._plan.least
        return enough and killed["hosts"] == 2 and killed["brokers"] == 1

    def _submit(self, count: int) -> None:
        self._office.ask("submit", count, self._plan.seconds)
        self.jobs += count
