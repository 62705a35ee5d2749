"""As `django_inference.rest.urls`, for ASGI: no thread is held while a model runs.

`path("api/", include("django_inference.rest.async_urls"))`
"""

from __future__ import annotations

from django.urls import path

from django_inference.rest.async_views import AsyncBatchView, AsyncPredictView, AsyncStreamView
from django_inference.rest.views import IndexView

app_name = "inference"

urlpatterns = [
    path("", IndexView.as_view(predict_view=AsyncPredictView), name="index"),
    path("<str:alias>/", AsyncPredictView.as_view(), name="predict"),
    path("<str:alias>/batch/", AsyncBatchView.as_view(), name="batch"),
    path("<str:alias>/stream/", AsyncStreamView.as_view(), name="stream"),
]
