"""What a view takes and gives: serializers, parsers and renderers, and how a person sees them."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from typing import Any

from rest_framework import parsers
from rest_framework.exceptions import ValidationError
from rest_framework.renderers import BaseRenderer, BrowsableAPIRenderer
from rest_framework.serializers import BaseSerializer, Serializer
from rest_framework.settings import api_settings

from django_inference.rest.browsable import PredictorRenderer
from django_inference.rest.inputs import AnyInputs, Inputs, Item, Items
from django_inference.rest.parsers import RawParser
from django_inference.rest.policies import PolicyMixin
from django_inference.rest.renderers import ARRAYS, PICTURES, EventStreamRenderer

#: What a POST takes, by what it asks for.
DESCRIPTIONS = {
    "predict": (
        'POST {"inputs": {name: nested lists, a row for each prediction}}, {"items": […]} or '
        '{"item": …} as JSON, files as multipart/form-data, arrays as .npy or .npz, or one item '
        "as raw bytes."
    ),
    "batch": (
        'POST {"items": […]}, or the list alone, as JSON, or files as multipart/form-data. The '
        "items are spread over batches and replicas; the results come in order, on one page."
    ),
    "stream": (
        'POST {"item": …} as JSON, one file as multipart/form-data, or raw bytes. The answer is '
        "text/event-stream: an event `chunk` for each piece, then `end`, or `failure`."
    ),
}


class FormMixin(PolicyMixin):
    """Finds out which parsers, renderers and serializer hold for a request.

    Attributes:
        serializer_class: turns a JSON body or a form into inputs.
        mode: what a POST asks for: `predict`, `batch` or `stream`.
    """

    serializer_class: type[BaseSerializer[Any]] | None = None
    mode: str = "predict"
    description: str | None = None

    def get_alias(self) -> str:
        """The alias of the predictor that this request is for."""
        raise NotImplementedError

    def policy_alias(self) -> str:
        """The predictor whose policies hold."""
        return self.get_alias()

    def get_mode(self) -> str:
        """What a POST asks for: `predict`, `batch` or `stream`."""
        return self.mode

    def get_description(self) -> str | None:
        """The text of the browsable API and of the OpenAPI document."""
        if self.is_set("description") and self.description:
            return self.description
        if self.get_serializer_class() is not None:
            several = "" if self.get_mode() == "stream" else ", or a list of such objects,"
            return f"POST an object with the fields below{several} as JSON, or one as a form."
        # Routers take the text of a viewset away.
        return self.description or DESCRIPTIONS[self.get_mode()]

    def get_view_description(self, html: bool = False) -> str:
        """As Django REST framework asks for it."""
        self.description = self.get_description()
        return super().get_view_description(html)

    def get_serializer_class(self) -> type[BaseSerializer[Any]] | None:
        """The view's own, or that of the predictor's `REST`, or None."""
        if self.is_set("serializer_class"):
            return self.serializer_class
        return self.policies.serializer_class

    def get_serializer(self, *args: Any, **kwargs: Any) -> BaseSerializer[Any]:
        """An instance; one without fields where there is no class."""
        kwargs.setdefault("context", {"request": self.request, "view": self})
        return (self.get_serializer_class() or Serializer)(*args, **kwargs)

    def from_serializer(self, data: Any) -> AnyInputs:
        """Validate a body, and ask the serializer what it means: a list means several items.

        Raises:
            ValidationError: a field is wrong.
        """
        many = isinstance(data, list)
        if not many and not isinstance(data, dict):
            raise ValidationError({api_settings.NON_FIELD_ERRORS_KEY: ["Expected an object."]})
        serializer: Any = self.get_serializer(data=data, many=many)
        serializer.is_valid(raise_exception=True)
        one = serializer.child if many else serializer
        to_inputs = getattr(one, "to_inputs", Item)
        if not many:
            found = to_inputs(serializer.validated_data)
            return found if isinstance(found, AnyInputs) else Item(found)
        every = [to_inputs(validated) for validated in serializer.validated_data]
        if any(isinstance(inputs, Inputs | Items) for inputs in every):
            raise ValidationError(
                {api_settings.NON_FIELD_ERRORS_KEY: ["Expected an object, not a list of them."]}
            )
        return Items([item.value if isinstance(item, Item) else item for item in every])

    def get_parsers(self) -> list[parsers.BaseParser]:
        """Which bodies are read; forms as well, where a serializer has fields for them."""
        if self.is_set("parser_classes"):
            return super().get_parsers()
        classes = self.policies.parser_classes
        if classes is not None:
            return [kind() for kind in classes]
        found = super().get_parsers()
        if self.get_serializer_class() is None:
            return found
        # Bytes have no fields that a serializer could look at.
        fields = [parser for parser in found if not isinstance(parser, RawParser)]
        return [*fields, parsers.FormParser()]

    def get_renderers(self) -> list[BaseRenderer]:
        """In which forms the answer comes: the project's own, and those for arrays."""
        if self.is_set("renderer_classes"):
            classes: list[Any] = list(self.renderer_classes)
        elif (chosen := self.policies.renderer_classes) is not None:
            classes = list(chosen)
        else:
            classes = list(api_settings.DEFAULT_RENDERER_CLASSES)
            if self.gives_answers():
                classes += self.answer_renderers()
        if self.get_mode() == "stream":
            classes.append(EventStreamRenderer)
        # The same page, with a form that can be used.
        return [PredictorRenderer() if kind is BrowsableAPIRenderer else kind() for kind in classes]

    def gives_answers(self) -> bool:
        """Whether this request is answered with what a model has said."""
        return self.request is None or self.request.method == "POST"

    def answer_renderers(self) -> list[type[BaseRenderer]]:
        """Those for arrays, and for pictures where Pillow is installed."""
        if self.get_mode() == "stream":
            return []
        pictures = PICTURES if self.get_mode() == "predict" and _has_pillow() else ()
        return [*ARRAYS, *pictures]


@cache
def _has_pillow() -> bool:
    return find_spec("PIL") is not None
