"""Equal calls at the same time: one of them is made, the others wait for its outcome."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from concurrent.futures import Future
from typing import NamedTuple, TypeAlias


class Outcome(NamedTuple):
    """What a call has come to.

    Attributes:
        packed: its answers, for everybody who waits to unpack.
        error: or what it raised.
        alone: or nothing that can be shared: let everybody make the call himself.
    """

    packed: tuple[bytes, ...] = ()
    error: Exception | None = None
    alone: bool = False


#: The call has come to nothing, for reasons of its caller: let another one make it.
AGAIN = Outcome()

Flight: TypeAlias = "Future[Outcome]"


class Flights:
    """The calls under way in this process, by name. Threads and tasks share them."""

    def __init__(self) -> None:
        self._forget()

    def board(self, name: str) -> Flight | None:
        """Return the call under way of that name; None if the caller shall make it.

        Who makes it ends it with `land`, whatever happens.
        """
        if self._pid != os.getpid():
            # Nobody here makes the calls of the parent, and the lock may be held for ever.
            self._forget()
        with self._lock:
            flight = self._under_way.get(name)
            if flight is None:
                made: Flight = Future()
                self._under_way[name] = made
                # A task that waits for it and is cancelled shall not cancel it.
                made.set_running_or_notify_cancel()
        return flight

    def tell(self, name: str, outcome: Outcome) -> None:
        """Say what the call has come to; who asks from now on is told, too."""
        flight = self._under_way.get(name)
        if flight is not None:
            flight.set_result(outcome)

    def land(self, name: str) -> None:
        """End a call. If nothing was told of it, another one of those who wait makes it."""
        with self._lock:
            flight = self._under_way.pop(name, None)
        if flight is not None and not flight.done():
            flight.set_result(AGAIN)

    def _forget(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._under_way: dict[str, Flight] = {}


def wait(flight: Flight, deadline: float) -> Outcome | None:
    """Wait for the outcome of another's call; None at the deadline."""
    if _is_in_a_loop():
        # Which would stand still, and one of its tasks may be who makes the call.
        return Outcome(alone=True)
    try:
        return flight.result(max(0.0, deadline - time.monotonic()))
    except TimeoutError:
        return None


async def await_(flight: Flight, deadline: float) -> Outcome | None:
    """As `wait`, without holding the event loop."""
    try:
        async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
            return await asyncio.wrap_future(flight)
    except TimeoutError:
        return None


def _is_in_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
