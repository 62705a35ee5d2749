"""Errors of predictions on their way to the client and to the log."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from rest_framework.exceptions import NotAcceptable
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from django_inference.exceptions import InferenceError
from django_inference.rest.calls import Call
from django_inference.rest.exceptions import PredictionException, as_api_exception, log_failure
from django_inference.rest.forms import FormMixin
from django_inference.rest.renderers import AnswerRenderer


class ErrorMixin(FormMixin):
    """Answers an `InferenceError` as what it is.

    Attributes:
        call: what this request asks, once that is known.
    """

    call: Call | None = None

    # Where Django REST framework calls.

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Refuse a body that is too large before anything reads it."""
        # An error before the negotiation is rendered by the first renderer, whatever the
        # client accepts; with this it is negotiated all the same.
        self.format_kwarg = self.get_format_suffix(**kwargs)
        self.check_body_length(request)
        super().initial(request, *args, **kwargs)

    def handle_exception(self, exc: Exception) -> Response:
        """Hand an `InferenceError` to `EXCEPTION_HANDLER` as an `APIException`."""
        if isinstance(exc, NotAcceptable) or isinstance(
            getattr(self.request, "accepted_renderer", None), AnswerRenderer
        ):
            self.request.accepted_renderer = JSONRenderer()
            self.request.accepted_media_type = JSONRenderer.media_type
        response = super().handle_exception(as_api_exception(exc))
        if isinstance(exc, InferenceError):
            log_failure(exc)
            seconds = exc.retry_after_seconds
            if seconds is not None:
                response.headers.setdefault("Retry-After", str(seconds))
            data = getattr(response, "data", None)  # a handler may return any HttpResponse
            if isinstance(data, dict):
                if settings.DEBUG and exc.details:
                    data.setdefault("traceback", exc.details.splitlines())
                if self.call is not None and self.call.failed is not None:
                    data.setdefault("item", self.call.failed)
        return response


def failure(error: InferenceError) -> dict[str, Any]:
    """Log an error, and say it in the event that ends a stream."""
    log_failure(error)
    return said(error)


def said(error: InferenceError) -> dict[str, Any]:
    """An error, as a client of the site is told it."""
    exception = PredictionException(error)
    return {"detail": str(exception.detail), "code": exception.get_codes()}
