"""A model that counts for whoever listens."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import count

from django_inference import Runtime


class Counter(Runtime):
    """Counts, or up to what it is told; a hundred numbers a second at the most."""

    def predict(self, items: list[int]) -> list[list[int]]:
        return [list(range(item)) for item in items]

    def stream(self, item: int | None) -> Iterator[int]:
        for number in count() if item is None else range(item):
            time.sleep(0.01)
            yield number
