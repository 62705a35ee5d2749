"""Where a model's workers are, as one process knows it, and its channels to them."""

from __future__ import annotations

import random
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
        self.version = update.version
        self.signature = update.signature
        self.quarantine = update.quarantine
        had: dict[str, deque[Channel]] = former._idle if former is not None else {}
        self.trial = update.trial
        self.sockets = update.sockets
        every = (*self.sockets, *(self.trial.sockets if self.trial is not None else ()))
        self._idle: dict[str, deque[Channel]] = {path: had.pop(path, deque()) for path in every}
        busy = former._busy if former is not None else {}
        self._busy: dict[str, int] = {path: busy.get(path, 0) for path in every}
        for channels in had.values():
            while channels:
                channels.pop().close()

    @property
    def is_current(self) -> bool:
        """Whether nothing has changed since the supervisor was asked."""
        return self._epoch.value == self._value

    def choose(self) -> tuple[str, ...]:
        """The workers of the version that the next call goes to: chance decides on a trial."""
        trial = self.trial
        if trial is not None and trial.canary and random.random() < trial.canary:
            return trial.sockets
        return self.sockets

    def take(self, workers: tuple[str, ...]) -> tuple[str, Channel | None]:
        """Give a call to the least busy of the workers.

        Returns:
            Its socket, and an idle channel to it if there is one.
        """
        path = min(workers, key=self._busy.__getitem__) if len(workers) > 1 else workers[0]
        self._busy[path] += 1
        idle = self._idle[path]
        return path, idle.pop() if idle else None

    def take_back(self, path: str) -> None:
        """Forget a call that found no channel."""
        if path in self._busy:
            self._busy[path] -= 1

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
