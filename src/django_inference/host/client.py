"""How a process calls the models of the host.

A call asks the supervisor where the model's workers are (once, and again when the epoch
says that something changed), then talks to a worker directly. Predictions are pure, so a
call whose worker dies is sent again, as long as its deadline allows.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
import weakref
from collections.abc import Generator
from typing import Any, TypeAlias

from django_inference.exceptions import (
    InferenceError,
    InvalidInput,
    ModelCrashed,
    ModelLoadFailed,
    ModelNotReady,
    PredictionFailed,
    PredictionTimeout,
)
from django_inference.host.channel import Channel
from django_inference.host.control import Conversation
from django_inference.host.protocol import Declare, ProtocolError, Reply, Update
from django_inference.host.route import Route
from django_inference.host.rundir import RuntimeDir
from django_inference.specs import HostSettings, ModelSpec, State
from django_inference.tensors import Signature

#: Seconds between two attempts at a host or a worker that is just being replaced.
PAUSE = 0.02


class _Exchange:
    """A step of a call: send a frame, wait for the reply."""

    def __init__(self, channel: Channel, frame: bytes, deadline: float) -> None:
        self._channel = channel
        self._frame = frame
        self._deadline = deadline

    def run(self) -> Reply:
        return self._channel.exchange(self._frame, self._deadline)

    async def arun(self) -> Reply:
        return await self._channel.aexchange(self._frame, self._deadline)


class _Resolve:
    """A step of a call: wait until the model's workers are known."""

    def __init__(self, client: ModelClient, deadline: float) -> None:
        self._client = client
        self._deadline = deadline

    def run(self) -> None:
        self._client.resolve(self._deadline)

    async def arun(self) -> None:
        await asyncio.to_thread(self.run)


class _Pause:
    """A step of a call: give the supervisor time to notice."""

    def run(self) -> None:
        time.sleep(PAUSE)

    async def arun(self) -> None:
        await asyncio.sleep(PAUSE)


_Step: TypeAlias = _Exchange | _Resolve | _Pause


