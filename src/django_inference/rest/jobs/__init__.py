"""Durable jobs over HTTP: needs `django_inference.jobs` among the installed apps."""

from __future__ import annotations

from django_inference.rest.jobs.async_views import AsyncJobView
from django_inference.rest.jobs.events import EventsView
from django_inference.rest.jobs.mixin import JobMixin
from django_inference.rest.jobs.views import JobPagination, JobsView, JobView, ResultView

__all__ = [
    "AsyncJobView",
    "EventsView",
    "JobMixin",
    "JobPagination",
    "JobView",
    "JobsView",
    "ResultView",
]
