"""A predictor as a viewset, for routers."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponseBase
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSetMixin

from django_inference.rest.prediction import PredictionMixin


class PredictorViewSet(ViewSetMixin, PredictionMixin):
    """One predictor at one place of a router.

    `GET` of the list describes it and `POST` predicts; `batch/` and `stream/` are below.
    Attributes and methods are those of `PredictView`; what a subclass sets goes before the
    predictor's `REST`.
    """

    def get_mode(self) -> str:
        """What this action asks for."""
        name = getattr(self, "action", None)
        return name if name in ("batch", "stream") else self.mode

    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Describe the predictor. Loads nothing."""
        return self.describe()

    def create(self, request: Request, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Predict."""
        return self.answer(request)

    @action(detail=False, methods=["post"])
    def batch(self, request: Request, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Predict many items."""
        return self.answer(request)

    @action(detail=False, methods=["post"])
    def stream(self, request: Request, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Predict one item, piece by piece."""
        return self.answer(request)
