"""Predictions over HTTP with Django REST framework."""

from __future__ import annotations

from django_inference.plain import to_plain
from django_inference.rest.inputs import Inputs, Item, Items
from django_inference.rest.views import PredictView

__all__ = ["Inputs", "Item", "Items", "PredictView", "to_plain"]
