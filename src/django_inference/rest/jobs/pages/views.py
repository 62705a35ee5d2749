"""Pages for people: an upload form, one's jobs, and one job as it goes on."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from rest_framework.exceptions import APIException, NotFound, ValidationError

from django_inference.exceptions import InvalidInput
from django_inference.jobs.models import Job
from django_inference.rest.examples import Files, draws, takes_files
from django_inference.rest.inputs import Item
from django_inference.rest.jobs.pages.base import JobPages, reasons_of
from django_inference.rest.jobs.pages.drawing import Shown, digest_of, show


class SubmitPage(JobPages):
    """A form for files. Each becomes a job of its own, so the answers come one by one.

    Attributes:
        max_files: in one form.
        label: of the field.
        accept: types that a browser offers; None takes what the model's settings tell.
    """

    template_name = "django_inference/jobs/submit.html"
    max_files: int = 100
    label: str | None = None
    accept: str | None = None

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Show the form."""
        return self.form()

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Submit what was chosen, and go to where it can be watched."""
        try:
            self.api.check_body_length(self.api.request)
            self.api.check_throttles(self.api.request)
            jobs = [self.api.submit(Item(item)) for item in self.get_items()]
        except (ValidationError, InvalidInput) as error:
            return self.form(_reasons(error))
        return redirect(self.address_after(jobs))

    def get_items(self) -> list[Any]:
        """What was chosen; each is to be a job.

        Raises:
            ValidationError: nothing, or too much.
        """
        files = self.request.FILES.getlist("file")
        if not files:
            raise ValidationError("Choose a file first.")
        if len(files) > self.max_files:
            raise ValidationError(f"At most {self.max_files} files at a time.")
        return [self.api.get_item(file, self.request.POST) for file in files]

    def address_after(self, jobs: list[Job]) -> str:
        """Where a visitor watches what was submitted, as seen from this page."""
        return f"./jobs/{jobs[0].pk}/" if len(jobs) == 1 else "./jobs/"

    def form(self, errors: list[str] | None = None) -> HttpResponse:
        """The page with the form."""
        files = takes_files(self.predictor) or Files("File", "")
        return self.page(
            status=400 if errors else 200,
            errors=errors or [],
            label=self.label or files.label,
            accept=files.accept if self.accept is None else self.accept,
            max_files=self.max_files,
        )


class JobsPage(JobPages):
    """One's own jobs, as their answers arrive.

    Attributes:
        most: jobs that are shown, the newest first.
        fragment_template_name: what changes while one looks.
        pictures: each job is shown with the picture that was sent; None for what the model's
            settings tell.
    """

    template_name = "django_inference/jobs/jobs.html"
    fragment_template_name: str = "django_inference/jobs/_jobs.html"
    most: int = 100
    pictures: bool | None = None

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Show them; what changes alone, to htmx."""
        jobs = list(self.get_jobs().without_payloads()[: self.most])
        return self.live(jobs, lambda: {"shown": [self.show(job) for job in jobs]})

    def show(self, job: Job) -> Shown:
        """What there is to say of one."""
        return show(job)

    def live(self, jobs: list[Job], describe: Any) -> HttpResponse:
        """A page that looks after itself, or the part of it that does."""
        digest = digest_of(jobs)
        if self.request.headers.get("HX-Request") != "true":
            template = self.template_name
        elif self.request.GET.get("seen") == digest:
            return HttpResponse(status=204)  # htmx leaves everything as it is
        else:
            template = self.fragment_template_name
        is_live = not all(job.is_finished for job in jobs)
        pictures = draws(self.predictor) if self.pictures is None else self.pictures
        return self.page(
            template=template,
            digest=digest,
            is_live=is_live,
            finished=sum(job.is_finished for job in jobs),
            pictures=pictures,
            fragment=self.fragment_template_name,
            **describe(),
        )


class JobPage(JobsPage):
    """One job: its state, its progress, and its result, drawn where it can be."""

    template_name = "django_inference/jobs/job.html"
    fragment_template_name = "django_inference/jobs/_job.html"

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Show it; what changes alone, to htmx."""
        job = self.get_job()
        return self.live([job], lambda: {"one": self.show(job)})

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Cancel it, or run it again where that may help."""
        job = self.get_job()
        if request.POST.get("action") == "retry":
            job.retry()
        else:
            job.cancel()
        return redirect(request.path)


class PicturePage(JobPages):
    """The picture that was sent, with what was found on it once that is known."""

    #: Of a picture; a small file can claim to hold billions of them.
    max_pixels = 50_000_000

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """The picture, as a JPEG file."""
        # Not at the top: a site without pictures needs no Pillow.
        from django_inference.runtimes.vision.drawing import annotated
        from django_inference.runtimes.vision.pictures import PictureReader

        shown = show(self.get_job())
        sent = shown.job.inputs
        if not isinstance(sent, bytes):
            raise NotFound("What was sent is no picture.")
        try:
            picture = PictureReader(max_pixels=self.max_pixels).read(sent)
        except InvalidInput as error:
            raise NotFound("What was sent is no picture.") from error
        found = {"boxes": shown.boxes, "classes": shown.classes}
        # Written anew: nothing that a visitor sends is ever sent back as it came.
        response = HttpResponse(annotated(picture, found), content_type="image/jpeg")
        age = 3600 if shown.job.is_finished else 0
        response.headers["Cache-Control"] = f"private, max-age={age}"
        return response


def _reasons(error: Exception) -> list[str]:
    return reasons_of(error) if isinstance(error, APIException) else [str(error)]
