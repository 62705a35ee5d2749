"""Removing jobs that nobody needs any more, and files that no job names."""

from __future__ import annotations

import contextlib
import datetime
import posixpath
import uuid
from collections.abc import Iterator
from functools import partial
from typing import Any

from django.db import transaction
from django.utils import timezone

from django_inference.jobs.models import Job
from django_inference.jobs.payloads import FOLDER, file_storage, remove_file

#: Jobs that one transaction removes.
BATCH = 500
#: Days after which a file that no job names is nobody's: one is written before its row is
#: committed.
ORPHANED_AFTER = 2


def prune(older_than: float) -> tuple[int, int]:
    """Remove jobs that ended long ago, their files, and files that were left behind.

    Args:
        older_than: days since the end of a job.

    Returns:
        How many jobs, and how many files that belonged to none.
    """
    before = timezone.now() - datetime.timedelta(days=older_than)
    old = Job.objects.finished().filter(finished_at__lt=before).order_by("finished_at")
    jobs = 0
    while keys := list(old.values_list("pk", flat=True)[:BATCH]):
        _, removed = Job.objects.without_payloads().filter(pk__in=keys).delete()
        jobs += removed.get(Job._meta.label, 0)
    return jobs, _remove_orphans()


def remove_files_of(*, instance: Any, using: str, **kwargs: Any) -> None:
    """Receiver of `post_delete`: the files of a job go with its row, once that is committed."""
    for name in (instance.inputs_file, instance.result_file):
        if name:
            transaction.on_commit(partial(remove_file, name), using=using, robust=True)


def _remove_orphans() -> int:
    count = 0
    for folder, files in _old_folders():
        names = {posixpath.join(folder, file) for file in files}
        orphans = names - set(_named(names))
        for name in orphans:
            remove_file(name)
        count += len(orphans)
        if orphans == names:
            # A storage that has folders at all has an empty one left.
            with contextlib.suppress(Exception):
                file_storage().delete(folder)
    return count


def _old_folders() -> Iterator[tuple[str, list[str]]]:
    """The folders of the days that are over, with the files in each."""
    storage = file_storage()
    today = timezone.now().date()
    try:
        folders, _ = storage.listdir(FOLDER)
    except (NotImplementedError, FileNotFoundError):
        # Not every storage can say what it holds, and this one may hold nothing yet.
        return
    for name in sorted(folders):
        with contextlib.suppress(ValueError):
            age = today - datetime.date.fromisoformat(name)
            if age.days > ORPHANED_AFTER:
                folder = posixpath.join(FOLDER, name)
                yield folder, storage.listdir(folder)[1]


def _named(names: set[str]) -> Iterator[str]:
    """Those of the files that some job names."""
    keys = []
    for name in names:
        with contextlib.suppress(ValueError):
            keys.append(uuid.UUID(posixpath.basename(name).partition("-")[0]))
    for start in range(0, len(keys), BATCH):
        rows = Job.objects.filter(pk__in=keys[start : start + BATCH])
        for pair in rows.values_list("inputs_file", "result_file"):
            yield from pair
