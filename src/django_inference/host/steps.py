"""What a call waits for. A thread and a task wait in different ways for the same things."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Generator
from typing import Any, TypeAlias

from django_inference.host.channel import Channel
from django_inference.host.protocol import ClientMessage, Reply
from django_inference.host.routing import PAUSE, Routing


class Exchange:
    """Send a frame and wait for the reply."""

    def __init__(self, channel: Channel, frame: bytes, deadline: float) -> None:
        self._channel = channel
        self._frame = frame
        self._deadline = deadline

    def run(self) -> Reply:
        """Wait in this thread."""
        return self._channel.exchange(self._frame, self._deadline)

    async def arun(self, turn: asyncio.Lock) -> Reply:
        """Wait in this task."""
        return await self._channel.aexchange(self._frame, self._deadline)


class Resolve:
    """Wait until the model's workers are known."""

    def __init__(self, routing: Routing, deadline: float) -> None:
        self._routing = routing
        self._deadline = deadline

    def run(self) -> None:
        """Wait in this thread."""
        self._routing.resolve(self._deadline)

    async def arun(self, turn: asyncio.Lock) -> None:
        """Wait in this task."""
        await self._routing.aresolve(self._deadline, turn)


class Tell:
    """Tell the supervisor something, if it listens."""

    def __init__(self, routing: Routing, message: ClientMessage) -> None:
        self._routing = routing
        self._message = message

    def run(self) -> None:
        """Wait in this thread."""
        self._routing.tell(self._message)

    async def arun(self, turn: asyncio.Lock) -> None:
        """Wait in this task."""
        await asyncio.to_thread(self.run)


class Pause:
    """Give the supervisor time to notice."""

    def run(self) -> None:
        """Wait in this thread."""
        time.sleep(PAUSE)

    async def arun(self, turn: asyncio.Lock) -> None:
        """Wait in this task."""
        await asyncio.sleep(PAUSE)


Step: TypeAlias = Exchange | Resolve | Tell | Pause
Steps: TypeAlias = Generator[Step, Any, Any]
