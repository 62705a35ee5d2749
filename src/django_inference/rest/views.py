"""A predictor as views of Django REST framework."""

from __future__ import annotations

from typing import Any

from django.http import Http404, HttpResponseBase
from rest_framework.exceptions import APIException
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse
from rest_framework.views import APIView

from django_inference.rest.forms import DESCRIPTIONS
from django_inference.rest.policies import exposed
from django_inference.rest.prediction import PredictionMixin


class PredictView(PredictionMixin):
    """POST predicts; GET says how the predictor fares and what it takes."""

    def post(self, request: Request, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Predict."""
        return self.answer(request)

    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Describe the predictor. Loads nothing."""
        return self.describe()


class BatchView(PredictionMixin):
    """POST predicts many items, several batches at a time, and answers them all at once."""

    mode = "batch"
    description = DESCRIPTIONS["batch"]

    def post(self, request: Request, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Predict."""
        return self.answer(request)


class StreamView(PredictionMixin):
    """POST predicts one item and sends the result piece by piece, as server-sent events."""

    mode = "stream"
    description = DESCRIPTIONS["stream"]

    def post(self, request: Request, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Predict."""
        return self.answer(request)


class IndexView(APIView):
    """The predictors that the caller may see, and where they are."""

    name = "Predictors"
    #: What decides, for each predictor, whether it is shown.
    predict_view: type[PredictView] = PredictView

    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """List them. Loads nothing."""
        return Response(
            {
                "predictors": [
                    {"alias": alias, **self.addresses(request, alias)}
                    for alias in exposed()
                    if self.is_visible(request, alias)
                ]
            }
        )

    def is_visible(self, request: Request, alias: str) -> bool:
        """Whether the caller might call a predictor, as far as its own permissions say."""
        view = self.predict_view()
        view.setup(request._request, **{view.alias_url_kwarg: alias})
        try:
            view.request = view.initialize_request(request._request, **view.kwargs)
            view.perform_authentication(view.request)
            view.check_permissions(view.request)
        except (APIException, Http404):
            return False
        return True

    def addresses(self, request: Request, alias: str) -> dict[str, str]:
        """The addresses of its endpoints."""
        match = request.resolver_match
        prefix = match.view_name.rpartition(":")[0] + ":" if match and match.namespace else ""
        names = {"url": "predict", "batch": "batch", "stream": "stream"}
        return {
            key: reverse(f"{prefix}{name}", args=[alias], request=request)
            for key, name in names.items()
        }
