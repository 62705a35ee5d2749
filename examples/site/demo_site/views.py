"""The pages of the site."""

from __future__ import annotations

from typing import Any

from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from demo_site import drawing, machine
from demo_site.prediction import PredictionView
from demo_site.samples import SAMPLES


class Faces(PredictionView):
    """Faces in a photo."""

    alias = "faces"
    title = "Faces in a photo"
    intro = "Finds every face, and in each the eyes, the nose and the corners of the mouth."
    made_by = "MTCNN · TensorFlow · MIT"
    accept = "image/jpeg,image/png,image/webp,image/gif,image/bmp"
    example = "photo.jpg"

    def draw(self, result: dict[str, Any]) -> drawing.Overlay:
        """Boxes and landmarks over the photo."""
        return drawing.overlay(result)


class Notes(PredictionView):
    """Notes in a sound."""

    alias = "notes"
    title = "Notes in a sound"
    intro = "Writes down what is played: any instrument, several notes at once, up to a minute."
    made_by = "Basic Pitch by Spotify · TensorFlow SavedModel · Apache-2.0"
    accept = "audio/*"
    example = "sound.wav"

    def draw(self, result: dict[str, Any]) -> drawing.Roll:
        """A piano roll."""
        return drawing.piano_roll(result)


class Types(PredictionView):
    """The types of files."""

    alias = "types"
    title = "Types of files"
    intro = "Tells some two hundred types apart by content alone; the names are never looked at."
    made_by = "Magika by Google · ONNX · Apache-2.0"
    example = "mystery.bin"

    def draw(self, result: dict[str, Any]) -> list[drawing.Guess]:
        """A bar for each guess."""
        return drawing.guesses(result)


@require_safe
def home(request: HttpRequest) -> HttpResponse:
    """The three models, and the processes that they live in."""
    return render(request, "demo/home.html", {"machine": machine.machine()})


@require_safe
def sample_file(request: HttpRequest, alias: str, name: str) -> HttpResponse:
    """A sample itself: what an `<img>` shows."""
    try:
        upload = SAMPLES[alias][name].files()[0]
    except KeyError:
        raise Http404(f"There is no sample {alias}/{name}.") from None
    response = HttpResponse(upload.content, content_type=upload.content_type)
    response["Cache-Control"] = "max-age=3600"
    return response


@require_safe
def status(request: HttpRequest) -> JsonResponse:
    """What `demo.py` watches: the state of every model, and who serves the site."""
    now = machine.machine()
    return JsonResponse(
        {
            "web_workers": [worker.pid for worker in now.web_workers],
            "host": now.host.pid,
            "models": {
                model.alias: {
                    "state": model.state,
                    "pid": model.process.pid,
                    "memory": model.process.memory,
                    "load_seconds": model.load_seconds,
                    "version": model.version,
                    "error": model.error,
                }
                for model in now.models
            },
        }
    )
