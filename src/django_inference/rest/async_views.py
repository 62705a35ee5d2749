"""The same views for ASGI: plain asynchronous views of Django, which hold no thread.

Django REST framework knows synchronous views only. Here its steps (authentication, permissions,
throttles, parsers, renderers) are taken in a thread, since they may ask a database; the wait for
the model is awaited, and when the client is gone, so is the call.
"""

from __future__ import annotations

from typing import Any

from asgiref.sync import sync_to_async
from django.http import HttpRequest, HttpResponseBase
from rest_framework.request import Request

from django_inference.rest.calls import Call
from django_inference.rest.prediction import PredictionMixin
from django_inference.rest.views import BatchView, PredictView, StreamView


class AsyncMixin(PredictionMixin):
    """Takes the steps of a view in threads, and awaits the model between them."""

    # Django asks this of the class; Django REST framework's handlers are no coroutines.
    view_is_async = True

    async def dispatch(  # type: ignore[override]
        self, request: HttpRequest, *args: Any, **kwargs: Any
    ) -> HttpResponseBase:
        """Answer one request."""
        self.args, self.kwargs = args, kwargs
        answer: Any = None
        begun = await sync_to_async(self._begin)(request)
        if isinstance(begun, Call):
            try:
                answer = await begun.arun()
            except Exception as error:
                return await sync_to_async(self._fail)(error)
            return await sync_to_async(self._end)(begun, answer)
        return begun

    def _begin(self, request: HttpRequest) -> Call | HttpResponseBase:
        """All that comes before the model: what it is asked, or the response."""
        self.request = self.initialize_request(request, *self.args, **self.kwargs)
        self.headers = self.default_response_headers
        try:
            self.initial(self.request, *self.args, **self.kwargs)
            if self.request.method == "POST":
                return self.prepare(self.request)
            name = (self.request.method or "").lower()
            allowed = name in self.http_method_names
            handler = getattr(self, name, None) if allowed else None
            handler = handler or self.http_method_not_allowed
            response = handler(self.request, *self.args, **self.kwargs)
        except Exception as error:
            return self._fail(error)
        return self._finish(response)

    def _end(self, call: Call, answer: Any) -> HttpResponseBase:
        """All that comes after it."""
        try:
            response = self.respond(call, answer)
        except Exception as error:
            return self._fail(error)
        return self._finish(response)

    def _fail(self, error: Exception) -> HttpResponseBase:
        return self._finish(self.handle_exception(error))

    def _finish(self, response: HttpResponseBase) -> HttpResponseBase:
        request: Request = self.request
        # It takes any response of Django's, whatever its stubs say.
        finished: HttpResponseBase = self.finalize_response(
            request,
            response,  # type: ignore[arg-type]
            *self.args,
            **self.kwargs,
        )
        return finished


class AsyncPredictView(AsyncMixin, PredictView):
    """As `PredictView`."""


class AsyncBatchView(AsyncMixin, BatchView):
    """As `BatchView`."""


class AsyncStreamView(AsyncMixin, StreamView):
    """As `StreamView`."""
