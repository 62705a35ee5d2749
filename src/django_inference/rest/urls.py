"""Endpoints for every predictor: `path("api/", include("django_inference.rest.urls"))`.

Permissions, throttles and the rest are those of the predictor's `REST`, or else the project's
own defaults, such as `DEFAULT_PERMISSION_CLASSES`.
"""

from __future__ import annotations

from django.urls import path

from django_inference.rest.views import BatchView, IndexView, PredictView, StreamView

app_name = "inference"

urlpatterns = [
    path("", IndexView.as_view(), name="index"),
    path("<str:alias>/", PredictView.as_view(), name="predict"),
    path("<str:alias>/batch/", BatchView.as_view(), name="batch"),
    path("<str:alias>/stream/", StreamView.as_view(), name="stream"),
]
