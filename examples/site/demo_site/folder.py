"""A folder of photos at once: each becomes a job, and the answers arrive one by one."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse
from rest_framework.renderers import JSONRenderer

from demo_site import drawing
from demo_site.forms import MOST_FILES
from demo_site.samples import FOLDER, folder
from demo_site.views import Faces
from django_inference.jobs.models import Job
from django_inference.rest.jobs import ResultView
from django_inference.rest.jobs.pages import JobPage, JobsPage, PicturePage, Shown, SubmitPage


class Folder(SubmitPage):
    """A form for photos, and a button for those who have none."""

    alias = "faces"
    title = "A folder of photos"
    template_name = "demo/folder.html"
    label = "Some photos"
    accept = Faces.accept
    max_files = MOST_FILES

    def get_items(self) -> list[Any]:
        """The photos that were chosen, or those of the sample folder."""
        return folder() if "sample" in self.request.POST else super().get_items()

    def page(self, **context: Any) -> HttpResponse:
        """The form, with a button for the sample folder."""
        return super().page(samples=len(FOLDER), **context)


class FolderJobs(JobsPage):
    """All photos of one visitor, with their faces drawn in the browser."""

    alias = "faces"
    title = Folder.title
    pictures = True

    def show(self, job: Job) -> Shown:
        """The boxes and landmarks, beside what there is to say of any job."""
        shown = super().show(job)
        if shown.result is not None:
            shown.extra = drawing.overlay(shown.result)
        return shown


class FolderJob(FolderJobs, JobPage):
    """One of them."""


class FolderPicture(PicturePage):
    """The photo itself."""

    alias = "faces"


result = ResultView.as_view(alias="faces", renderer_classes=[JSONRenderer])
