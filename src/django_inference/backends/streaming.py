"""The chunks of one item, from whatever backend makes them, as iterators."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any, Protocol

from django_inference.engine.streams import OVER


class Chunks(Protocol):
    """What a backend makes of one item. Nothing is begun before the first chunk is asked for."""

    def next(self, deadline: float) -> Any:
        """Wait for the next chunk until `time.monotonic()` is that; `OVER` when there is none."""

    async def anext(self, deadline: float) -> Any:
        """As `next`, without holding the event loop."""

    def close(self) -> None:
        """Want no more, at any time, and also when it is over. Does not wait."""


def iterate(chunks: Chunks, deadline: Callable[[], float]) -> Generator[Any, None, None]:
    """Yield every chunk. Closing the generator closes them.

    Args:
        chunks: of one item.
        deadline: for the chunk that is asked for now.
    """
    try:
        while (chunk := chunks.next(deadline())) is not OVER:
            yield chunk
            # It may be lent: its memory is free again as soon as the caller has done with it.
            del chunk
    finally:
        chunks.close()


async def aiterate(chunks: Chunks, deadline: Callable[[], float]) -> AsyncGenerator[Any, None]:
    """As `iterate`, without holding the event loop."""
    try:
        while (chunk := await chunks.anext(deadline())) is not OVER:
            yield chunk
            del chunk
    finally:
        chunks.close()
