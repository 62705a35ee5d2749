"""Where a model's workers are, as one process knows it, and its channels to them."""

from __future__ import annotations

import time
from collections import deque

from django_inference.host.channel import Channel
from django_inference.host.protocol import Update
from django_inference.host.rundir import Epoch

#: Idle channels that a process keeps to each worker.
MAX_IDLE = 64


class Route:
    """Where a model's workers are, and the idle channels to them.

    Args:
        epoch: the host's counter, and its value before the supervisor was asked.
        update: what the supervisor said.
        former: the route before; channels to workers that stay are taken over.
    """

    def __init__(self, epoch: Epoch, value: int, update: Update, former: Route | None) -> None:
        self._epoch = epoch
        self._value = value
        self.signature = update.signature
        had: dict[str, deque[Channel]] = former._idle if former is not None else {}
        self._idle: dict[str, deque[Channel]] = {
            path: had.pop(path, deque()) for path in update.sockets
        }
        busy = former._busy if former is not None else {}
        self._busy: dict[str, int] = {path: busy.get(path, 0) for path in update.sockets}
        for channels in had.values():
            while channels:
                channels.pop().close()

    @property
    def is_current(self) -> bool:
        """Whether nothing has changed since the supervisor was asked."""
        return self._epoch.value == self._value

    def take(self, deadline: float) -> Channel:
        """Return an idle channel to the least busy worker, or a new one.

        Raises:
            OSError: that worker cannot be reached.
        """
        path = min(self._busy, key=self._busy.__getitem__)
        self._busy[path] += 1
        if self._idle[path]:
            return self._idle[path].pop()
        try:
            return Channel(path, max(0.001, deadline - time.monotonic()))
        except BaseException:
            self._busy[path] -= 1
            raise

    def give_back(self, channel: Channel, *, usable: bool) -> None:
        """Keep a channel for the next call, or drop it."""
        idle = self._idle.get(channel.path)
        if idle is None:
            channel.close()
            return
        self._busy[channel.path] -= 1
        if usable and len(idle) < MAX_IDLE:
            idle.append(channel)
        else:
            channel.close()

    def close(self) -> None:
        """Hang up every idle channel."""
        for channels in self._idle.values():
            while channels:
                channels.pop().close()
