"""A model that takes any file."""

from __future__ import annotations


def sizes(items: list[bytes]) -> list[dict[str, int]]:
    return [{"bytes": len(item)} for item in items]
