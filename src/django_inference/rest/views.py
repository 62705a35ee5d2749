"""A predictor as a Django REST framework view."""

from __future__ import annotations

import difflib
import logging
from typing import Any

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.http import QueryDict
from rest_framework import parsers
from rest_framework.exceptions import NotFound, ParseError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from django_inference.exceptions import InferenceError
from django_inference.handle import Predictor
from django_inference.plain import NonFinite, to_plain
from django_inference.registry import UnknownPredictor, predictors
from django_inference.rest.exceptions import (
    BodyTooLarge,
    LengthRequired,
    as_api_exception,
)
from django_inference.rest.inputs import AnyInputs, Items, from_data, from_files
from django_inference.rest.parsers import JSONParser, RawParser, body_length

logger = logging.getLogger("django_inference.rest")


class PredictView(APIView):
    """POST predicts; GET says how the predictor fares and what it takes.

    Everything that `APIView` lets a subclass or a project choose is honoured:
    authentication, permissions, throttles, renderers, versioning, content negotiation and
    `EXCEPTION_HANDLER`. The parsers are this view's own.

    Attributes:
        alias: the predictor; None takes it from the URL, and `default` where the URL has
            none.
        alias_url_kwarg: the part of the URL that names the predictor.
        timeout: seconds that a prediction may take; None is the predictor's own timeout.
        max_body_bytes: longer bodies are answered 413; None is no limit. A JSON body has
            to fit into Django's `DATA_UPLOAD_MAX_MEMORY_SIZE` as well.
        non_finite: what NaN and the infinities become, `"null"` or `"string"`.
        name: the heading of the browsable API.
        description: the text below it.
    """

    alias: str | None = None
    alias_url_kwarg: str = "alias"
    timeout: float | None = None
    max_body_bytes: int | None = 32 * 2**20
    non_finite: NonFinite = "null"
    name: str | None = None
    description: str | None = (
        'POST {"inputs": {name: nested lists, a row for each prediction}}, {"items": […]} or '
        '{"item": …} as JSON, files as multipart/form-data, or one item as raw bytes.'
    )

    parser_classes = (JSONParser, parsers.MultiPartParser, RawParser)

    # What a subclass overrides.

    def get_alias(self) -> str:
        """The alias of the predictor that this request is for."""
        return self.alias or self.kwargs.get(self.alias_url_kwarg) or "default"

    def get_predictor(self) -> Predictor:
        """The predictor that this request is for.

        Raises:
            NotFound: the client names one that is not declared.
            InvalidPredictor: it is declared wrongly, or the view's own `alias` is not
                declared; mistakes of the server, so they are not hidden behind a 404.
        """
        alias = self.get_alias()
        try:
            return predictors[alias]
        except UnknownPredictor:
            if alias == self.alias:
                raise
        near = difflib.get_close_matches(alias, predictors, 1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise NotFound(f"There is no predictor {alias!r}.{hint}")

    def get_timeout(self) -> float | None:
        """Seconds that this prediction may take; None is the predictor's own timeout."""
        return self.timeout

    def get_inputs(self, request: Request) -> AnyInputs:
        """Read `Inputs`, `Items` or an `Item` from the body.

        Raises:
            APIException: the body does not hold any.
        """
        if body_length(request) <= 0:
            raise ParseError("The body is empty.")
        data = request.data
        if request.content_type.startswith("multipart/"):
            fields = request.POST
            return from_files(dict(request.FILES.lists()), lambda file: self.get_item(file, fields))
        return from_data(data)

    def get_item(self, file: UploadedFile[Any], fields: QueryDict) -> Any:
        """Turn an uploaded file into an item: its bytes.

        Args:
            file: with its `name` and `content_type`, which the client chose.
            fields: the other fields of the form, for a subclass that wants them.
        """
        return file.read()

    def present(self, result: Any) -> Any:
        """Turn one result, or the dict of outputs, into what the response shows.

        What this returns may hold arrays, bytes and dates: `to_plain` comes after it.
        """
        return result

    # The methods.

    def post(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Predict."""
        predictor = self.get_predictor()
        inputs = self.get_inputs(request)
        answer = inputs.predict(predictor, self.get_timeout())
        if isinstance(inputs, Items):
            shown = [self.present(result) for result in answer]
        else:
            shown = self.present(answer)
        return Response({inputs.answered_as: to_plain(shown, non_finite=self.non_finite)})

    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Describe the predictor. Loads nothing."""
        status = self.get_predictor().status()
        return Response(
            {
                "alias": status.alias,
                "state": str(status.state),
                "signature": to_plain(status.signature),
            }
        )

    # Where Django REST framework calls.

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Refuse a body that is too large before anything reads it."""
        # An error before the negotiation is rendered by the first renderer, whatever the
        # client accepts; with this it is negotiated all the same.
        self.format_kwarg = self.get_format_suffix(**kwargs)
        length = body_length(request)
        if self.max_body_bytes is not None and length > self.max_body_bytes:
            raise BodyTooLarge(
                f"The body has {length} bytes, more than the {self.max_body_bytes} that this takes."
            )
        if length <= 0 and "chunked" in request.META.get("HTTP_TRANSFER_ENCODING", "").lower():
            raise LengthRequired
        super().initial(request, *args, **kwargs)

    def handle_exception(self, exc: Exception) -> Response:
        """Hand an `InferenceError` to `EXCEPTION_HANDLER` as an `APIException`."""
        response = super().handle_exception(as_api_exception(exc))
        if isinstance(exc, InferenceError):
            _log(exc)
            seconds = exc.retry_after_seconds
            if seconds is not None:
                response.headers.setdefault("Retry-After", str(seconds))
            data = getattr(response, "data", None)  # a handler may return any HttpResponse
            if settings.DEBUG and exc.details and isinstance(data, dict):
                data.setdefault("traceback", exc.details.splitlines())
        return response


def _log(error: InferenceError) -> None:
    if error.status_code == 500:
        logger.error("%s\n%s", error, error.details, exc_info=error)
    elif error.status_code > 500:
        logger.warning("%s", error)
