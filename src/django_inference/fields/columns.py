"""The columns themselves: what is declared in a model, and what a migration sees of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.models.signals import post_save, pre_save
from django.utils.module_loading import import_string
from django.utils.translation import gettext_lazy as _

from django_inference.fields import declaration_checks, filling, submitting
from django_inference.fields.sources import Source
from django_inference.jobs.signals import job_finished
from django_inference.specs import Priority

if TYPE_CHECKING:
    from django.core.checks import CheckMessage

#: What a companion's name ends with.
SUFFIX = "_prediction"


class FilledColumn(models.Field):  # type: ignore[type-arg]
    """A column that `save()` leaves as it is in the database.

    An instance that was loaded before an answer came, and is saved afterwards for something
    else, would otherwise put the old value back.

    A migration sees a plain column: naming another predictor is no change of a table, and a
    table can be migrated without this package.
    """

    def pre_save(self, model_instance: models.Model, add: bool) -> Any:
        """The value of a new row; else the column itself, as an expression."""
        return super().pre_save(model_instance, add) if add else models.F(self.attname)

    def deconstruct(self) -> tuple[str, str, Sequence[Any], dict[str, Any]]:
        """As the column that it is without what is special about it."""
        name, _path, args, kwargs = super().deconstruct()
        for derived in ("editable", "predictor", "source", "output", "priority"):
            kwargs.pop(derived, None)
        plain = next(
            kind
            for kind in type(self).__mro__
            if issubclass(kind, models.Field) and not issubclass(kind, FilledColumn)
        )
        return name, plain(*args, **kwargs).deconstruct()[1], args, kwargs

    def clone(self) -> Any:
        """How migrations copy a field: as the plain column."""
        _name, path, args, kwargs = self.deconstruct()
        return import_string(path)(*args, **kwargs)


class PredictionField(FilledColumn, models.JSONField):
    """The companion of a predicted column: how its prediction fares.

    NULL where none was asked for, else a dict: `state` (`waiting`, `ready` or `failed`),
    `source` (the digest of what is predicted), `job` (the id of the job that may fill the
    column) and `error`.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options | {"null": True, "blank": True, "editable": False})

    def pre_save(self, model_instance: models.Model, add: bool) -> Any:
        """A copy of a row keeps an answer, but not the wait for the answer to another row."""
        value = super().pre_save(model_instance, add)
        is_answered = isinstance(value, dict) and value.get("state") == submitting.READY
        return value if not add or is_answered else None


class PredictedMixin(FilledColumn):
    """Makes a column of any type one that a predictor fills.

    A class that adds it comes with a second column, `<name>_prediction`, a `PredictionField`.

    Args:
        predictor: alias in `INFERENCE`.
        source: the item that is predicted: the name of a field (dots lead on to related
            rows), a dict of such names for a model with several inputs, or a function of the
            instance. A file is sent as its bytes.
        output: what is kept of the result: None for all of it, the name of one of its
            entries (dots lead on), or a function of the result.
        priority: of the jobs.
        options: of the column. It takes NULL, and forms leave it out.
    """

    def __init__(
        self,
        predictor: str,
        *,
        source: str | Mapping[str, str] | Callable[[Any], Any],
        output: str | Callable[[Any], Any] | None = None,
        priority: Priority = "normal",
        **options: Any,
    ) -> None:
        # Made first, so that it stands before this column in every list of a model's columns.
        self.companion = PredictionField(verbose_name=_("prediction"))
        self.predictor = predictor
        self.source = Source(source)
        self.output = output
        self.priority = priority
        super().__init__(**options | {"null": True, "blank": True, "editable": False})

    @property
    def companion_name(self) -> str:
        """The name of the column that says how the prediction fares."""
        return f"{self.name}{SUFFIX}"

    def contribute_to_class(
        self, cls: type[models.Model], name: str, private_only: bool = False
    ) -> None:
        """Add the companion as well, and listen to saves and to jobs that end."""
        super().contribute_to_class(cls, name, private_only)
        # An abstract parent's is inherited with the parent's other columns.
        if all(field.name != self.companion_name for field in cls._meta.local_fields):
            cls.add_to_class(self.companion_name, self.companion)
        for signal, receiver in (
            # Of every model, since saving a proxy is saving the model behind it.
            (pre_save, submitting.note_uploads),
            (post_save, submitting.submit_after_save),
            (job_finished, filling.fill),
        ):
            signal.connect(receiver, dispatch_uid=f"{receiver.__module__}.{receiver.__name__}")

    def check(self, **kwargs: Any) -> list[CheckMessage]:
        """As every field, and whether the predictor and the source are there."""
        return [*super().check(**kwargs), *declaration_checks.check(self)]


class PredictedField(PredictedMixin, models.JSONField):
    """A JSON column that a predictor fills: with the result as plain values."""
