from __future__ import annotations

import asyncio
import time

import pytest

from django_inference.host.turns import Turns

HIGH, NORMAL, LOW = range(3)


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


class Callers:
    """Tasks that wait for a turn, and keep it until they are told."""

    def __init__(self, most: int) -> None:
        self.turns = Turns(most)
        self.got: list[str] = []

    async def start(self, name: str, priority: int = NORMAL) -> asyncio.Task[None]:
        async def take() -> None:
            await self.turns.take(priority)
            self.got.append(name)

        task = asyncio.create_task(take())
        await settle()
        return task


async def test_no_more_turns_are_out_than_there_are() -> None:
    callers = Callers(2)
    for name in "abcd":
        await callers.start(name)
    assert callers.got == ["a", "b"]
    callers.turns.give_back()
    await settle()
    assert callers.got == ["a", "b", "c"]
    callers.turns.give_back()
    callers.turns.give_back()
    await settle()
    assert callers.got == ["a", "b", "c", "d"]
    await callers.start("e")
    assert callers.got[-1] == "e"
    await callers.start("f")
    assert callers.got[-1] == "e"
    callers.turns.give_back()
    await settle()
    assert callers.got[-1] == "f"


async def test_the_most_urgent_is_next_and_within_a_priority_the_first() -> None:
    callers = Callers(1)
    await callers.start("running")
    names = [("l1", LOW), ("n1", NORMAL), ("l2", LOW), ("h1", HIGH), ("n2", NORMAL), ("h2", HIGH)]
    for name, priority in names:
        await callers.start(name, priority)
    for _ in names:
        callers.turns.give_back()
        await settle()
    assert callers.got == ["running", "h1", "h2", "n1", "n2", "l1", "l2"]


async def test_whoever_gives_up_loses_no_turn_for_the_others() -> None:
    callers = Callers(1)
    await callers.start("running")
    waiting = [await callers.start(name) for name in "abc"]
    waiting[0].cancel()
    await settle()
    callers.turns.give_back()
    # Given to b, who gives up in the same moment.
    waiting[1].cancel()
    await settle()
    assert callers.got == ["running", "c"]
    callers.turns.give_back()
    await callers.start("d")
    assert callers.got == ["running", "c", "d"]


async def test_who_waits_too_long_for_a_turn_is_told() -> None:
    turns = Turns(1)
    await turns.take(NORMAL, time.monotonic() - 1)
    with pytest.raises(TimeoutError):
        await turns.take(NORMAL, time.monotonic() + 0.01)
    turns.give_back()
    await turns.take(NORMAL, time.monotonic() + 0.01)
