"""Models over named, typed columns: what they take, and where that is found.

The description is made when a model is loaded, from the fitted object; the engine holds every
request against it, and the runtime makes of the columns what the framework takes.
"""

from __future__ import annotations

from django_inference.runtimes.tables.columns import Column, Kind, Table, Unknown

__all__ = ["Column", "Kind", "Table", "Unknown"]
