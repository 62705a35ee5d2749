"""A view for each path of the Open Inference Protocol.

What needs numpy is imported by the methods that need it: a web worker that has not predicted
yet is spared it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.http import HttpResponse
from rest_framework.permissions import IsAdminUser
from rest_framework.request import Request

from django_inference.exceptions import ModelNotReady
from django_inference.rest.policies import exposed, policies_of
from django_inference.rest.protocol import ProtocolView
from django_inference.wire.open_inference import InferRequest

#: In `META`, the header that says where the JSON of a body ends.
_JSON_LENGTH = "HTTP_INFERENCE_HEADER_CONTENT_LENGTH"


class InferView(ProtocolView):
    """Predicts."""

    def post(self, request: Request, alias: str, version: str | None = None) -> HttpResponse:
        """Predict, and answer in the form that was asked for."""
        from django_inference.serving import open_inference as serving
        from django_inference.wire.open_inference_bodies import (
            JSON_LENGTH,
            json_length,
            read_request,
            write_response,
        )

        length = json_length(request.META.get(_JSON_LENGTH))
        said, wanted = read_request(self.read_body(), alias, version or "", json_length=length)
        self.check_rows(_rows(said))
        body = write_response(serving.infer(said), wanted)
        if body.json_length is None:
            return self.answer(body.joined())
        return self.answer(
            body.joined(),
            content_type="application/octet-stream",
            headers={JSON_LENGTH: str(body.json_length)},
        )


class _ReadinessView(ProtocolView):
    def not_ready(self, said: dict[str, Any]) -> HttpResponse:
        return self.answer(
            {"error": ModelNotReady.public, **said}, status=503, headers={"Retry-After": "1"}
        )


class ModelView(ProtocolView):
    """Describes a model."""

    def get(self, request: Request, alias: str, version: str | None = None) -> HttpResponse:
        """Say what it takes and gives."""
        from django_inference.serving import open_inference as serving

        return self.answer(serving.model_metadata(alias, version or ""))


class ModelReadyView(_ReadinessView):
    """Says whether a model answers."""

    def get(self, request: Request, alias: str, version: str | None = None) -> HttpResponse:
        """Answer 200, or 503 where it would have to be loaded first. Loads nothing."""
        from django_inference.serving.repository import model_ready

        if model_ready(alias, version or ""):
            return self.answer({"name": alias, "ready": True})
        return self.not_ready({"name": alias, "ready": False})


class ServerView(ProtocolView):
    """Describes the server."""

    def get(self, request: Request) -> HttpResponse:
        """Say what it is."""
        from django_inference.serving import open_inference as serving

        return self.answer(serving.server_metadata())


class _HealthView(ProtocolView):
    """Asked by what starts and stops servers, which has no account here."""

    def get_permissions(self) -> Sequence[Any]:
        """Anybody: no more is told than that there is a server."""
        return () if not self.is_set("permission_classes") else super().get_permissions()

    def get_authenticators(self) -> list[Any]:
        """Nobody is looked up."""
        return [] if not self.is_set("authentication_classes") else super().get_authenticators()


class LiveView(_HealthView):
    """Says that the server runs."""

    def get(self, request: Request) -> HttpResponse:
        """Answer."""
        return self.answer({"live": True})


class ReadyView(_HealthView, _ReadinessView):
    """Says whether the models are there that are loaded at the start."""

    def get(self, request: Request) -> HttpResponse:
        """Answer 200, or 503. Loads nothing."""
        from django_inference.serving.repository import server_ready

        # Clients differ in which of the two they read.
        if server_ready():
            return self.answer({"live": True, "ready": True})
        return self.not_ready({"live": True, "ready": False})


class IndexView(ProtocolView):
    """Lists the models."""

    def post(self, request: Request) -> HttpResponse:
        """List those that the caller may call, with their states. Loads nothing."""
        from django_inference.serving.repository import repository_index
        from django_inference.wire.open_inference_bodies import read_repository_request

        only_ready, _ = read_repository_request(self.read_body())
        aliases = [alias for alias in exposed() if self._may_call(alias)]
        return self.answer(repository_index(aliases, only_ready=only_ready))

    def _may_call(self, alias: str) -> bool:
        permissions = [kind() for kind in policies_of(alias).permission_classes]
        return all(each.has_permission(self.request, self) for each in permissions)


class _RepositoryView(ProtocolView):
    """Changes which models are loaded."""

    def get_permissions(self) -> Sequence[Any]:
        """Staff, and whoever else the policies ask for."""
        return [IsAdminUser(), *super().get_permissions()]


class LoadView(_RepositoryView):
    """Loads a model."""

    def post(self, request: Request, alias: str) -> HttpResponse:
        """Load it, and answer when it is ready; one that is gets loaded anew."""
        from django_inference.serving.repository import load
        from django_inference.wire.open_inference_bodies import read_repository_request

        _, parameters = read_repository_request(self.read_body())
        load(alias, parameters)
        return self.answer({})


class UnloadView(_RepositoryView):
    """Unloads a model."""

    def post(self, request: Request, alias: str) -> HttpResponse:
        """Give its memory back, until the next call."""
        from django_inference.serving.repository import unload

        unload(alias)
        return self.answer({})


def _rows(request: InferRequest) -> int:
    for array in request.inputs.values():
        return len(array) if array.ndim else 1
    return 1
