"""A call that is written once, as the steps it waits for, and taken in a thread or in a task.

A generator yields its steps; each knows how to wait in a thread (`run`) and in a task (`arun`),
and the generator gets what that returned or raised.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator
from typing import Any, NamedTuple


class Step(NamedTuple):
    """Something to wait for, in a thread or in a task."""

    run: Callable[[], Any]
    arun: Callable[[], Awaitable[Any]]


class InThread(NamedTuple):
    """A function that may wait; a task has a thread of its own take the step."""

    ask: Callable[[], Any]

    def run(self) -> Any:
        """Call it."""
        return self.ask()

    async def arun(self) -> Any:
        """Call it, in a thread of its own."""
        return await asyncio.to_thread(self.ask)


def run(steps: Generator[Any, Any, Any]) -> Any:
    """Take the steps in this thread; return what they lead to."""
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


async def arun(steps: Generator[Any, Any, Any], *context: Any) -> Any:
    """Take the steps in this task; return what they lead to.

    Args:
        steps: to take.
        context: what the `arun` of every step is given.
    """
    try:
        step = next(steps)
        while True:
            try:
                result = await step.arun(*context)
            except BaseException as error:
                step = steps.throw(error)
            else:
                step = steps.send(result)
    except StopIteration as stop:
        return stop.value
