"""How a process calls the models of the host.

A call finds the model's workers, then talks to one of them directly. Predictions are pure,
so a call whose worker dies is sent again, as long as its deadline allows.
"""

from __future__ import annotations

import asyncio
import random
from typing import Any
from weakref import WeakKeyDictionary

from django_inference.driving import arun, run
from django_inference.exceptions import (
    InvalidInput,
    ModelCrashed,
    PredictionFailed,
    PredictionTimeout,
)
from django_inference.host.protocol import OPEN, PREDICT, Confine, ProtocolError, Reply
from django_inference.host.route import Route
from django_inference.host.routing import Routing
from django_inference.host.shadow import Shadow
from django_inference.host.steps import Exchange, Pause, Resolve, Steps, Tell
from django_inference.host.streaming import ClientStream
from django_inference.host.turns import Turns
from django_inference.packing import digest_of
from django_inference.specs import NORMAL, HostSettings, ModelSpec
from django_inference.tensors import Signature
from django_inference.values import reason

#: Calls of the tasks of one event loop that are under way at the most, unless a batch
#: takes more: each has a connection of its own. As many streams are open at the most.
MOST_AT_ONCE = 64


class ModelClient:
    """Calls one model of the host. Threads and tasks may share it, and forks are survived.

    Args:
        host: where the host is.
        spec: of the model.
        declared_at: seconds since the epoch at which the settings were read.
    """

    def __init__(self, host: HostSettings, spec: ModelSpec, declared_at: float) -> None:
        self._alias = spec.alias
        self._routing = Routing(host, spec, declared_at)
        self._shadow = Shadow(spec.alias, self._routing.tell)
        # Enough to fill a batch while the one before it runs.
        self._most_at_once = max(MOST_AT_ONCE, 2 * spec.options.max_batch_size)
        self._loops: WeakKeyDictionary[asyncio.AbstractEventLoop, Loop] = WeakKeyDictionary()

    def call(self, payload: Any, deadline: float, priority: int = NORMAL) -> Any:
        """Predict and wait.

        Args:
            payload: named tensors, one array, or a list of items.
            deadline: `time.monotonic()` at which the call is given up.
            priority: index of `specs.PRIORITIES`.

        Raises:
            InferenceError: as `django_inference.exceptions` lists them.
        """
        return run(self.steps(payload, deadline, priority))

    async def acall(self, payload: Any, deadline: float, priority: int = NORMAL) -> Any:
        """As `call`, without holding the event loop.

        However many tasks call at once, the connections to the host are bounded.
        """
        loop = self.of_this_loop()
        try:
            await loop.calls.take(priority, deadline)
        except TimeoutError:
            raise PredictionTimeout("no turn before the deadline.", alias=self._alias) from None
        try:
            return await arun(self.steps(payload, deadline, priority), loop.resolving)
        finally:
            loop.calls.give_back()

    def stream(self, item: Any, priority: int = NORMAL) -> ClientStream:
        """Have one item predicted piece by piece; nothing is sent before a chunk is asked for.

        Args:
            item: what the runtime's `preprocess` takes.
            priority: index of `specs.PRIORITIES`.
        """
        return ClientStream(self, self._alias, self._routing, item, priority)

    def signature(self, deadline: float) -> Signature | None:
        """The tensors of the model; waits until it is ready."""
        return self.route(deadline).signature

    def route(self, deadline: float) -> Route:
        """Where the model's workers are; waits until one is ready."""
        while (route := self._routing.current()) is None:
            self._routing.resolve(deadline)
        return route

    async def aroute(self, deadline: float) -> Route:
        """As `route`, without holding the event loop."""
        while (route := self._routing.current()) is None:
            await self._routing.aresolve(deadline, self.of_this_loop().resolving)
        return route

    def is_current(self, route: Route) -> bool:
        """Whether nothing has changed since that was found out."""
        return self._routing.current() is route

    def close(self) -> None:
        """Hang up. Calls under way end as usual."""
        self._routing.close()

    def steps(
        self, payload: Any, deadline: float, priority: int, stream: ClientStream | None = None
    ) -> Steps:
        """One call, as the waits it consists of; `call` and `acall` differ in how they wait.

        With a stream, it is the call that opens it.
        """
        routing = self._routing
        kind = PREDICT if stream is None else OPEN
        deaths = 0
        alone = has_failed = False
        while True:
            route = routing.current()
            if route is None:
                yield Resolve(routing, deadline)
                continue
            if route.quarantine and digest_of(payload) in route.quarantine:
                raise ModelCrashed(
                    "this input has killed the model before and is not run for a while.",
                    alias=self._alias,
                )
            try:
                # A version on trial is given one chance, and never a second try.
                channel = routing.take(route, deadline, may_try=not has_failed)
            except OSError:
                has_failed = True
                yield Pause()
                continue
            try:
                frame = channel.encode(payload, deadline, priority=priority, alone=alone, kind=kind)
            except Exception as error:
                # An array of another library may raise anything.
                routing.give_back(channel)
                raise InvalidInput(
                    f"the input cannot be sent: {reason(error)}", alias=self._alias
                ) from error
            try:
                reply: Reply = yield Exchange(channel, frame, deadline)
            except TimeoutError:
                routing.drop(channel)
                raise PredictionTimeout(
                    "no answer before the deadline.", alias=self._alias
                ) from None
            except OSError as error:
                routing.drop(channel, is_lost=True)
                has_failed = True
                deaths += channel.mark > 0
                if channel.mark == 1 and deaths > 1:
                    yield Tell(routing, Confine(self._alias, digest_of(payload)))
                    raise ModelCrashed(
                        "its process died twice while it ran this input.", alias=self._alias
                    ) from error
                # Whoever was in the batch of a dying worker may be why it died.
                alone = alone or channel.mark > 0
                yield Pause()
                continue
            except ProtocolError as error:
                routing.drop(channel)
                raise PredictionFailed(
                    f"the result cannot be read: {error}", alias=self._alias
                ) from error
            except BaseException:
                routing.drop(channel)
                raise
            if stream is not None:
                return stream.opened(channel, reply)
            routing.give_back(channel)
            if reply.failure is not None:
                raise reply.failure.error(self._alias)
            trial = route.trial
            if trial is not None and random.random() < trial.shadow:
                self._shadow.offer(trial, payload, reply.payload)
            return reply.payload

    def of_this_loop(self) -> Loop:
        """What the tasks of the running event loop share."""
        running = asyncio.get_running_loop()
        known = self._loops.get(running)
        if known is None:
            known = self._loops[running] = Loop(self._most_at_once)
        return known


class Loop:
    """What the tasks of one event loop share: turns, and one who asks for all.

    Streams have turns of their own, since each may last for minutes: calls shall not wait
    for their ends.
    """

    def __init__(self, turns: int) -> None:
        self.calls = Turns(turns)
        self.streams = Turns(turns)
        self.resolving = asyncio.Lock()
