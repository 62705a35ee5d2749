"""Durable jobs over real brokers: routed, in order of urgency, and not lost with the broker."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.celery.brokers import Broker
from tests.celery.office import CeleryOffice, celery_office
from tests.hosts import eventually


@pytest.fixture(scope="module", params=["rabbitmq", "redis"])
def broker(request: pytest.FixtureRequest) -> Broker:
    running: Broker = request.getfixturevalue(request.param)
    return running


@pytest.fixture(scope="module")
def shared(broker: Broker) -> Iterator[CeleryOffice]:
    # What `queued` answers to other callers would be there.
    results = "redis://127.0.0.1:1/0"
    with celery_office("shaken", "aside", "queued", broker=broker, results=results) as made:
        yield made


@pytest.fixture
def office(shared: CeleryOffice) -> Iterator[CeleryOffice]:
    """The office without a worker and without jobs."""
    yield shared
    for worker in [*shared.hired]:
        shared.dismiss(worker)
    shared.ask("forget")


def test_urgent_jobs_are_run_first_and_cancelled_ones_never(office: CeleryOffice) -> None:
    submitted = [
        office.ask("submit_to", "shaken", value, priority)
        for value, priority in enumerate(["low", "normal", "high", "normal", "high"])
    ]
    assert all(job["state"] == "queued" and job["task"] for job in submitted)
    assert office.ask("cancel", 3)
    elsewhere = office.ask("submit_to", "aside", 5)
    assert elsewhere["state"] == "queued"
    office.employ(children=1)
    office.wait_until("are_done_but", 1)
    assert office.ask("order") == [2, 4, 1, 0]
    # Its queue is another one, which nobody takes from.
    assert office.ask("states")["5"] == "queued"
    # The one child runs this job itself: there is no other who would answer its call.
    office.ask("submit_to", "queued", 6)
    office.wait_until("are_done_but", 1)
    office.employ(children=1, queues=["aside"])
    office.wait_until("are_done", 7)
    assert office.ask("states") == dict.fromkeys("012456", "succeeded") | {"3": "cancelled"}


def test_while_the_broker_is_away_jobs_wait(office: CeleryOffice, broker: Broker) -> None:
    # A web process that is killed between the commit and the queue.
    with pytest.raises(EOFError):
        office.ask("submit_and_die")
    worker = office.employ().wait_ready()
    broker.kill()
    try:
        found = [office.ask("submit_to", "shaken", value) for value in range(5)]
        assert [job["state"] for job in found] == ["waiting"] * 5
        # The first finds out; the others are spared the wait.
        assert all(job["seconds"] < 30 for job in found)
    finally:
        broker.start()
    # Nobody submits any more: it is the worker that looks for what waits.
    office.wait_until("are_done", 6)
    assert office.ask("report")["wrong"] == []
    # A worker that is told to leave ends what it has begun.
    office.ask("submit", 30, 0.02)
    eventually(lambda: office.ask("jobs")["succeeded"] > 6, 60.0)
    worker.stop()
    assert office.ask("jobs").get("running", 0) == 0