class ModelClient:
    """Calls one model of the host. Threads and tasks may share it, and forks are survived.

    Args:
        host: where the host is.
        spec: of the model.
        declared_at: seconds since the epoch at which the settings were read.
    """

    def __init__(self, host: HostSettings, spec: ModelSpec, declared_at: float) -> None:
        self._host = host
        self._declaration = Declare(spec, declared_at, follow=True)
        self._alias = spec.alias
        self._route: Route | None = None
        self._forget()
        _clients.add(self)

    def call(self, payload: Any, deadline: float) -> Any:
        """Predict and wait.

        Args:
            payload: named tensors, one array, or a list of items.
            deadline: `time.monotonic()` at which the call is given up.

        Raises:
            InferenceError: as `django_inference.exceptions` lists them.
        """
        steps = self._steps(payload, deadline)
        try:
            step = next(steps)
            while True:
                try:
                    result = step.run()
                except BaseException as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(result)
        except StopIteration as stop:
            return stop.value

    async def acall(self, payload: Any, deadline: float) -> Any:
        """As `call`, without holding the event loop."""
        steps = self._steps(payload, deadline)
        try:
            step = next(steps)
            while True:
                try:
                    result = await step.arun()
                except BaseException as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(result)
        except StopIteration as stop:
            return stop.value

    def signature(self, deadline: float) -> Signature | None:
        """The tensors of the model; waits until it is ready."""
        while (route := self._current_route()) is None:
            self.resolve(deadline)
        return route.signature

    def close(self) -> None:
        """Hang up. Calls under way end as usual."""
        with self._lock:
            route, self._route = self._route, None
        if route is not None:
            route.close()

    def _steps(self, payload: Any, deadline: float) -> Generator[_Step, Any, Any]:
        """One call, as the waits it consists of; `call` and `acall` differ in how they wait."""
        deaths = 0
        alone = False
        while True:
            route = self._current_route()
            if route is None:
                yield _Resolve(self, deadline)
                continue
            try:
                with self._lock:
                    channel = route.take(deadline)
            except OSError:
                self._is_stale = True
                yield _Pause()
                continue
            try:
                frame = channel.encode(payload, deadline, alone=alone)
            except Exception as error:
                # An array of another library may raise anything.
                self._give_back(channel)
                raise InvalidInput(
                    f"the input cannot be sent: {error}", alias=self._alias
                ) from error
            try:
                reply: Reply = yield _Exchange(channel, frame, deadline)
            except TimeoutError:
                self._give_back(channel, usable=False)
                raise PredictionTimeout(
                    "no answer before the deadline.", alias=self._alias
                ) from None
            except OSError as error:
                self._give_back(channel, usable=False)
                self._is_stale = True
                deaths += channel.mark > 0
                if channel.mark == 1 and deaths > 1:
                    raise ModelCrashed(
                        "its process died twice while it ran this input.", alias=self._alias
                    ) from error
                # Whoever was in the batch of a dying worker may be why it died.
                alone = alone or channel.mark > 0
                yield _Pause()
                continue
            except ProtocolError as error:
                self._give_back(channel, usable=False)
                raise PredictionFailed(
                    f"the result cannot be read: {error}", alias=self._alias
                ) from error
            except BaseException:
                self._give_back(channel, usable=False)
                raise
            self._give_back(channel)
            if reply.failure is not None:
                raise reply.failure.error(self._alias)
            return reply.payload

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
            while self._current_route() is None:
                if time.monotonic() >= deadline:
                    raise self._not_ready(why)
                try:
                    self._ask(deadline)
                except TimeoutError:
                    raise self._not_ready(why) from None
                except (EOFError, OSError, ProtocolError) as error:
                    why = f"cannot be reached: {error}"
                    time.sleep(PAUSE)
        except InferenceError as error:
            error.alias = self._alias
            raise
        finally:
            self._resolving.release()

    def _ask(self, deadline: float) -> None:
        with Conversation(self._host, deadline) as conversation:
            epoch = RuntimeDir(self._host.runtime_dir).epoch()
            # Read before the answer is written: what changes later makes the route stale.
            value = epoch.value
            update = conversation.ask(self._declaration)
            while True:
                assert isinstance(update, Update)
                if update.sockets:
                    with self._lock:
                        self._route = Route(epoch, value, update, self._route)
                        self._is_stale = False
                    return
                if update.state is State.FAILED:
                    raise self._load_failed(update)
                value = epoch.value
                update = conversation.answer()

    def _current_route(self) -> Route | None:
        if self._pid != os.getpid():
            # Forked by something that calls no Python hook.
            self._forget()
        route = self._route
        return route if route is not None and not self._is_stale and route.is_current else None

    def _give_back(self, channel: Channel, *, usable: bool = True) -> None:
        with self._lock:
            if self._route is None:
                channel.close()
            else:
                self._route.give_back(channel, usable=usable)

    def _not_ready(self, why: str) -> ModelNotReady:
        return ModelNotReady(why, alias=self._alias, retry_after=1.0)

    def _load_failed(self, update: Update) -> ModelLoadFailed:
        error = update.error
        return ModelLoadFailed(
            f"the model could not be loaded: {error.message if error else 'no reason given'}",
            alias=self._alias,
            retry_after=max(1.0, update.retry_after or 0.0),
            details=error.traceback if error else "",
        )

    def _forget(self) -> None:
        # The sockets are the parent's, and its threads may have held the locks.
        if self._route is not None:
            self._route.close()
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._resolving = threading.Lock()
        self._route = None
        self._is_stale = False


def _forget_all() -> None:
    for client in list(_clients):
        client._forget()


_clients: weakref.WeakSet[ModelClient] = weakref.WeakSet()
# While the child has one thread; later, two of its threads could do it at once.
os.register_at_fork(after_in_child=_forget_all)
