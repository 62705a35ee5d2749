"""Pages about jobs: usable without JavaScript, and better with htmx."""

from __future__ import annotations

from django_inference.rest.jobs.pages.base import JobPages, SiteAuthentication
from django_inference.rest.jobs.pages.drawing import Shown
from django_inference.rest.jobs.pages.views import JobPage, JobsPage, PicturePage, SubmitPage

__all__ = [
    "JobPage",
    "JobPages",
    "JobsPage",
    "PicturePage",
    "Shown",
    "SiteAuthentication",
    "SubmitPage",
]
