"""The OpenAPI document of the endpoints, by drf-spectacular.

Imported where `drf_spectacular` is among the installed apps. To have each predictor described
alone, with its own tensors:

    SPECTACULAR_SETTINGS = {
        "PREPROCESSING_HOOKS": ["django_inference.rest.openapi.each_predictor"],
    }

Nothing is loaded for the document: the tensors of a model are in it once the model is loaded.
"""

from __future__ import annotations

from typing import Any

from django.apps import apps
from drf_spectacular.extensions import OpenApiViewExtension

from django_inference.rest.openapi_operations import IndexSchema, PredictorSchema
from django_inference.rest.policies import exposed
from django_inference.rest.prediction import PredictionMixin
from django_inference.rest.protocol import ProtocolView


def each_predictor(endpoints: list[Any], **kwargs: Any) -> list[Any]:
    """Put the endpoints of each predictor in the place of those that take any alias.

    Those of the open protocols are left out: they have documents of their own.
    """
    found = []
    for path, path_regex, method, callback in endpoints:
        kind = getattr(callback, "cls", None)
        if not isinstance(kind, type) or issubclass(kind, ProtocolView):
            if kind is None:
                found.append((path, path_regex, method, callback))
            continue
        variable = f"{{{getattr(kind, 'alias_url_kwarg', '')}}}"
        options = getattr(callback, "initkwargs", {})
        fixed = options.get("alias") or getattr(kind, "alias", None)
        if not issubclass(kind, PredictionMixin) or variable not in path or fixed:
            found.append((path, path_regex, method, callback))
            continue
        for alias in exposed():
            view = kind.as_view(**{**options, "alias": alias})
            found.append((path.replace(variable, alias), path_regex, method, view))
    return found


class _PredictionViews(OpenApiViewExtension):  # type: ignore[no-untyped-call]
    target_class = "django_inference.rest.prediction.PredictionMixin"
    match_subclasses = True

    def view_replacement(self) -> Any:
        return type(self.target.__name__, (self.target,), _as_ours(PredictorSchema()))


class _JobViews(OpenApiViewExtension):  # type: ignore[no-untyped-call]
    target_class = "django_inference.rest.jobs.mixin.JobMixin"
    match_subclasses = True
    priority = 1  # they are views of predictions as well

    @classmethod
    def _matches(cls, target: Any) -> bool:
        # Without the app of the jobs there is nothing that could be imported.
        has_jobs = apps.is_installed("django_inference.jobs")
        return has_jobs and bool(super()._matches(target))

    def view_replacement(self) -> Any:
        from django_inference.rest.jobs.openapi import JobSchema

        return type(self.target.__name__, (self.target,), _as_ours(JobSchema()))


class _IndexViews(OpenApiViewExtension):  # type: ignore[no-untyped-call]
    target_class = "django_inference.rest.views.IndexView"
    match_subclasses = True

    def view_replacement(self) -> Any:
        return type(self.target.__name__, (self.target,), _as_ours(IndexSchema()))


def _as_ours(schema: Any) -> dict[str, Any]:
    return {"schema": schema, "__module__": __name__}
