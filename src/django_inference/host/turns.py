"""Who of the tasks of an event loop may call next."""

from __future__ import annotations

import asyncio
import time
from collections import deque

from django_inference.specs import PRIORITIES


class Turns:
    """A semaphore that gives the next turn to the most urgent who waits.

    Args:
        most: turns that are out at once.
    """

    def __init__(self, most: int) -> None:
        self._free = most
        self._waiting: tuple[deque[asyncio.Future[None]], ...] = tuple(deque() for _ in PRIORITIES)

    async def take(self, priority: int, deadline: float | None = None) -> None:
        """Wait for a turn.

        Args:
            priority: index of `specs.PRIORITIES`; within one, who came first is first.
            deadline: `time.monotonic()`; None waits for ever.

        Raises:
            TimeoutError: the deadline has passed.
        """
        if self._free:
            self._free -= 1
            return
        async with asyncio.timeout(None if deadline is None else deadline - time.monotonic()):
            await self._wait(priority)

    async def _wait(self, priority: int) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[priority].append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                # It was given in the same moment: somebody else shall have it.
                self.give_back()
            raise

    def give_back(self) -> None:
        """Let the next one call."""
        for lane in self._waiting:
            while lane:
                turn = lane.popleft()
                if not turn.done():
                    turn.set_result(None)
                    return
        self._free += 1
