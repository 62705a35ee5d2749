"""Models in fewer bits: made, measured, and held against answers that are known.

A quantised model is another model. Nothing in its size, its speed or the likeness of its
numbers says whether it still answers rightly, so the golden answers alone decide.
"""

from __future__ import annotations

from django_inference.quantization.base import CannotQuantize, Made, Wanted
from django_inference.quantization.trial import Trial, quantize

__all__ = ["CannotQuantize", "Made", "Trial", "Wanted", "quantize"]
