"""TensorFlow Serving's REST interface behind Django's authentication and permissions."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from django.http import HttpResponse
from rest_framework.exceptions import MethodNotAllowed
from rest_framework.request import Request

from django_inference.rest.protocol import ProtocolView
from django_inference.serving.tensorflow_rest import Target, malformed, respond, target_of


class TensorFlowServingView(ProtocolView):
    """Everything below `/v1`: how models fare, what they take, and predictions.

    One view, since paths ignore case and one that is none has an answer of its own.

    Attributes:
        path_url_kwarg: the part of the URL that follows `v1`.
    """

    path_url_kwarg: str = "rest"

    @cached_property
    def path(self) -> str:
        """The path from `/v1` on, wherever the site has it."""
        return f"/v1{self.kwargs.get(self.path_url_kwarg) or ''}"

    @cached_property
    def target(self) -> Target | None:
        """What is asked for; None where the path is none of the protocol's."""
        return target_of(self.path)

    def policy_alias(self) -> str | None:
        """The predictor that the path names."""
        return self.target.choice.model if self.target else None

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Refuse who may not call, paths that are none, and the wrong method.

        Raises:
            InvalidInput: the path is none of the protocol's.
        """
        if self.target is None:
            raise malformed(request.method or "", self.path)
        super().initial(request, *args, **kwargs)
        if request.method not in (self.target.method, "HEAD"):
            raise MethodNotAllowed(request.method or "")

    def get(self, request: Request, *args: Any, **kwargs: Any) -> HttpResponse:
        """How a model fares, or what it takes."""
        return self._respond()

    def post(self, request: Request, *args: Any, **kwargs: Any) -> HttpResponse:
        """Predict, classify or regress."""
        return self._respond(self.read_body())

    def _respond(self, body: bytes = b"") -> HttpResponse:
        assert self.target is not None
        return self.answer(respond(self.target, body, self.check_rows))
