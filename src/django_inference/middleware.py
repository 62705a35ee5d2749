"""The start-up hook, and errors that a view lets through."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase

from django_inference.backends.degraded import Degraded, degraded
from django_inference.exceptions import InferenceError
from django_inference.registry import predictors

logger = logging.getLogger("django_inference")

#: The header of a response that is not what it would be if every model were well.
DEGRADED = "Inference-Degraded"


class InferenceMiddleware:
    """Asks for the models when a server process starts; answers for models that cannot.

    A middleware is made exactly when a WSGI or ASGI handler is: in each web worker, or once
    in a master that forks them, and never in `migrate`, `shell` or the parent of the
    autoreloader. `AppConfig.ready()`, the usual place, runs in all of those.

    An `InferenceError` that a view does not catch becomes a response with its status, a
    `Retry-After` where another try makes sense, and JSON that says no more than a client may
    know; the log says the rest.

    A response that was made while a fallback answered in the place of a predictor has the
    header `Inference-Degraded`, with the aliases of these predictors.
    """

    sync_capable = True
    async_capable = True

    def __init__(
        self, get_response: Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]]
    ) -> None:
        self.get_response = get_response
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)
        predictors.preload_in_background()

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        """Pass the request on, and mark a response that a fallback has helped to make."""
        if self._is_async:
            return self._acall(request)
        with degraded() as answers:
            response = self.get_response(request)
        assert isinstance(response, HttpResponseBase)
        return _marked(response, answers)

    async def _acall(self, request: HttpRequest) -> HttpResponseBase:
        with degraded() as answers:
            response = self.get_response(request)
            assert isinstance(response, Awaitable)
            awaited = await response
        return _marked(awaited, answers)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        """Turn an `InferenceError` into the response that says the same."""
        if not isinstance(error, InferenceError):
            return None
        logger.warning("%s %s: %s", type(error).__name__, request.path, error)
        headers = {}
        if error.retry_after_seconds is not None:
            headers["Retry-After"] = str(error.retry_after_seconds)
        return JsonResponse(
            {"error": {"type": error.kind, "detail": error.for_client(debug=settings.DEBUG)}},
            status=error.status_code,
            headers=headers,
        )


def _marked(response: HttpResponseBase, answers: list[Degraded]) -> HttpResponseBase:
    if answers:
        response.headers[DEGRADED] = ", ".join(sorted({answer.alias for answer in answers}))
    return response
