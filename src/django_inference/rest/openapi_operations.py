"""How one endpoint of one predictor is described."""

from __future__ import annotations

import re
from typing import Any

from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import ResolvedComponent
from rest_framework.exceptions import NotFound
from rest_framework.parsers import FormParser, JSONParser, MultiPartParser

from django_inference.handle import Predictor
from django_inference.registry import UnknownPredictor
from django_inference.rest import openapi_schemas as schemas
from django_inference.rest.examples import (
    Files,
    draws,
    example_of,
    runs_tensors,
    takes_files,
)
from django_inference.rest.parsers import NpyParser, RawParser

_BINARY = {"type": "string", "format": "binary"}
_ANSWERS = ("application/octet-stream", "application/x-npz")
_PICTURES = ("image/jpeg", "image/png")


class PredictorSchema(AutoSchema):
    """Describes one endpoint of one predictor."""

    view: Any

    def get_operation_id(self) -> str:
        """As in `detector_predict`."""
        if self._predictor() is None:
            return str(super().get_operation_id())
        return f"{_slug(self.view.get_alias())}_{self._what()}"

    def get_tags(self) -> list[str]:
        """The predictor."""
        return ["predictors"] if self._predictor() is None else [self.view.get_alias()]

    def get_summary(self) -> str:
        """What it is for, in a word."""
        return {"describe": "Status and signature", "predict": "Predict"}.get(
            self._what(), self._what().capitalize()
        )

    def get_description(self) -> str:  # type: ignore[override]  # DRF's stubs know its own only
        """The view's own text."""
        if self._what() == "describe":
            return "How the model fares, and its tensors once it is loaded. Loads nothing."
        return str(self.view.get_description() or "")

    def get_response_serializers(self) -> Any:
        """None: bodies are described by what the model takes and gives."""
        return {}

    def _get_request_body(self, direction: Any = "request") -> Any:
        if self._what() == "describe":
            return None
        content: dict[str, Any] = {}
        predictor = self._predictor()
        for parser in self.view.get_parsers():
            content.update(self._bodies(parser, predictor))
        return {"required": True, "content": content}

    def _get_response_bodies(self, direction: Any = "response") -> Any:
        predictor = self._predictor()
        return {"200": self._success(predictor), **self._refusals()}

    def _what(self) -> str:
        return "describe" if self.method == "GET" else str(self.view.get_mode())

    def _bodies(self, parser: Any, predictor: Predictor | None) -> dict[str, Any]:
        serializer = self.view.get_serializer_class()
        mode = self._what()
        files = Files("File", "") if predictor is None else takes_files(predictor)
        if isinstance(parser, JSONParser):
            if serializer is not None:
                return {parser.media_type: {"schema": self._of_serializer(serializer, mode)}}
            plain = predictor is not None and runs_tensors(predictor)
            schema = schemas.body(mode, self._signature(predictor), plain=plain)
            found: dict[str, Any] = {"schema": schema}
            if predictor is not None:
                found["example"] = example_of(predictor, mode)
            return {parser.media_type: found}
        if isinstance(parser, MultiPartParser | FormParser):
            if serializer is not None:
                return {parser.media_type: {"schema": self._of_serializer(serializer, "one")}}
            if files is None:
                return {}
            field = _BINARY if mode == "stream" else {"type": "array", "items": _BINARY}
            form = {"type": "object", "properties": {"file": field}, "required": ["file"]}
            return {parser.media_type: {"schema": form}}
        if isinstance(parser, NpyParser):
            return {parser.media_type: {"schema": _BINARY}}
        if isinstance(parser, RawParser) and files is not None:
            types = files.accept.split(",") if files.accept else ["application/octet-stream"]
            return {kind: {"schema": _BINARY} for kind in types}
        return {}

    def _success(self, predictor: Predictor | None) -> dict[str, Any]:
        what = self._what()
        if what == "stream":
            stream = {"schema": schemas.EVENT, "example": schemas.EVENTS}
            return described("Server-sent events.", {"text/event-stream": stream})
        if what == "describe":
            status = self._component("PredictorStatus", schemas.STATUS)
            return described("How it fares.", {"application/json": {"schema": status}})
        answer = schemas.answer(what, self._signature(predictor))
        content: dict[str, Any] = {"application/json": {"schema": answer}}
        given = {renderer.media_type for renderer in self.view.get_renderers()}
        for kind in (*_ANSWERS, *(_PICTURES if predictor is not None and draws(predictor) else ())):
            if kind in given:
                content[kind] = {"schema": _BINARY}
        return described("The answer.", content)

    def _refusals(self) -> dict[str, Any]:
        error = self._component("InferenceError", schemas.ERROR)
        fields = self._component("InferenceFieldErrors", schemas.FIELD_ERRORS)
        refused: dict[str, Any] = {}
        for status, why in schemas.refusals(self._what()).items():
            schema = {"oneOf": [error, fields]} if status == 400 else error
            refused[str(status)] = described(why, {"application/json": {"schema": schema}})
            if status in (429, 503):
                refused[str(status)]["headers"] = schemas.RETRY_AFTER
        return refused

    def _of_serializer(self, serializer: Any, mode: str) -> dict[str, Any]:
        one = self.resolve_serializer(serializer(), "request").ref
        if mode in ("one", "stream"):
            return dict(one)
        return {"oneOf": [one, {"type": "array", "items": one}]}

    def _predictor(self) -> Predictor | None:
        """None for an address that takes any alias: the hook has not been asked."""
        try:
            return self.view.get_predictor()  # type: ignore[no-any-return]
        except (NotFound, UnknownPredictor):
            return None

    def _signature(self, predictor: Predictor | None) -> Any:
        return None if predictor is None else predictor.status().signature

    def _component(self, name: str, schema: dict[str, Any]) -> dict[str, Any]:
        kind = ResolvedComponent.SCHEMA
        component = ResolvedComponent(name, kind, schema, PredictorSchema)  # type: ignore[no-untyped-call]
        self.registry.register_on_missing(component)
        return dict(component.ref)


class IndexSchema(AutoSchema):
    """Describes the list of predictors."""

    def get_operation_id(self) -> str:
        """A name for clients."""
        return "predictors_list"

    def get_tags(self) -> list[str]:
        """No predictor's own."""
        return ["predictors"]

    def get_response_serializers(self) -> Any:
        """None: it is not made of a serializer."""
        return {}

    def _get_response_bodies(self, direction: Any = "response") -> Any:
        found = {"200": described("Those that the caller may see.", _json(schemas.INDEX))}
        for status, why in schemas.INDEX_REFUSALS.items():
            found[str(status)] = described(why, _json(schemas.ERROR))
        return found


def described(description: str, content: dict[str, Any]) -> dict[str, Any]:
    """A response in words, with its bodies by media type."""
    return {"description": description, "content": content}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _slug(alias: str) -> str:
    return re.sub(r"\W+", "_", alias)
