"""Jobs for every predictor: `path("api/", include("django_inference.rest.jobs.urls"))`.

Beside `django_inference.rest.urls`, under the same policies. They fit WSGI and ASGI alike; on
the latter, `django_inference.rest.jobs.async_urls` holds no thread while a client waits.
"""

from __future__ import annotations

from django.urls import path

from django_inference.rest.jobs.events import EventsView
from django_inference.rest.jobs.views import JobsView, JobView, ResultView

app_name = "inference_jobs"

urlpatterns = [
    path("<str:alias>/jobs/", JobsView.as_view(), name="jobs"),
    path("<str:alias>/jobs/<uuid:id>/", JobView.as_view(), name="job"),
    path("<str:alias>/jobs/<uuid:id>/result/", ResultView.as_view(), name="result"),
    path("<str:alias>/jobs/<uuid:id>/events/", EventsView.as_view(), name="events"),
]
