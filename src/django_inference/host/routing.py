"""How one process finds a model's workers, and keeps its channels to them.

The supervisor is asked once, and again when the epoch says that something changed or a
worker is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
import weakref

from django_inference.exceptions import InferenceError, ModelLoadFailed, ModelNotReady
from django_inference.host.channel import Channel
from django_inference.host.control import Conversation, HostUnavailable
from django_inference.host.protocol import ClientMessage, Declare, ProtocolError, Update
from django_inference.host.route import Route
from django_inference.host.rundir import RuntimeDir
from django_inference.specs import HostSettings, ModelSpec, State

#: Seconds between two attempts at a host or a worker that is just being replaced.
PAUSE = 0.02


class Routing:
    """The way to one model, shared by the threads and tasks of a process. Survives forks.

    Args:
        host: where the host is.
        spec: of the model.
        declared_at: seconds since the epoch at which the settings were read.
    """

    def __init__(self, host: HostSettings, spec: ModelSpec, declared_at: float) -> None:
        self._host = host
        self._spec = spec
        self._declared_at = declared_at
        self._route: Route | None = None
        self._forget()
        _every.add(self)

    def current(self) -> Route | None:
        """The route, while nothing has changed since the supervisor was asked."""
        if self._pid != os.getpid():
            # Forked by something that calls no Python hook.
            self._forget()
        route = self._route
        return route if route is not None and not self._is_stale and route.is_current else None

    def take(self, route: Route, deadline: float, *, may_try: bool) -> Channel:
        """Return a channel to a worker.

        Args:
            route: the current one.
            deadline: `time.monotonic()`.
            may_try: the worker may be one of a version on trial.

        Raises:
            OSError: it cannot be reached. The route is stale now.
        """
        with self._lock:
            path, channel = route.take(route.choose() if may_try else route.sockets)
        return channel or self._connect(path, deadline)

    def give_back(self, channel: Channel) -> None:
        """Keep a channel for the next call."""
        self._return(channel, usable=True)

    def drop(self, channel: Channel, *, is_lost: bool = False) -> None:
        """Hang up a channel.

        Args:
            channel: that no call shall use any more.
            is_lost: its worker is gone, so that the supervisor has to be asked again.
        """
        self._return(channel, usable=False)
        if is_lost:
            self._is_stale = True

    def close(self) -> None:
        """Hang up. Calls under way end as usual."""
        with self._lock:
            route, self._route = self._route, None
        if route is not None:
            route.close()

    def resolve(self, deadline: float) -> None:
        """Ask the supervisor where the workers are, and wait until there is one.

        Raises:
            ModelLoadFailed: the load has failed.
            ModelNotReady: the deadline has passed, or there is no host.
        """
        # One thread asks for all: the others find the answer when they get the lock.
        if not self._resolving.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise self._not_ready("is not ready yet.")
        try:
            why = "is not ready yet."
            while self.current() is None:
                if time.monotonic() >= deadline:
                    raise self._not_ready(why)
                try:
                    self._ask(deadline)
                except TimeoutError:
                    raise self._not_ready(why) from None
                except HostUnavailable as error:
                    if self._host.autostart:
                        raise
                    # Whoever runs the host may be about to start it again.
                    why = error.message
                    time.sleep(PAUSE)
                except (EOFError, OSError, ProtocolError) as error:
                    why = f"cannot be reached: {error}"
                    time.sleep(PAUSE)
        except InferenceError as error:
            error.alias = self._spec.alias
            raise
        finally:
            self._resolving.release()

    async def aresolve(self, deadline: float, turn: asyncio.Lock) -> None:
        """As `resolve`, in one thread for all the tasks that share the turn."""
        try:
            async with asyncio.timeout(max(0.0, deadline - time.monotonic())), turn:
                if self.current() is None:
                    await asyncio.to_thread(self.resolve, deadline)
        except TimeoutError:
            raise self._not_ready("is not ready yet.") from None

    def tell(self, message: ClientMessage) -> None:
        """Tell the supervisor something; nothing depends on whether it hears."""
        with contextlib.suppress(InferenceError, EOFError, OSError, ProtocolError):
            deadline = time.monotonic() + 1.0
            with Conversation(self._host, deadline, autostart=False) as conversation:
                conversation.ask(message)

    def _connect(self, path: str, deadline: float) -> Channel:
        try:
            timeout = max(0.001, deadline - time.monotonic())
            return Channel(path, timeout, self._spec.supervision.max_request_bytes)
        except BaseException as error:
            with self._lock:
                if self._route is not None:
                    self._route.take_back(path)
            if isinstance(error, OSError):
                self._is_stale = True
            raise

    def _ask(self, deadline: float) -> None:
        with Conversation(self._host, deadline) as conversation:
            epoch = RuntimeDir(self._host.runtime_dir).epoch()
            # Read before the answer is written: what changes later makes the route stale.
            value = epoch.value
            update = conversation.ask(
                Declare(self._spec, self._declared_at, follow=True, pid=os.getpid())
            )
            while True:
                assert isinstance(update, Update)
                if update.sockets:
                    with self._lock:
                        self._route = Route(epoch, value, update, self._route)
                        self._is_stale = False
                    return
                if update.state is State.FAILED:
                    raise _load_failed(update)
                value = epoch.value
                update = conversation.answer()

    def _return(self, channel: Channel, *, usable: bool) -> None:
        with self._lock:
            if self._route is None:
                channel.close()
            else:
                self._route.give_back(channel, usable=usable)

    def _not_ready(self, why: str) -> ModelNotReady:
        return ModelNotReady(why, alias=self._spec.alias, retry_after=1.0)

    def _forget(self) -> None:
        # The sockets are the parent's, and its threads may have held the locks.
        if self._route is not None:
            self._route.close()
        self._pid = os.getpid()
        # A stream that the garbage collector finds is dropped wherever this thread is just then.
        self._lock = threading.RLock()
        self._resolving = threading.Lock()
        self._route = None
        self._is_stale = False


def _load_failed(update: Update) -> ModelLoadFailed:
    error = update.error
    return ModelLoadFailed(
        f"the model could not be loaded: {error.message if error else 'no reason given'}",
        retry_after=max(1.0, update.retry_after or 0.0),
        details=error.traceback if error else "",
    )


def _forget_all() -> None:
    for routing in list(_every):
        routing._forget()


_every: weakref.WeakSet[Routing] = weakref.WeakSet()
# While the child has one thread; later, two of its threads could do it at once.
os.register_at_fork(after_in_child=_forget_all)
