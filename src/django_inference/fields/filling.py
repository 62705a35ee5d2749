"""From a finished job back into the row."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.core.exceptions import FieldDoesNotExist
from django.db import DataError, transaction
from django.db.models import F

from django_inference.exceptions import InferenceError
from django_inference.fields.sources import digest_of
from django_inference.fields.submitting import FAILED, READY, submit
from django_inference.querysets.writing import fitting

if TYPE_CHECKING:
    from django_inference.fields.columns import PredictedMixin
    from django_inference.jobs.models import Job

logger = logging.getLogger("django_inference")


def fill(*, job: Job, **kwargs: Any) -> None:
    """Receiver of `job_finished`: write the answer into the row that asked for it.

    Nothing is written if the row has gone, asks another job by now, or has another source
    than the one that was sent. A repetition changes nothing.
    """
    from django_inference.fields.columns import PredictedMixin

    target = job.target
    if not isinstance(target, dict) or not {"model", "field", "pk"} <= target.keys():
        return
    try:
        model = apps.get_model(target["model"])
        field = model._meta.get_field(target["field"])
    except (LookupError, FieldDoesNotExist):
        logger.warning("a predicted field has gone target=%s job=%s", target, job.pk)
        return
    if isinstance(field, PredictedMixin):
        _fill(field, job, target)


def _fill(field: PredictedMixin, job: Job, target: dict[str, Any]) -> None:
    using = target["using"]
    value, state, error = _answer(field, job)
    info = {"state": state, "source": target["source"], "job": str(job.pk), "error": error}
    columns: dict[str, Any] = {field.attname: value, field.companion_name: info}
    rows = field.model._base_manager.using(using).filter(
        pk=target["pk"], **{f"{field.companion_name}__job": str(job.pk)}
    )
    with transaction.atomic(using=using):
        # Locks the row in every database, which SELECT … FOR UPDATE does not do in SQLite.
        if not rows.update(**{field.companion_name: F(field.companion_name)}):
            return
        instance = rows.get()
        item = field.source.read(instance)
        if item is None or digest_of(item) != target["source"]:
            # Changed without `save()`: by `QuerySet.update`, or through a related row.
            submit(field, instance, using=using)
            return
        try:
            with transaction.atomic(using=using):
                rows.update(**columns)
        except DataError as refusal:
            # What no validator knows of: a number that is too large for the database.
            columns[field.attname] = None
            columns[field.companion_name] |= {"state": FAILED, "error": str(refusal)}
            rows.update(**columns)


def _answer(field: PredictedMixin, job: Job) -> tuple[Any, str, str]:
    """The value for the column, the state, and what went wrong."""
    try:
        result = job.get_result()
    except InferenceError as error:
        return None, FAILED, str(error)
    try:
        return fitting(field, _output(field, result)), READY, ""
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        return None, FAILED, f"{type(error).__name__}: {error}"


def _output(field: PredictedMixin, result: Any) -> Any:
    if field.output is None:
        return result
    if callable(field.output):
        return field.output(result)
    for name in field.output.split("."):
        result = result[int(name)] if isinstance(result, list | tuple) else result[name]
    return result
