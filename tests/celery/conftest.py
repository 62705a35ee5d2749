"""Celery with real brokers; each kind is started once for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.celery.brokers import Broker, broker
from tests.celery.workers import Worker, celery_site
from tests.servers.running import Site

pytest.importorskip("celery")

HERE = Path(__file__).parent


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if HERE not in item.path.parents:
            continue
        if {"broker", "rabbitmq", "redis"} & {*getattr(item, "fixturenames", ())}:
            item.add_marker(pytest.mark.servers)
        item.add_marker(pytest.mark.timeout(1800 if config.getoption("--chaos") else 600))


@pytest.fixture(scope="session")
def rabbitmq() -> Iterator[Broker]:
    with broker("rabbitmq") as running:
        yield running


@pytest.fixture(scope="session")
def redis() -> Iterator[Broker]:
    with broker("redis") as running:
        yield running


@pytest.fixture(scope="module", params=["rabbitmq", "redis"])
def stage(request: pytest.FixtureRequest, redis: Broker) -> Iterator[Stage]:
    """A site with a Celery worker of two children, over each kind of broker."""
    through: Broker = request.getfixturevalue(request.param)
    site = celery_site("queued", "mirror", "idle", broker=through.url, results=redis.url)
    # Children are killed, models raise.
    site.expects_errors = True
    made = Stage(request.param, site, through, redis)
    try:
        site.manage("migrate", "--verbosity", "0")
        made.worker = Worker(site).wait_ready()
        yield made
    finally:
        made.end()


class Stage:
    """What the tests of one file share.

    Args:
        kind: of the broker.
        site: whose workers run.
        broker: that its tasks go through.
        results: where its answers are.
    """

    def __init__(self, kind: str, site: Site, broker: Broker, results: Broker) -> None:
        self.kind = kind
        self.site = site
        self.broker = broker
        self.results = results
        self.worker: Worker | None = None

    def end(self) -> None:
        """Leave nothing behind."""
        if self.worker is not None:
            self.worker.stop()
        wrong = self.site.end()
        assert not wrong, "\n".join(wrong)
