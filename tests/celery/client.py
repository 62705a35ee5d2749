"""The Celery app of a web tier: this process, which calls the workers of the site."""

from __future__ import annotations

import celery

#: Its broker is set by the test.
app = celery.Celery("web", set_as_current=False)
PATH = "tests.celery.client.app"


def use(broker: str, results: str) -> None:
    """Have the app talk to these."""
    global app
    app = celery.Celery("web", broker=broker, backend=results, set_as_current=False)
    app.conf.task_queue_max_priority = 9
