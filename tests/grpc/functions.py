"""Models of the tests, and what says who may call them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

from django.core.exceptions import PermissionDenied

from django_inference import Runtime
from django_inference.serving.access import Caller
from django_inference.serving.users import Stranger

#: What became of the streams of `Counter`.
CLOSED = threading.Event()


def slow(items: list[float]) -> list[float]:
    """Give back each item after so many seconds."""
    time.sleep(max(items))
    return items


class Counter(Runtime):
    """Counts for ever."""

    def predict(self, items: list[Any]) -> list[Any]:
        return items

    def stream(self, item: Any) -> Iterator[dict[str, int]]:
        CLOSED.clear()
        number = 0
        try:
            while True:
                yield {"number": number}
                number += 1
        finally:
            CLOSED.set()


def by_name(caller: Caller) -> Stranger | None:
    """Whoever says a name is believed; in a thread."""
    name = caller.metadata.get("name", "")
    if name == "banned":
        raise PermissionDenied
    return Stranger(name, is_staff=name == "staff") if name else None


async def by_certificate(caller: Caller) -> Stranger | None:
    """Whom the certificate names, in the loop."""
    return Stranger(caller.names[0]) if caller.names else None


def broken(caller: Caller) -> None:
    """A hook with a mistake of its own."""
    raise KeyError("a secret of the server")


def only_reading(user: Any, alias: str, action: str) -> bool:
    """What `PERMISSION` may name."""
    return action == "read"
