"""Models that are functions."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any


def slow(items: list[dict[str, Any]]) -> list[Any]:
    """Give every item's value back, doubled, after the seconds that it asks for.

    An item may name a file that tells the test that the model runs now.
    """
    for item in items:
        if "note" in item:
            Path(item["note"]).touch()
    time.sleep(max(item.get("seconds", 0.0) for item in items))
    return [2 * item["value"] for item in items]


def upper(texts: list[str]) -> list[str]:
    """Shout."""
    return [text.upper() for text in texts]
