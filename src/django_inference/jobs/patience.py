"""Asking a database that restarts."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from django.db import InterfaceError, OperationalError, connections, router

from django_inference.jobs.models import Job

logger = logging.getLogger("django_inference.jobs")

T = TypeVar("T")

#: Seconds before each further try.
PAUSES = (0.1, 0.5, 2.0, 5.0, 10.0)


def patiently(change: Callable[[], T]) -> T:
    """Make a change in the database, also where that is away for a moment.

    Raises:
        OperationalError: it was away for longer, or the caller's own transaction is broken.
    """
    for pause in PAUSES:
        try:
            return change()
        except (OperationalError, InterfaceError) as error:
            connection = connections[router.db_for_write(Job)]
            if connection.in_atomic_block:
                raise
            logger.warning("database fails, trying again in %g s: %s", pause, error)
            connection.close()
            time.sleep(pause)
    return change()
