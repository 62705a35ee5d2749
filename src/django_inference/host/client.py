"""How a process calls the models of the host.

A call finds the model's workers, then talks to one of them directly. Predictions are pure,
so a call whose worker dies is sent again, as long as its deadline allows.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Generator
from typing import Any
from weakref import WeakKeyDictionary

from django_inference.exceptions import (
    InvalidInput,
    ModelCrashed,
    PredictionFailed,
    PredictionTimeout,
)
from django_inference.host.protocol import Confine, ProtocolError, Reply
from django_inference.host.quarantine import digest_of
from django_inference.host.routing import Routing
from django_inference.host.shadow import Shadow
from django_inference.host.steps import Exchange, Pause, Resolve, Step, Tell
from django_inference.host.turns import Turns
from django_inference.specs import NORMAL, HostSettings, ModelSpec
from django_inference.tensors import Signature

#: Calls of the tasks of one event loop that are under way at the most, unless a batch
#: takes more: each has a connection of its own.
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
        self._loops: WeakKeyDictionary[asyncio.AbstractEventLoop, _Loop] = WeakKeyDictionary()

    def call(self, payload: Any, deadline: float, priority: int = NORMAL) -> Any:
        """Predict and wait.

        Args:
            payload: named tensors, one array, or a list of items.
            deadline: `time.monotonic()` at which the call is given up.
            priority: index of `specs.PRIORITIES`.

        Raises:
            InferenceError: as `django_inference.exceptions` lists them.
        """
        steps = self._steps(payload, deadline, priority)
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

    async def acall(self, payload: Any, deadline: float, priority: int = NORMAL) -> Any:
        """As `call`, without holding the event loop.

        However many tasks call at once, the connections to the host are bounded.
        """
        loop = self._of_this_loop()
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                await loop.turns.take(priority)
        except TimeoutError:
            raise PredictionTimeout("no turn before the deadline.", alias=self._alias) from None
        try:
            return await self._drive(self._steps(payload, deadline, priority), loop)
        finally:
            loop.turns.give_back()

    def signature(self, deadline: float) -> Signature | None:
        """The tensors of the model; waits until it is ready."""
        while (route := self._routing.current()) is None:
            self._routing.resolve(deadline)
        return route.signature

    def close(self) -> None:
        """Hang up. Calls under way end as usual."""
        self._routing.close()

    async def _drive(self, steps: Generator[Step, Any, Any], loop: _Loop) -> Any:
        try:
            step = next(steps)
            while True:
                try:
                    result = await step.arun(loop.resolving)
                except BaseException as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(result)
        except StopIteration as stop:
            return stop.value

    def _steps(self, payload: Any, deadline: float, priority: int) -> Generator[Step, Any, Any]:
        """One call, as the waits it consists of; `call` and `acall` differ in how they wait."""
        routing = self._routing
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
                frame = channel.encode(payload, deadline, priority=priority, alone=alone)
            except Exception as error:
                # An array of another library may raise anything.
                routing.give_back(channel)
                raise InvalidInput(
                    f"the input cannot be sent: {error}", alias=self._alias
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
            routing.give_back(channel)
            if reply.failure is not None:
                raise reply.failure.error(self._alias)
            trial = route.trial
            if trial is not None and random.random() < trial.shadow:
                self._shadow.offer(trial, payload, reply.payload)
            return reply.payload

    def _of_this_loop(self) -> _Loop:
        running = asyncio.get_running_loop()
        known = self._loops.get(running)
        if known is None:
            known = self._loops[running] = _Loop(self._most_at_once)
        return known


class _Loop:
    """What the tasks of one event loop share: turns to call, and one who asks for all."""

    def __init__(self, turns: int) -> None:
        self.turns = Turns(turns)
        self.resolving = asyncio.Lock()
