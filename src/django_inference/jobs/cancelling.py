"""Ending jobs whose results nobody wants."""

from __future__ import annotations

import logging
from functools import partial

from django.db import router, transaction

from django_inference.jobs import transitions
from django_inference.jobs.announcing import announce
from django_inference.jobs.engines import engine
from django_inference.jobs.models import Job

logger = logging.getLogger("django_inference.jobs")


def cancel(job: Job) -> bool:
    """Cancel a job; take it back from its queue once that is committed.

    Returns:
        Whether this call has ended it.
    """
    if not transitions.cancel(job):
        return False
    transaction.on_commit(partial(_revoke, job), using=router.db_for_write(Job), robust=True)
    announce(job)
    return True


def _revoke(job: Job) -> None:
    try:
        engine().revoke(job)
    except Exception as error:
        # Nobody runs it in any case: it cannot be claimed any more.
        logger.warning("job not taken back from its queue job=%s: %s", job.pk, error)
