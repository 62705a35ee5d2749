"""Columns that a model fills: `PredictedField`, and the same for other types of columns."""

from __future__ import annotations

from django_inference.fields.columns import PredictedField, PredictedMixin, PredictionField
from django_inference.fields.submitting import refill

__all__ = ["PredictedField", "PredictedMixin", "PredictionField", "refill"]
