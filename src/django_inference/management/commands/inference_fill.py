"""`manage.py inference_fill`: predictions for the rows of a table, written back into it."""

from __future__ import annotations

import json
from typing import IO, Any, cast

from django.apps import apps
from django.core.exceptions import FieldError, ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db.models import CharField, Field, Model, QuerySet, TextField
from rich.console import Console

from django_inference.conf import InvalidPredictor
from django_inference.exceptions import InferenceError
from django_inference.management.progress import bar, in_rows
from django_inference.querysets import Filled, predict_queryset
from django_inference.querysets.reading import Input
from django_inference.querysets.writing import field_named
from django_inference.specs import PRIORITIES

#: What is said without a traceback: a wrong name or value, or a model that does not answer.
MISTAKES = (
    FieldError,
    InferenceError,
    InvalidPredictor,
    LookupError,
    OSError,
    ValidationError,
    ValueError,
)


class Command(BaseCommand):
    """Fill a column."""

    help = "Predicts for the rows of a table, and writes the answers into one of its columns."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("column", metavar="APP.MODEL.FIELD", help="the column to fill")
        parser.add_argument("--predictor", required=True, metavar="ALIAS")
        parser.add_argument(
            "--input",
            required=True,
            action="append",
            metavar="[TENSOR=]PATH",
            help="a field, a path over relations, or a function by its dotted path",
        )
        parser.add_argument("--output", metavar="NAME", help="the output to keep; default: all")
        parser.add_argument(
            "--where",
            action="append",
            default=[],
            metavar="LOOKUP=VALUE",
            help="only these rows, as filter() takes it; the value may be JSON",
        )
        parser.add_argument("--all", action="store_true", help="also rows that have a value")
        parser.add_argument("--batch-size", type=int, help="rows that are written at a time")
        parser.add_argument("--timeout", type=float, help="seconds for each call of the model")
        parser.add_argument("--priority", choices=PRIORITIES, default="low")
        parser.add_argument("--checkpoint", metavar="FILE", help="keeps the position, with --all")
        parser.add_argument("--database", default=None, help="default: as the routers say")

    def handle(self, *args: Any, column: str, **options: Any) -> None:
        """Fill the column; exit with 1 where a row could not be filled."""
        try:
            model, field = _column(column)
            filled = self._fill(_rows(model, field, options), field.name, options)
        except KeyboardInterrupt:
            raise CommandError("interrupted; the rows that were written stay") from None
        except MISTAKES as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{filled.rows} rows filled, {filled.failed} failed")
        for key, said in filled.errors.items():
            self.stderr.write(f"{key}: {said}")
        if filled.failed:
            raise CommandError("Rows that failed are as they were.")

    def _fill(self, rows: QuerySet[Any], field: str, options: dict[str, Any]) -> Filled:
        console = Console(file=cast(IO[str], self.stdout._out))
        output = options["output"]
        with bar(console, "filling", in_rows) as told:
            return predict_queryset(
                rows,
                options["predictor"],
                input=_input(options["input"]),
                output=field if output is None else {output: field},
                batch_size=options["batch_size"],
                timeout=options["timeout"],
                priority=options["priority"],
                checkpoint=options["checkpoint"],
                progress=told,
                on_error=lambda row, error: None,
            )


def _column(name: str) -> tuple[type[Model], Field[Any, Any]]:
    label, _, field = name.rpartition(".")
    if label.count(".") != 1:
        raise CommandError(f"expected APP.MODEL.FIELD, not {name!r}")
    model = apps.get_model(label)
    return model, field_named(model, field)


def _rows(
    model: type[Model], field: Field[Any, Any], options: dict[str, Any]
) -> QuerySet[Any, Any]:
    rows = model._default_manager.all()
    if options["database"] is not None:
        rows = rows.using(options["database"])
    for condition in options["where"]:
        lookup, sign, value = condition.partition("=")
        if not sign:
            raise CommandError(f"--where {condition}: expected LOOKUP=VALUE")
        rows = rows.filter(**{lookup: _value(value)})
    return rows if options["all"] else rows.filter(**_is_empty(field))


def _is_empty(field: Field[Any, Any]) -> dict[str, Any]:
    """What a row that is still to be filled is known by."""
    if field.null:
        return {f"{field.name}__isnull": True}
    if isinstance(field, CharField | TextField):
        return {field.name: ""}
    raise CommandError(
        f"{field} takes no null, so nobody can tell which rows are to be filled: "
        "say --all, or --where and --all."
    )


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _input(told: list[str]) -> Input:
    tensors = dict(each.split("=", 1) for each in told if "=" in each)
    if not tensors and len(told) == 1:
        return told[0]
    if len(tensors) < len(told):
        raise CommandError("--input: more than one needs the name of a tensor each, TENSOR=PATH")
    return tensors
