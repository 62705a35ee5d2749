"""How a caller sees that another model has answered than the one that was asked.

Results are plain dicts and lists, so the mark is not on them: whoever wants to know opens a
`degraded()` around the calls.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import msgspec

from django_inference.exceptions import InferenceError


class Degraded(msgspec.Struct, frozen=True):
    """One answer that a fallback has given.

    Attributes:
        alias: the predictor that was asked.
        fallback: the one that answered.
        error: why the first one could not.
    """

    alias: str
    fallback: str
    error: InferenceError


_watched: ContextVar[tuple[list[Degraded], ...]] = ContextVar("degraded", default=())


@contextmanager
def degraded() -> Iterator[list[Degraded]]:
    """Collect the answers that fallbacks give while this is open.

    Also those to tasks that are begun inside, and to `map`. Each level of nested ones has a
    list of its own.

    Yields:
        The list; empty as long as every predictor answers by itself.
    """
    found: list[Degraded] = []
    token = _watched.set((*_watched.get(), found))
    try:
        yield found
    finally:
        _watched.reset(token)


def mark(answer: Degraded) -> None:
    """Tell whoever watches."""
    for found in _watched.get():
        found.append(answer)
