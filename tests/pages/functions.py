"""A model that takes any file."""

from __future__ import annotations

import time
from pathlib import Path


def sizes(items: list[bytes]) -> list[dict[str, int]]:
    """How long each is.

    One that is a path is answered when its folder holds a ticket for it: as many are answered as
    there are tickets, whichever comes first, and however often it is asked.
    """
    for item in items:
        if item.startswith(b"/"):
            _wait_for_a_ticket(Path(item.decode()))
    return [{"bytes": len(item)} for item in items]


def _wait_for_a_ticket(answered: Path) -> None:
    until = time.monotonic() + 120.0
    while not answered.exists():
        tickets, used = (
            len([*answered.parent.glob(f"*.{kind}")]) for kind in ("ticket", "answered")
        )
        if used < tickets:
            answered.touch()
        assert time.monotonic() < until, "nobody has made a ticket"
        time.sleep(0.05)
