"""Between what models take and give, and what JSON has: for HTTP and the command line."""

from __future__ import annotations

from django_inference.plain.arrays import NonFinite, to_array
from django_inference.plain.values import to_plain

__all__ = ["NonFinite", "to_array", "to_plain"]
