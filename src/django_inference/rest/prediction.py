"""What every view in front of a predictor does, whatever its base and its URL."""

from __future__ import annotations

import time
from typing import Any

from asgiref.sync import async_to_sync
from django.core.files.uploadedfile import UploadedFile
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpResponseBase, QueryDict, StreamingHttpResponse
from rest_framework import parsers
from rest_framework.exceptions import NotFound, ParseError, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from django_inference.handle import Predictor
from django_inference.plain import NonFinite, to_plain
from django_inference.registry import UnknownPredictor, predictors
from django_inference.rest.calls import BatchCall, Call, StreamCall, aevents, events
from django_inference.rest.failures import ErrorMixin, failure
from django_inference.rest.forms import DESCRIPTIONS
from django_inference.rest.inputs import AnyInputs, Inputs, Item, Items, from_data, from_files
from django_inference.rest.parsers import JSONParser, NpyParser, RawParser, body_length
from django_inference.rest.policies import exposed
from django_inference.rest.renderers import Answered, AnswerRenderer
from django_inference.rest.serializers import as_mapping, tensors_serializer
from django_inference.tensors import Signature
from django_inference.words import nearest


class PredictionMixin(ErrorMixin):
    """Turns requests into calls of a predictor, and answers into responses.

    Everything that `APIView` lets a subclass or a project choose is honoured:
    authentication, permissions, throttles, renderers, versioning, content negotiation and
    `EXCEPTION_HANDLER`. What the class does not set, the predictor's `REST` decides, and
    what that leaves out, Django REST framework's settings. The parsers are this class's own.

    Attributes:
        alias: the predictor; None takes it from the URL, and `default` where the URL has
            none.
        alias_url_kwarg: the part of the URL that names the predictor.
        timeout: seconds that a prediction may take; None is the predictor's own timeout.
        max_body_bytes: longer bodies are answered 413; None is no limit. A JSON body has
            to fit into Django's `DATA_UPLOAD_MAX_MEMORY_SIZE` as well.
        non_finite: what NaN and the infinities become, `"null"` or `"string"`.
        serializer_class: turns a JSON body or a form into inputs; None takes `inputs`,
            `items` or `item`, and checks `inputs` against the model's signature.
        name: the heading of the browsable API.
        description: the text below it.
    """

    alias: str | None = None
    alias_url_kwarg: str = "alias"
    timeout: float | None = None
    non_finite: NonFinite = "null"
    name: str | None = None
    description: str | None = DESCRIPTIONS["predict"]

    parser_classes = (JSONParser, parsers.MultiPartParser, NpyParser, RawParser)

    # What a subclass overrides.

    def get_alias(self) -> str:
        """The alias of the predictor that this request is for."""
        return self.alias or self.kwargs.get(self.alias_url_kwarg) or "default"

    def get_predictor(self) -> Predictor:
        """The predictor that this request is for.

        Raises:
            NotFound: the client names one that is not declared, or not exposed.
            InvalidPredictor: it is declared wrongly, or the view's own `alias` is not
                declared; mistakes of the server, so they are not hidden behind a 404.
        """
        alias = self.get_alias()
        try:
            if self.policies.enabled:
                return predictors[alias]
        except UnknownPredictor:
            if alias == self.alias:
                raise
        near = nearest(alias, (name for name in exposed() if name != alias))
        hint = f" Did you mean {near!r}?" if near else ""
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
        if self.get_serializer_class() is not None:
            return self.from_serializer(data)
        if (request.content_type or "").startswith("multipart/"):
            fields = request.POST
            return from_files(dict(request.FILES.lists()), lambda file: self.get_item(file, fields))
        if self.get_mode() == "batch" and isinstance(data, list):
            return Items(data)
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
        to_answer = getattr(self.get_serializer(), "to_answer", None)
        return result if to_answer is None else to_answer(result)

    # The steps, in a thread one after the other, or between the awaits of an async view.

    def describe(self) -> Response:
        """Say how the predictor fares. Loads nothing."""
        status = self.get_predictor().status()
        signature = status.signature
        return Response(
            {
                "alias": status.alias,
                "state": str(status.state),
                "signature": None
                if signature is None
                else {"inputs": to_plain(signature.inputs), "outputs": to_plain(signature.outputs)},
            }
        )

    def prepare(self, request: Request) -> Call:
        """Read what is asked, and refuse what must not be, before a model is called."""
        predictor, mode = self.get_predictor(), self.get_mode()
        inputs, timeout = self.get_inputs(request), self.get_timeout()
        if mode == "batch" and isinstance(inputs, Item):
            inputs = Items([inputs.value])
        if mode == "stream" and not isinstance(inputs, Item):
            raise ValidationError({inputs.answered_as: ["Only one item can be streamed."]})
        self.check_rows(inputs.rows)
        if isinstance(inputs, Inputs):
            inputs, timeout = self._fitted(predictor, inputs, timeout)
        kind = {"batch": BatchCall, "stream": StreamCall}.get(mode, Call)
        self.call = kind(predictor, inputs, timeout)
        return self.call

    def respond(self, call: Call, answer: Any) -> HttpResponseBase:
        """Make a response of an answer."""
        if isinstance(call, StreamCall):
            return self._events(*answer)
        inputs = call.inputs
        renderer = getattr(self.request, "accepted_renderer", None)
        if isinstance(renderer, AnswerRenderer):
            return Response(renderer.encode(Answered(inputs, answer)))
        if isinstance(inputs, Items):
            shown = [self.present(result) for result in answer]
        else:
            shown = self.present(answer)
        return Response({inputs.answered_as: to_plain(shown, non_finite=self.non_finite)})

    def answer(self, request: Request) -> HttpResponseBase:
        """All the steps, in this thread."""
        call = self.prepare(request)
        if isinstance(call, StreamCall) and isinstance(request._request, ASGIRequest):
            # Django would gather all that a plain iterator has before it sends any of it.
            return self.respond(call, async_to_sync(call.arun)())
        return self.respond(call, call.run())

    def _fitted(
        self, predictor: Predictor, inputs: Inputs, timeout: float | None
    ) -> tuple[Inputs, float | None]:
        deadline = predictor.backend.deadline(timeout)
        signature = predictor.backend.signature(deadline)
        if signature is None:
            return inputs, timeout
        # The load was waited for within the same time.
        return fitted(inputs, signature), max(0.0, deadline - time.monotonic())

    def _events(self, first: Any, chunks: Any) -> StreamingHttpResponse:
        make = aevents if hasattr(chunks, "__anext__") else events
        stream = make(first, chunks, self._chunk, failure)
        # nginx would gather the events until there are enough of them.
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        return StreamingHttpResponse(stream, content_type="text/event-stream", headers=headers)

    def _chunk(self, chunk: Any) -> Any:
        return to_plain(self.present(chunk), non_finite=self.non_finite)


def fitted(inputs: Inputs, signature: Signature) -> Inputs:
    """Hold tensors against a signature, and turn them into the model's own types.

    Raises:
        ValidationError: they do not fit; the message says for each one what.
    """
    if signature.has_columns:
        # What a column takes is more than its type: the model's own refusal names it.
        return inputs
    try:
        named = as_mapping(inputs.value, signature)
        return Inputs(tensors_serializer(signature)().run_validation(named))
    except ValidationError as error:
        raise ValidationError({"inputs": error.detail}) from error
