"""What is not run: too many, too late, or for nobody."""

from __future__ import annotations

import time
from typing import Any

import pytest

from django_inference.exceptions import Overloaded, PredictionTimeout
from django_inference.specs import EngineOptions
from tests.engine.engines import Asked, loaded, recorded

HIGH, NORMAL, LOW = range(3)


def test_one_more_than_the_queue_holds_is_refused_at_once() -> None:
    engine = loaded("Items", EngineOptions(batching="always", max_queue=3))
    asked = [Asked([index]) for index in range(5)]
    for request in asked:
        engine.runner.admit(request)
    assert [len(request.outcomes) for request in asked] == [0, 0, 0, 1, 1]
    refusal = asked[3].outcome
    assert isinstance(refusal, Overloaded)
    assert str(refusal) == "Predictor 'm': 3 requests wait already (max_queue)."
    assert refusal.status_code == 429
    engine.runner.step()
    assert [request.outcome for request in asked[:3]] == [[0], [1], [2]]
    assert engine.run([6]) == [[6]]
    counts = engine.statistics
    assert (counts.refused, counts.requests, counts.failures, counts.rows) == (2, 6, 2, 4)


def test_when_to_try_again_follows_the_measured_rate() -> None:
    def slow(items: list[Any]) -> list[Any]:
        time.sleep(0.02 * len(items))
        return items

    engine = loaded("Items", EngineOptions(batching="always", max_queue=10), predict=slow)
    engine.run(*([index] for index in range(5)))
    asked = [Asked([index]) for index in range(11)]
    for request in asked:
        engine.runner.admit(request)
    # Ten rows wait, and each has cost 20 ms so far.
    assert asked[-1].outcome.retry_after == pytest.approx(0.2, rel=0.5)


def test_a_queue_of_what_is_not_urgent_is_overtaken() -> None:
    predict, calls = recorded(list)
    engine = loaded("Items", EngineOptions(batching="always", max_batch_size=2), predict=predict)
    low = [Asked([f"low {index}"], priority=LOW) for index in range(6)]
    for request in low:
        engine.runner.admit(request)
    engine.runner.step()
    high, normal = Asked(["high"], priority=HIGH), Asked(["normal"])
    engine.runner.admit(normal)
    engine.runner.admit(high)
    engine.runner.step()
    assert high.outcome == ["high"]
    assert normal.outcome == ["normal"]
    assert [len(request.outcomes) for request in low] == [1, 1, 0, 0, 0, 0]
    while engine.runner.waiting:
        engine.runner.step()
    assert calls == [
        ["low 0", "low 1"],
        ["high", "normal"],
        ["low 2", "low 3"],
        ["low 4", "low 5"],
    ]


def test_what_has_expired_in_the_queue_is_not_run() -> None:
    predict, calls = recorded(list)
    engine = loaded("Items", predict=predict)
    late, early = Asked(["late"], deadline=time.monotonic() + 0.01), Asked(["early"])
    engine.runner.admit(late)
    engine.runner.admit(early)
    time.sleep(0.02)
    engine.runner.step()
    assert isinstance(late.outcome, PredictionTimeout)
    assert early.outcome == ["early"]
    assert calls == [["early"]]
    assert engine.statistics.expired == 1


def test_whoever_has_given_up_costs_no_run() -> None:
    predict, calls = recorded(list)
    engine = loaded("Items", EngineOptions(batching="always", max_batch_size=2), predict=predict)
    gone, other = Asked(["gone", "gone too", "and gone"]), Asked(["other"])
    engine.runner.admit(gone)
    engine.runner.admit(other)
    gone.has_given_up = True
    while engine.runner.waiting:
        engine.runner.step()
    assert other.outcome == ["other"]
    assert gone.outcomes == []
    assert calls == [["other"]]
    counts = engine.statistics
    # Once, although its items were in several batches.
    assert (counts.abandoned, counts.requests, counts.rows) == (1, 1, 1)


def test_giving_up_amid_a_batch_that_fails_saves_the_second_run() -> None:
    asked = [Asked([index]) for index in range(4)]

    def fail(items: list[Any]) -> list[Any]:
        if len(items) == 4:
            asked[1].has_given_up = True
            raise ValueError("too many")
        return items

    predict, calls = recorded(fail)
    engine = loaded("Items", predict=predict)
    assert engine.run(asked[0], asked[2], asked[3]) == [[0], [2], [3]]
    calls.clear()
    for request in (fresh := [Asked([index]) for index in range(4)]):
        engine.runner.admit(request)
    asked[1] = fresh[1]
    engine.runner.step()
    assert calls == [[0, 1, 2, 3], [0], [2, 3]]
