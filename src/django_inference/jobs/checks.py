"""What `manage.py check` says about `INFERENCE_JOBS`."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning
from django.core.files.storage import FileSystemStorage, InvalidStorageError, storages

from django_inference.conf import InvalidPredictor, JobsSettings, examine_jobs
from django_inference.jobs.engines import construct, engine_class
from django_inference.words import nearest


def check_jobs(**kwargs: Any) -> list[CheckMessage]:
    """Look at `INFERENCE_JOBS`, import the engine and ask it for the rest."""
    jobs, mistakes = examine_jobs()
    mistaken = {mistake.meant or mistake.key for mistake in mistakes}
    found: list[CheckMessage] = [_error(mistake) for mistake in mistakes]
    if "STORAGE" not in mistaken:
        found += _check_storage(jobs.storage)
    if not mistaken & {"ENGINE", "ENGINE_OPTIONS"}:
        found += _check_engine(jobs)
    return found


def _check_engine(jobs: JobsSettings) -> list[CheckMessage]:
    try:
        kind = engine_class(jobs)
        found = kind.check(**jobs.engine_options)
        if not found:
            construct(kind, jobs)
        return found
    except InvalidPredictor as mistake:
        return [_error(mistake)]


def _check_storage(alias: str) -> list[CheckMessage]:
    if alias not in settings.STORAGES:
        meant = nearest(alias, settings.STORAGES)
        return [
            Error(
                f"INFERENCE_JOBS['STORAGE']: STORAGES has no {alias!r}.",
                hint=f"Did you mean {meant!r}?" if meant else None,
                id="django_inference.E067",
            )
        ]
    try:
        storage = storages[alias]
    except InvalidStorageError as error:
        text = f"INFERENCE_JOBS['STORAGE']: STORAGES[{alias!r}] cannot be used: {error}"
        return [Error(text, id="django_inference.E067")]
    if isinstance(storage, FileSystemStorage) and not storage.base_location:
        return [
            Warning(
                f"INFERENCE_JOBS['STORAGE']: STORAGES[{alias!r}] has no folder, since MEDIA_ROOT "
                "is empty: each process keeps long inputs and results in the folder that it was "
                "started in.",
                hint="Set MEDIA_ROOT, or name a storage that the web server does not show.",
                id="django_inference.W060",
            )
        ]
    return []


def _error(mistake: InvalidPredictor) -> CheckMessage:
    return Error(mistake.message, hint=mistake.hint or None, id=mistake.check_id)
