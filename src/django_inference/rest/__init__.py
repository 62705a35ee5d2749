"""Predictions over HTTP with Django REST framework."""

from __future__ import annotations

from django.conf import settings

from django_inference.plain import to_plain
from django_inference.rest.inputs import Inputs, Item, Items
from django_inference.rest.renderers import InferenceJSONRenderer
from django_inference.rest.serializers import PredictionSerializer
from django_inference.rest.views import BatchView, IndexView, PredictView, StreamView
from django_inference.rest.viewsets import PredictorViewSet

if "drf_spectacular" in settings.INSTALLED_APPS:
    import django_inference.rest.openapi  # noqa: F401  # registers how the views are described

__all__ = [
    "BatchView",
    "IndexView",
    "InferenceJSONRenderer",
    "Inputs",
    "Item",
    "Items",
    "PredictView",
    "PredictionSerializer",
    "PredictorViewSet",
    "StreamView",
    "to_plain",
]
