"""Predictions for the rows of a table, written back into it.

`predicting` has the function that is called. `reading` turns a row into an input, `writing` an
answer into values of fields; `filling` goes from batch to batch, and `position` remembers how far
it came.
"""

from __future__ import annotations

from django_inference.querysets.filling import Filled
from django_inference.querysets.predicting import predict_queryset

__all__ = ["Filled", "predict_queryset"]
