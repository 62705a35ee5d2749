"""When a server is left alone, and how much is sent again."""

from __future__ import annotations

from django_inference.backends.remote.breaker import RESERVE, Breaker, Budget


def test_a_circuit_opens_after_failures_in_a_row_only() -> None:
    breaker = Breaker(2, 5.0)
    breaker.failed(0.0)
    breaker.answered()
    breaker.failed(0.0)
    assert breaker.lets_pass(0.0)
    breaker.failed(0.0)
    assert not breaker.lets_pass(4.9)
    assert breaker.wait(4.0) == 1.0


def test_one_call_at_a_time_tries_an_open_circuit() -> None:
    breaker = Breaker(1, 5.0)
    breaker.failed(0.0)
    assert breaker.lets_pass(5.0)
    breaker.takes()
    assert not breaker.lets_pass(6.0)
    breaker.failed(6.0)
    assert not breaker.lets_pass(10.9)
    assert breaker.lets_pass(11.0)
    breaker.takes()
    # The caller went away before there was an answer.
    breaker.released()
    assert breaker.lets_pass(11.0)
    breaker.takes()
    breaker.answered()
    assert not breaker.is_open


def test_a_healthy_server_is_tried_at_once() -> None:
    breaker = Breaker(1, 60.0)
    breaker.failed(0.0)
    breaker.invite()
    assert breaker.is_open
    assert breaker.lets_pass(0.1)


def test_resends_are_a_share_of_the_calls_above_a_reserve() -> None:
    budget = Budget(0.25)
    assert [budget.take() for _ in range(int(RESERVE) + 1)] == [True] * int(RESERVE) + [False]
    for _ in range(4):
        assert not budget.take()
        budget.earn()
    assert budget.take()
    assert not Budget(0.0).take()
