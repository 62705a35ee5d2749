"""An iterator made of a function that hands its values out."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from django_inference.runtimes.pulled import Hand, pulled


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    assert all(thread.name != "inference-pulled" for thread in threading.enumerate())


def test_what_is_handed_out_is_yielded() -> None:
    def words(hand: Hand) -> None:
        for word in ["to", "be", "or"]:
            hand(word)

    assert list(pulled(words)) == ["to", "be", "or"]
    assert list(pulled(lambda hand: None)) == []
    assert list(pulled(lambda hand: hand(None))) == [None]


def test_the_function_runs_only_while_somebody_waits() -> None:
    done: list[int] = []

    def count(hand: Hand) -> None:
        for number in range(100):
            done.append(number)
            hand(number)

    numbers = pulled(count)
    time.sleep(0.02)
    assert done == []
    for expected in range(5):
        assert next(numbers) == expected
        time.sleep(0.01)
        assert done == list(range(expected + 1))
    numbers.close()
    assert len(done) == 5


def test_closing_ends_the_function_where_it_is() -> None:
    seen: list[str] = []

    def endless(hand: Hand) -> None:
        try:
            while True:
                hand("x")
        finally:
            seen.append("finally")

    values = pulled(endless)
    next(values)
    values.close()
    assert seen == ["finally"]


def test_a_function_that_will_not_end_hands_out_no_more() -> None:
    def stubborn(hand: Hand) -> None:
        for _ in range(5):
            try:
                hand("x")
            except BaseException:
                continue

    values = pulled(stubborn)
    assert next(values) == "x"
    values.close()
    assert list(values) == []


def test_what_the_function_raises_comes_after_what_it_has_handed_out() -> None:
    def fails(hand: Hand) -> None:
        hand(1)
        raise ValueError("no more words")

    values = pulled(fails)
    assert next(values) == 1
    with pytest.raises(ValueError, match="no more words") as caught:
        next(values)
    assert "in fails" in "".join(map(str, caught.traceback))
    with pytest.raises(SystemExit):
        list(pulled(lambda hand: exit_now()))


def exit_now() -> Any:
    raise SystemExit(3)
