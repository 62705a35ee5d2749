"""What the process that fetches an artifact is told, and says: a line of JSON each."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from django_inference.artifacts.records import Copy, StoreSettings
from django_inference.specs import ErrorReport, PythonEnvironment

#: Bytes of the longest line: a traceback, written as JSON.
MAX_LINE = 1 << 20


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """Fetch this; or, with a tag, say only whether it has changed.

    Attributes:
        location: as `MODEL` says it.
        store: where the copy goes.
        sha256: what it must hash to, or None.
        environment: for `storage:` and `cache:`, which are Django's.
        tag: that the source had when it was asked last; None to fetch.
    """

    location: str
    store: StoreSettings
    sha256: str | None = None
    environment: PythonEnvironment | None = None
    tag: str | None = None


class Came(msgspec.Struct, frozen=True, tag=True):
    """So many bytes are here, of so many; 0 where nobody knows."""

    done: int
    total: int


class Fetched(msgspec.Struct, frozen=True, tag=True):
    """It is here. The last word."""

    copy: Copy


class Tagged(msgspec.Struct, frozen=True, tag=True):
    """The tag that the source has now; empty where it has none. The last word."""

    tag: str


class Failed(msgspec.Struct, frozen=True, tag=True):
    """It cannot be had. The last word."""

    error: ErrorReport


News: TypeAlias = Came | Fetched | Tagged | Failed


def line(message: msgspec.Struct) -> bytes:
    """A message as it travels."""
    return msgspec.json.encode(message) + b"\n"
