"""What `manage.py check` says about a predicted field."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.apps import apps
from django.core.checks import CheckMessage, Error, Warning
from django.core.exceptions import FieldDoesNotExist

from django_inference.conf import InvalidPredictor
from django_inference.words import nearest

if TYPE_CHECKING:
    from django_inference.fields.columns import PredictedMixin

_JOBS = "django_inference.jobs"


def check(field: PredictedMixin) -> list[CheckMessage]:
    """Look whether the jobs, the predictor and the fields of the source are there."""
    return [*_check_app(field), *_check_predictor(field), *_check_source(field)]


def _check_app(field: PredictedMixin) -> list[CheckMessage]:
    if apps.is_installed(_JOBS):
        return []
    return [
        Error(
            "A predicted field needs durable jobs.",
            hint=f"Add {_JOBS!r} to INSTALLED_APPS, and migrate.",
            obj=field,
            id="django_inference.E080",
        )
    ]


def _check_predictor(field: PredictedMixin) -> list[CheckMessage]:
    from django_inference.registry import predictors

    try:
        if field.predictor in predictors:
            return []
        near = nearest(field.predictor, list(predictors))
    except InvalidPredictor:
        # Said by the check of INFERENCE.
        return []
    return [
        # No error: it may be registered later.
        Warning(
            f"INFERENCE declares no predictor {field.predictor!r}.",
            hint=f"Did you mean {near!r}?" if near else "Declare it, or register it.",
            obj=field,
            id="django_inference.W080",
        )
    ]


def _check_source(field: PredictedMixin) -> list[CheckMessage]:
    declared = field.source.declared
    if not isinstance(declared, str | dict) and not callable(declared):
        return [
            Error(
                f"source: expected the name of a field, a dict of them or a function, given "
                f"{declared!r}.",
                obj=field,
                id="django_inference.E081",
            )
        ]
    return [message for name in sorted(field.source.fields) for message in _check_name(field, name)]


def _check_name(field: PredictedMixin, name: str) -> list[CheckMessage]:
    if name in (field.name, field.companion_name):
        return [
            Error(
                f"source: {name!r} is what the prediction is written to.",
                obj=field,
                id="django_inference.E083",
            )
        ]
    try:
        field.model._meta.get_field(name)
    except FieldDoesNotExist:
        # A property does as well.
        if hasattr(field.model, name):
            return []
        names = [each.name for each in field.model._meta.get_fields()]
        near = nearest(name, names)
        return [
            Error(
                f"source: {field.model._meta.label} has no {name!r}.",
                hint=f"Did you mean {near!r}?" if near else None,
                obj=field,
                id="django_inference.E082",
            )
        ]
    return []
