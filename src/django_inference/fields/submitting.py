"""From a saved row to a job."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any, cast

from django.db import router, transaction
from django.db.models import Model, Q, QuerySet

from django_inference.conf import InvalidPredictor
from django_inference.exceptions import InferenceError
from django_inference.fields.sources import digest_of, files_of, opened

if TYPE_CHECKING:
    from django_inference.fields.columns import PredictedMixin

WAITING, READY, FAILED = "waiting", "ready", "failed"

#: In the instance's `__dict__`: names of the predicted fields whose file is new.
_UPLOADS = "_predicted_uploads"


def predicted_fields(model: type[Model]) -> list[PredictedMixin]:
    """The columns of a model, or of what a proxy stands for, that predictors fill."""
    from django_inference.fields.columns import PredictedMixin

    return [field for field in model._meta.concrete_fields if isinstance(field, PredictedMixin)]


def key_of(field: PredictedMixin, instance: Model) -> Any:
    """The primary key of the instance's row in the table that has the column."""
    return getattr(instance, cast(Any, field.model._meta.pk).attname)


def note_uploads(*, sender: type[Model], instance: Model, raw: bool = False, **kwargs: Any) -> None:
    """Receiver of `pre_save`: afterwards a new file looks like any other."""
    new = {
        field.name
        for field in predicted_fields(sender)
        if any(not file._committed for file in files_of(instance, field.source))  # type: ignore[attr-defined]
    }
    if new:
        instance.__dict__[_UPLOADS] = new


def submit_after_save(
    *,
    sender: type[Model],
    instance: Model,
    raw: bool = False,
    using: str,
    update_fields: Collection[str] | None = None,
    **kwargs: Any,
) -> None:
    """Receiver of `post_save`: have predicted what has changed.

    A fixture brings its answers with it.
    """
    new = instance.__dict__.pop(_UPLOADS, set())
    if raw:
        return
    for field in predicted_fields(sender):
        if _may_have_changed(field, instance, update_fields):
            submit(field, instance, using=using, force=field.name in new)


def _may_have_changed(
    field: PredictedMixin, instance: Model, update_fields: Collection[str] | None
) -> bool:
    names = field.source.fields
    columns = field.model._meta.concrete_fields
    if not names or not names <= {column.name for column in columns}:
        # A function, or a property: whatever those read.
        return True
    read = [column for column in columns if column.name in names]
    # What was not loaded was not saved either, and need not be loaded for this.
    if {column.attname for column in read} <= instance.get_deferred_fields():
        return False
    written = None if update_fields is None else set(update_fields)
    return written is None or any({column.name, column.attname} & written for column in read)


def submit(field: PredictedMixin, instance: Model, *, using: str, force: bool = False) -> bool:
    """Submit a job, unless this source has one, and empty the column until it is done.

    The row and its job are written in one transaction, so that neither is there without the
    other. What the model does not take, and a file that cannot be read, is noted in the row:
    it is no reason not to save it.

    Args:
        field: of the instance's model.
        instance: it has been saved.
        using: the database it is in.
        force: also where the source is what it was.

    Returns:
        Whether there is a new job.
    """
    rows = field.model._base_manager.using(using).filter(pk=key_of(field, instance))
    item = field.source.read(instance)
    info: dict[str, Any] | None = None
    if item is not None:
        info = {"state": WAITING, "source": digest_of(item), "job": None, "error": ""}
    with transaction.atomic(using=using):
        # The UPDATE comes first: it decides between two saves at a time, and SQLite does not
        # let a transaction write that has begun by reading, if another one wrote meanwhile.
        if not _changed(field, rows, info, force).update(
            **{field.attname: None, field.companion_name: info}
        ):
            return False
        if info is not None:
            _submit(field, instance, item, info, using)
            rows.update(**{field.companion_name: info})
    setattr(instance, field.attname, None)
    setattr(instance, field.companion_name, info)
    return info is not None and info["state"] == WAITING


def _changed(
    field: PredictedMixin, rows: QuerySet[Model], info: dict[str, Any] | None, force: bool
) -> QuerySet[Model]:
    name = field.companion_name
    if info is None:
        return rows.filter(**{f"{name}__isnull": False})
    if force:
        return rows
    return rows.filter(Q(**{f"{name}__isnull": True}) | ~Q(**{f"{name}__source": info["source"]}))


def _submit(
    field: PredictedMixin, instance: Model, item: Any, info: dict[str, Any], using: str
) -> None:
    """Submit the item, and write into the info what became of that."""
    from django_inference.registry import predictors

    target = {
        "model": field.model._meta.label,
        "field": field.name,
        "pk": str(key_of(field, instance)),
        "using": using,
        "source": info["source"],
    }
    try:
        predictor = predictors[field.predictor]
        job = predictor.submit(opened(item), one=True, priority=field.priority, target=target)
    except (InferenceError, InvalidPredictor, OSError) as error:
        info |= {"state": FAILED, "error": str(error)}
    else:
        info["job"] = str(job.pk)


def refill(rows: QuerySet[Any], name: str) -> int:
    """Submit a job for each of these rows, whatever its column holds.

    For rows whose prediction failed, and those that no `save()` has announced: of
    `bulk_create`, of `QuerySet.update`, or from before there was the column.

    Args:
        rows: which ones, as in `Photo.objects.filter(labels_prediction__state="failed")`.
        name: of the predicted column.

    Returns:
        How many jobs there are now.
    """
    field = cast("PredictedMixin", rows.model._meta.get_field(name))
    using = router.db_for_write(rows.model)
    # Of the keys first: what is submitted may no longer be among the rows that were asked for.
    keys = list(rows.order_by("pk").values_list("pk", flat=True))
    found = rows.model._base_manager.using(using)
    return sum(
        submit(field, instance, using=using, force=True)
        for key in keys
        for instance in found.filter(pk=key)
    )
