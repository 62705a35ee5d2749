"""Answers in other forms than JSON: arrays, and pictures with what was found on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from rest_framework.exceptions import NotAcceptable
from rest_framework.renderers import BaseRenderer, JSONRenderer

from django_inference.json import InferenceJSONEncoder
from django_inference.rest.inputs import AnyInputs, Item, Items
from django_inference.wire.npy import plain_array, write_npy, write_npz


@dataclass(frozen=True)
class Answered:
    """What a predictor was asked, and what it answered, before anything is made of it."""

    inputs: AnyInputs
    result: Any


class InferenceJSONRenderer(JSONRenderer):
    """JSON of what a model answers, for views of Django REST framework that call it themselves."""

    encoder_class = InferenceJSONEncoder


class AnswerRenderer(BaseRenderer):
    """Makes bytes of an answer itself; whatever else it is given, errors above all, is JSON's."""

    charset = None
    render_style = "binary"

    def encode(self, answered: Answered) -> bytes:
        """Return the body.

        Raises:
            NotAcceptable: the answer cannot be given in this form.
        """
        raise NotImplementedError

    def render(
        self, data: Any, accepted_media_type: Any = None, renderer_context: Any = None
    ) -> bytes:
        """Return what `encode` has made."""
        return bytes(data)


class NpyRenderer(AnswerRenderer):
    """A `.npy` file for one tensor, a `.npz` file for several; `numpy.load` reads either."""

    media_type = "application/octet-stream"
    format = "npy"

    def encode(self, answered: Answered) -> bytes:
        """Return the file."""
        arrays = _arrays(answered)
        if len(arrays) != 1:
            return write_npz(arrays)
        (array,) = arrays.values()
        return write_npy(array)


class NpzRenderer(AnswerRenderer):
    """A `.npz` file, which keeps the names."""

    media_type = "application/x-npz"
    format = "npz"

    def encode(self, answered: Answered) -> bytes:
        """Return the file."""
        return write_npz(_arrays(answered))


class JPEGRenderer(AnswerRenderer):
    """The picture that was sent, with what a detector has found drawn on it."""

    media_type = "image/jpeg"
    format = "jpeg"
    form: ClassVar[Literal["JPEG", "PNG"]] = "JPEG"
    #: Of a picture; a small file can claim to hold billions of them.
    max_pixels = 50_000_000

    def encode(self, answered: Answered) -> bytes:
        """Return the file."""
        result, inputs = answered.result, answered.inputs
        if not isinstance(result, Mapping) or not ("boxes" in result or "classes" in result):
            raise NotAcceptable("The answer is no list of objects that could be drawn.")
        if not isinstance(inputs, Item):
            raise NotAcceptable("Only one picture at a time can be drawn on.")
        # Not at the top: a site that draws nothing needs no Pillow.
        from django_inference.runtimes.vision.drawing import annotated
        from django_inference.runtimes.vision.pictures import PictureReader

        picture = PictureReader(max_pixels=self.max_pixels).read(inputs.value)
        return annotated(picture, result, self.form)


class PNGRenderer(JPEGRenderer):
    """As `JPEGRenderer`, without loss."""

    media_type = "image/png"
    format = "png"
    form = "PNG"


class EventStreamRenderer(AnswerRenderer):
    """Server-sent events. The view writes them; this is what a client asks for."""

    media_type = "text/event-stream"
    format = "events"


def _arrays(answered: Answered) -> dict[str, Any]:
    try:
        if isinstance(answered.inputs, Items):
            return _stacked(answered.result)
        result = answered.result
        if isinstance(result, Mapping) and result:
            return {str(name): plain_array(value) for name, value in result.items()}
        return {answered.inputs.answered_as: plain_array(result)}
    except (ValueError, TypeError, KeyError):
        raise NotAcceptable("The answer holds more than arrays; ask for JSON.") from None


def _stacked(results: list[Any]) -> dict[str, Any]:
    import numpy as np

    if results and all(isinstance(result, Mapping) and result for result in results):
        names = list(results[0])
        return {
            str(name): plain_array(np.stack([result[name] for result in results])) for name in names
        }
    return {Items.answered_as: plain_array(np.asarray(results))}


#: What every predictor can be asked for, beside the project's own renderers.
ARRAYS: tuple[type[AnswerRenderer], ...] = (NpyRenderer, NpzRenderer)
PICTURES: tuple[type[AnswerRenderer], ...] = (JPEGRenderer, PNGRenderer)
