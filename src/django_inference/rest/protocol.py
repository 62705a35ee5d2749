"""Views that speak a protocol of their own: raw bodies, and `{"error": …}` for all that fails."""

from __future__ import annotations

import logging
from typing import Any

import msgspec
from django.conf import settings
from django.core import signals
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponse
from django.http.response import HttpResponseBase
from rest_framework import exceptions
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request

from django_inference.exceptions import InferenceError
from django_inference.rest.exceptions import as_api_exception, log_failure
from django_inference.rest.parsers import body_length
from django_inference.rest.policies import PolicyMixin
from django_inference.wire.compression import BodyTooLong, inflate

logger = logging.getLogger("django_inference.rest")

_encode = msgspec.json.Encoder().encode


class AsTheProtocolSays(BaseContentNegotiation):
    """Whatever a client accepts, it is answered in the one form that its protocol has."""

    def select_parser(self, request: Request, parsers: Any) -> None:
        """Bodies are read raw."""
        return None

    def select_renderer(
        self, request: Request, renderers: Any, format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        """The first one."""
        return renderers[0], renderers[0].media_type


class ProtocolView(PolicyMixin):
    """A view for clients of an open protocol.

    The policies of the predictor that the URL names decide who may call; they are asked
    before the body is read, and before any model is touched. A body needs no Content-Type.
    Every error is answered with its status and `{"error": "…"}`, those of authentication and
    of Django REST framework included: `EXCEPTION_HANDLER` is not asked.

    Attributes:
        alias_url_kwarg: the part of the URL that names the predictor.
    """

    alias_url_kwarg: str = "alias"

    content_negotiation_class = AsTheProtocolSays
    renderer_classes = (JSONRenderer,)
    parser_classes = ()
    # A protocol has versions of its own, and so have its models.
    versioning_class = None
    metadata_class = None

    def policy_alias(self) -> str | None:
        """The predictor that the URL names, None where it names none."""
        alias: str | None = self.kwargs.get(self.alias_url_kwarg)
        return alias

    def read_body(self) -> bytes:
        """The body, unpacked where it came compressed.

        Raises:
            BodyTooLong: it is longer than `max_body_bytes`.
            ParseError: it ended too early.
        """
        limit = self.get_max_body_bytes()
        # Not `body`: that has a limit of its own, made for forms.
        request = self.request._request
        body = request.read() if limit is None else request.read(limit + 1)
        if limit is not None and len(body) > limit:
            raise BodyTooLong(f"the body has more than {limit} bytes.")
        if len(body) < body_length(self.request):
            raise exceptions.ParseError("The body ended too early.")
        return inflate(body, request.META.get("HTTP_CONTENT_ENCODING", ""), limit)

    def answer(
        self,
        content: Any,
        *,
        status: int = 200,
        content_type: str = "application/json",
        headers: dict[str, str] | None = None,
    ) -> HttpResponse:
        """A response.

        Args:
            content: bytes as they are; anything else as JSON.
            status: of HTTP.
            content_type: of the content.
            headers: to be added.
        """
        body = content if isinstance(content, bytes) else _encode(content)
        response = HttpResponse(body, content_type=content_type, status=status, headers=headers)
        response.headers["Content-Length"] = str(len(body))
        return response

    # Where Django REST framework calls.

    def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Answer a request, and what goes wrong before the framework looks for errors, too."""
        try:
            return super().dispatch(request, *args, **kwargs)
        except Exception as error:
            return self._failed(error)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Refuse who may not call, and what is not there."""
        self.check_body_length(request)
        super().initial(request, *args, **kwargs)
        if not self.policies.enabled:
            raise exceptions.NotFound(f"there is no model {self.policies.alias!r}.")

    def handle_exception(  # type: ignore[override]  # any response will do
        self, exc: Exception
    ) -> HttpResponse:
        """Turn an error into the response that says the same."""
        if isinstance(exc, InferenceError):
            log_failure(exc)
        error = as_api_exception(exc)
        if isinstance(error, Http404):
            error = exceptions.NotFound()
        elif isinstance(error, PermissionDenied):
            error = exceptions.PermissionDenied()
        if not isinstance(error, exceptions.APIException):
            return self._failed(exc)
        headers = {}
        status = error.status_code
        if isinstance(error, exceptions.NotAuthenticated | exceptions.AuthenticationFailed):
            # As Django REST framework has it: 401 has to say how to authenticate.
            if scheme := self.get_authenticate_header(self.request):
                headers["WWW-Authenticate"] = scheme
            else:
                status = 403
        wait = getattr(error, "wait", None)
        if wait is not None:
            headers["Retry-After"] = str(int(wait))
        return self.answer({"error": _text(error.detail)}, status=status, headers=headers)

    def _failed(self, error: Exception) -> HttpResponse:
        request = getattr(self.request, "_request", self.request)
        logger.error("request failed path=%s", request.path, exc_info=error)
        # Whoever collects errors listens to this one.
        signals.got_request_exception.send(sender=type(self), request=request)
        said = f"{type(error).__name__}: {error}" if settings.DEBUG else "The server failed."
        return self.answer({"error": said}, status=500)


class NoSuchPath(ProtocolView):
    """Whatever else lies below the protocol's own paths."""

    def policy_alias(self) -> None:
        """No predictor."""
        return None

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Nobody needs to be known to be told that there is nothing."""
        raise exceptions.NotFound(f"There is nothing at {request.path[:200]!r}.")


def _text(detail: Any) -> str:
    if isinstance(detail, dict):
        return " ".join(f"{key}: {_text(value)}" for key, value in detail.items())
    if isinstance(detail, list):
        return " ".join(map(_text, detail))
    return str(detail)
