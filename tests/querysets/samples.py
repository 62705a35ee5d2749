"""What the tests of querysets predict with."""

from __future__ import annotations

from typing import Any

from tests.querysets.gallery.models import Photo

UNLUCKY = 1313


def doubled(items: list[Any]) -> list[Any]:
    """Twice each item; one number cannot be predicted."""
    if UNLUCKY in items:
        raise ValueError(f"{UNLUCKY} brings bad luck")
    return [item * 2 for item in items]


def number_of(photo: Photo) -> int:
    """An input that is made of a row."""
    return photo.number + 1


NO_FUNCTION = "text"
