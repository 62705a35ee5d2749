"""What `manage.py check` says about `INFERENCE_JOBS`."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error

from django_inference.conf import InvalidPredictor, examine_jobs
from django_inference.jobs.engines import engine_class
from django_inference.words import nearest


def check_jobs(**kwargs: Any) -> list[CheckMessage]:
    """Look at `INFERENCE_JOBS`, import the engine and ask it for the rest."""
    jobs, mistakes = examine_jobs()
    found: list[CheckMessage] = [_error(mistake) for mistake in mistakes]
    if jobs.storage not in settings.STORAGES:
        meant = nearest(jobs.storage, settings.STORAGES)
        found.append(
            Error(
                f"INFERENCE_JOBS['STORAGE']: STORAGES has no {jobs.storage!r}.",
                hint=f"Did you mean {meant!r}?" if meant else None,
                id="django_inference.E067",
            )
        )
    if any((mistake.meant or mistake.key) == "ENGINE" for mistake in mistakes):
        return found
    try:
        return found + engine_class(jobs).check(**jobs.engine_options)
    except InvalidPredictor as mistake:
        return [*found, _error(mistake)]


def _error(mistake: InvalidPredictor) -> CheckMessage:
    return Error(mistake.message, hint=mistake.hint or None, id=mistake.check_id)
