"""A site whose jobs are run by Celery workers, with the workers."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator, Sequence

from tests.celery.brokers import Broker
from tests.celery.workers import Worker, celery_site
from tests.servers.running import Site
from tests.tasks.office import Office


class CeleryOffice(Office):
    """As an `Office` whose workers are Celery's."""

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self.hired: list[Worker] = []

    def employ(self, children: int = 2, queues: Sequence[str] = ("celery", "models")) -> Worker:
        """Start a Celery worker."""
        worker = Worker(self.site, queues, children)
        self.hired.append(worker)
        return worker

    def dismiss(self, worker: Worker, *, orphans: bool = False) -> None:
        """Kill a worker, with its children or without them."""
        worker.kill(orphans=orphans)
        self.hired.remove(worker)

    def _start_clerk(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.celery.site.questions"],
            cwd=self.site.folder,
            env=self.site.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    @property
    def log(self) -> str:
        """What the workers have written."""
        return "\n".join(worker.log for worker in self.hired)

    def close(self) -> None:
        """Have everybody leave."""
        super().close()
        for worker in self.hired:
            worker.stop()


@contextlib.contextmanager
def celery_office(
    *predictors: str, broker: Broker, results: str = "", **variables: str
) -> Iterator[CeleryOffice]:
    """An office that is closed in the end."""
    site = celery_site(*predictors, broker=broker.url, results=results, **variables)
    # Whoever is killed has somebody who complains.
    site.expects_errors = True
    try:
        with contextlib.closing(CeleryOffice(site)) as office:
            yield office
    finally:
        wrong = site.end()
    assert not wrong, "\n".join(wrong)
