"""Removing what nobody needs any more."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.db import transaction

from django_inference.jobs.payloads import remove_file


def remove_files_of(*, instance: Any, using: str, **kwargs: Any) -> None:
    """Receiver of `post_delete`: the files of a job go with its row, once that is committed."""
    for name in (instance.inputs_file, instance.result_file):
        if name:
            transaction.on_commit(partial(remove_file, name), using=using, robust=True)
