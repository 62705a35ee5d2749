"""Sweeping by the database worker of Django's tasks, which does nothing while its queue is empty.

Whoever submits, runs or awaits a job sweeps beside that. When all of them are gone, and the last
worker was killed amid a job, somebody has to notice: the worker that was started in its place.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from typing import Any

from django.db import connections
from django.db.backends.signals import connection_created

from django_inference.conf import jobs_settings
from django_inference.jobs.engines import engine
from django_inference.jobs.outbox import sweep_sometimes

logger = logging.getLogger("django_inference.jobs")

COMMAND = "db_worker"

_started_in = 0


def sweep_in_workers() -> None:
    """Have this process sweep for as long as it lives, if it is `manage.py db_worker`.

    That begins with its first connection: while Django starts, nobody may ask the database.
    """
    if COMMAND in sys.argv[1:2]:
        connection_created.connect(_start, dispatch_uid="django_inference.jobs.sweeping")


def _start(**kwargs: Any) -> None:
    """Receiver of `connection_created`; the thread's own connections come by here, too."""
    global _started_in
    if _started_in != os.getpid():
        _started_in = os.getpid()
        threading.Thread(target=_sweep, name="inference-sweep", daemon=True).start()


def _sweep() -> None:
    pause = threading.Event()
    while not pause.wait(jobs_settings().sweep_interval):
        try:
            engine().recover()
            # The worker's own thread sweeps, too, after each job.
            sweep_sometimes(limit=1000)
        except Exception:
            # The next one may find the database where it was.
            logger.warning("sweep failed", exc_info=True)
        finally:
            connections.close_all()
