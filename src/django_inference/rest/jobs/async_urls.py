"""As `django_inference.rest.jobs.urls`, for ASGI: no thread is held while a client waits."""

from __future__ import annotations

from django.urls import path

from django_inference.rest.jobs.async_views import AsyncJobView
from django_inference.rest.jobs.events import EventsView
from django_inference.rest.jobs.views import JobsView, ResultView

app_name = "inference_jobs"

urlpatterns = [
    path("<str:alias>/jobs/", JobsView.as_view(), name="jobs"),
    path("<str:alias>/jobs/<uuid:id>/", AsyncJobView.as_view(), name="job"),
    path("<str:alias>/jobs/<uuid:id>/result/", ResultView.as_view(), name="result"),
    path("<str:alias>/jobs/<uuid:id>/events/", EventsView.as_view(), name="events"),
]
