"""Many items through one predictor: in batches, several at a time.

`batches` holds what becomes of one batch, `running` how they follow each other in threads and in
tasks, `checkpoint` what is kept on disk of those that are done.
"""

from __future__ import annotations

from django_inference.backends.mapping.options import MapOptions
from django_inference.backends.mapping.running import amap_items, map_items

__all__ = ["MapOptions", "amap_items", "map_items"]
