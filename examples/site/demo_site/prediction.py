"""A page that asks a predictor: an ordinary Django view.

The three pages in `views.py` say which predictor, and how its answer is drawn.
"""

from __future__ import annotations

import time
from base64 import b64encode
from dataclasses import dataclass
from typing import Any, ClassVar

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views import View

from demo_site import machine
from demo_site.forms import UploadForm
from demo_site.samples import SAMPLES, Upload
from django_inference import InferenceError, InvalidInput, ModelNotReady, predictors


@dataclass(frozen=True)
class Answer:
    """What the model said about one upload, ready to be drawn."""

    upload: Upload
    result: dict[str, Any]
    shapes: Any

    @property
    def data_uri(self) -> str:
        """The upload itself: nothing is stored on the server to show it again."""
        encoded = b64encode(self.upload.content).decode("ascii")
        return f"data:{self.upload.content_type};base64,{encoded}"


class PredictionView(View):
    """A form and samples; with either, the answer of one predictor.

    Attributes:
        alias: of the predictor.
        title: of the page.
        intro: what the model does, in a sentence.
        made_by: model, framework and licence.
        accept: media types that the file field offers.
        draw: turns a result into shapes.
        example: name of a file in the page's `curl` example.
    """

    alias: ClassVar[str]
    title: ClassVar[str]
    intro: ClassVar[str]
    made_by: ClassVar[str]
    accept: ClassVar[str] = ""
    example: ClassVar[str]

    def draw(self, result: dict[str, Any]) -> Any:
        """Turn one result into what the template draws."""
        raise NotImplementedError

    def get(self, request: HttpRequest) -> HttpResponse:
        """Show the form; with `?sample=…`, the answer for that sample."""
        name = request.GET.get("sample")
        if name is None:
            return self.page(UploadForm(accept=self.accept))
        sample = SAMPLES[self.alias].get(name)
        if sample is None:
            raise Http404(f"There is no sample {name!r}.")
        return self.answer(UploadForm(accept=self.accept), sample.files(), sample=name)

    def post(self, request: HttpRequest) -> HttpResponse:
        """Show the answer for what was uploaded."""
        form = UploadForm(request.POST, request.FILES, accept=self.accept)
        if not form.is_valid():
            return self.page(form, status=form.status)
        return self.answer(form, form.read())

    def answer(self, form: UploadForm, uploads: list[Upload], sample: str = "") -> HttpResponse:
        """Ask the model, and show what it says, or why it says nothing."""
        predictor = predictors[self.alias]
        try:
            if machine.is_on_its_way(predictor.status()):
                # `predict` would wait for the model. A person would rather see that it is
                # being loaded than a page that does not come.
                predictor.preload()
                raise ModelNotReady("the model is being loaded.", retry_after=2)
            began = time.perf_counter()
            results = predictor.predict([upload.content for upload in uploads])
            seconds = time.perf_counter() - began
        except InvalidInput as error:
            form.refuse(error.message, uploads)
            return self.page(form, status=error.status_code)
        except InferenceError as error:
            return self.unavailable(error)
        answers = [
            Answer(upload, result, self.draw(result))
            for upload, result in zip(uploads, results, strict=True)
        ]
        milliseconds = f"{seconds * 1000:,.0f} ms"
        return self.page(form, answers=answers, sample=sample, milliseconds=milliseconds)

    def page(self, form: UploadForm, *, status: int = 200, **context: Any) -> HttpResponse:
        """Render the page, with the processes behind it."""
        now = machine.machine()
        context |= {"form": form, "machine": now, "this_model": now.model(self.alias)}
        return self._render(f"demo/{self.alias}.html", status, context)

    def unavailable(self, error: InferenceError) -> HttpResponse:
        """Render why there is no answer; while the model is loaded, the page asks again."""
        wait = max(1, round(error.retry_after or 2))
        context = {
            "error": error,
            "model": machine.model(predictors[self.alias].status()),
            "wait": wait,
            "is_loading": isinstance(error, ModelNotReady),
        }
        response = self._render("demo/unavailable.html", error.status_code, context)
        if error.retry_after is not None:
            response["Retry-After"] = str(wait)
        return response

    def _render(self, template: str, status: int, context: dict[str, Any]) -> HttpResponse:
        context |= {"page": self, "samples": SAMPLES[self.alias]}
        return render(self.request, template, context, status=status)
