"""Another model answers where the first one cannot, and the caller can tell."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.core.checks import run_checks
from django.test import override_settings
from pytest_django import Settings

from django_inference import degraded, predictors
from django_inference.backends import patience
from django_inference.backends.dummy import DummyBackend
from django_inference.conf import InvalidPredictor
from django_inference.exceptions import (
    InferenceError,
    InvalidInput,
    ModelCrashed,
    ModelLoadFailed,
    ModelNotReady,
    Overloaded,
    PredictionFailed,
    PredictionTimeout,
    RemoteError,
)

DUMMY = "django_inference.backends.dummy.DummyBackend"
LOCAL = "django_inference.backends.local.LocalBackend"

Pair = Callable[[Any], tuple[DummyBackend, DummyBackend]]


@pytest.fixture
def pair(settings: Settings) -> Iterator[Pair]:
    """Declares `first`, which does as it is told, and its fallback `other`, which says "other"."""

    def declare(result: Any) -> tuple[DummyBackend, DummyBackend]:
        settings.INFERENCE = {
            "first": {"BACKEND": DUMMY, "OPTIONS": {"fallback": "other"}},
            "other": {"BACKEND": DUMMY, "OPTIONS": {"result": "other"}},
        }
        first, other = predictors["first"].backend, predictors["other"].backend
        assert isinstance(first, DummyBackend)
        assert isinstance(other, DummyBackend)
        first.returns(result)
        return first, other

    yield declare
    predictors.reset()


CANNOT = [ModelNotReady, ModelLoadFailed, Overloaded, PredictionTimeout, ModelCrashed, RemoteError]


@pytest.mark.parametrize("kind", CANNOT)
def test_the_fallback_answers_for_a_model_that_cannot(
    pair: Pair, kind: type[InferenceError]
) -> None:
    pair(kind("down", alias="first"))
    with degraded() as answers:
        assert predictors["first"].predict_one("x") == "other"
    (answer,) = answers
    assert (answer.alias, answer.fallback, type(answer.error)) == ("first", "other", kind)
    counts = predictors["first"].status().fallback
    assert counts is not None
    assert (counts.answered, counts.failed) == (1, 0)


@pytest.mark.parametrize("kind", [InvalidInput, PredictionFailed, ValueError])
def test_a_mistake_is_nobody_elses_to_answer_for(pair: Pair, kind: type[Exception]) -> None:
    _, other = pair(kind("wrong"))
    with degraded() as answers, pytest.raises(kind, match="wrong"):
        predictors["first"].predict_one("x")
    assert answers == []
    assert other.calls == []


def test_a_model_that_answers_is_not_degraded(pair: Pair) -> None:
    _, other = pair("first")
    with degraded() as answers:
        assert predictors["first"].predict({"x": [1]}) == "first"
    assert answers == []
    assert other.calls == []


async def test_awaited_and_in_tasks(pair: Pair) -> None:
    pair(RemoteError("down"))
    predictor = predictors["first"]
    with degraded() as answers:
        assert await predictor.apredict_one("x") == "other"
        assert await asyncio.gather(*(predictor.apredict(["x"]) for _ in range(3))) == ["other"] * 3
    assert len(answers) == 4


def test_map_is_answered_batch_by_batch(pair: Pair) -> None:
    _, other = pair(RemoteError("down"))
    other.returns(lambda items: [item.upper() for item in items])
    with degraded() as answers:
        assert list(predictors["first"].map("ab")) == ["A", "B"]
    assert [answer.alias for answer in answers] == ["first"]


async def test_amap(pair: Pair) -> None:
    _, other = pair(RemoteError("down"))
    other.returns(lambda items: [item.upper() for item in items])
    with degraded() as answers:
        assert [item async for item in predictors["first"].amap("ab")] == ["A", "B"]
    assert len(answers) == 1


def test_a_stream_that_cannot_begin_is_the_fallbacks(pair: Pair) -> None:
    _, other = pair(RemoteError("down"))
    other.returns(["a", "b"])
    with degraded() as answers:
        assert list(predictors["first"].stream("x")) == ["a", "b"]
    assert len(answers) == 1


def test_a_stream_that_has_begun_is_not_changed_for_another(pair: Pair) -> None:
    _, other = pair(["a", RemoteError("cut")])
    chunks = predictors["first"].stream("x")
    assert next(chunks) == "a"
    with pytest.raises(RemoteError, match="cut"):
        next(chunks)
    assert other.calls == []


async def test_an_asynchronous_stream(pair: Pair) -> None:
    _, other = pair(RemoteError("down"))
    other.returns(["a", "b"])
    with degraded() as answers:
        assert [chunk async for chunk in predictors["first"].astream("x")] == ["a", "b"]
    assert len(answers) == 1


def test_when_both_fail_the_first_error_is_told_and_the_other_is_its_cause(pair: Pair) -> None:
    _, other = pair(RemoteError("first is down"))
    other.returns(Overloaded("other is full"))
    with pytest.raises(RemoteError, match="first is down") as raised:
        predictors["first"].predict_one("x")
    assert isinstance(raised.value.__cause__, Overloaded)
    assert "other is full" in raised.value.__notes__[0]
    counts = predictors["first"].status().fallback
    assert counts is not None
    assert (counts.answered, counts.failed) == (0, 1)


def test_a_model_that_is_down_is_not_asked_by_every_call(pair: Pair) -> None:
    first, _ = pair(ModelNotReady("loading"))
    for _ in range(10):
        assert predictors["first"].predict_one("x") == "other"
    assert len(first.calls) < 10


def test_a_model_that_is_back_answers_again(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "REST", 0.0)
    first, _ = pair(ModelNotReady("loading"))
    assert predictors["first"].predict_one("x") == "other"
    first.returns("first")
    assert predictors["first"].predict_one("x") == "first"


def test_an_overload_says_nothing_of_the_next_call(pair: Pair) -> None:
    first, _ = pair(Overloaded("full"))
    for _ in range(3):
        assert predictors["first"].predict_one("x") == "other"
    assert len(first.calls) == 3


def test_a_real_model_that_is_still_loading_leaves_time_for_the_other(settings: Settings) -> None:
    """It would wait for the load until the whole deadline had passed."""
    loads = threading.Event()
    settings.INFERENCE = {
        "first": {
            "BACKEND": LOCAL,
            "RUNTIME": "tests.sample_runtimes.Items",
            "RUNTIME_OPTIONS": {"load": lambda artifact: loads.wait(30)},
            "OPTIONS": {"fallback": "other", "fallback_after": 0.1, "timeout": 30},
        },
        "other": {"BACKEND": DUMMY, "OPTIONS": {"result": "other"}},
    }
    try:
        with degraded() as answers:
            assert predictors["first"].predict_one("x") == "other"
        assert isinstance(answers[0].error, ModelNotReady)
        loads.set()
    finally:
        loads.set()
        predictors.reset()


def test_a_chain_is_followed(settings: Settings) -> None:
    settings.INFERENCE = {
        "a": {"BACKEND": DUMMY, "OPTIONS": {"fallback": "b", "result": RemoteError("a")}},
        "b": {"BACKEND": DUMMY, "OPTIONS": {"fallback": "c", "result": RemoteError("b")}},
        "c": {"BACKEND": DUMMY, "OPTIONS": {"result": "c"}},
    }
    try:
        with degraded() as answers:
            assert predictors["a"].predict_one("x") == "c"
        assert [(answer.alias, answer.fallback) for answer in answers] == [("b", "c"), ("a", "b")]
    finally:
        predictors.reset()


def declared(**fallbacks: str | None) -> dict[str, Any]:
    return {
        alias: {"BACKEND": DUMMY, "OPTIONS": {} if fallback is None else {"fallback": fallback}}
        for alias, fallback in fallbacks.items()
    }


@pytest.mark.parametrize(
    ("fallbacks", "number", "said"),
    [
        ({"a": "cc", "ccc": None}, "E050", "Did you mean 'ccc'?"),
        ({"a": "a"}, "E051", "a → a"),
        ({"a": "b", "b": "a"}, "E051", "a → b → a"),
    ],
    ids=["unknown", "itself", "circle"],
)
def test_fallbacks_that_lead_nowhere(
    fallbacks: dict[str, str | None], number: str, said: str
) -> None:
    with override_settings(INFERENCE=declared(**fallbacks)):
        found = [
            each
            for each in run_checks(tags=["inference"])
            if each.id == f"django_inference.{number}"
        ]
        assert said in f"{found[0].msg} {found[0].hint}"
        with pytest.raises(InvalidPredictor, match="fallback"):
            predictors["a"]


def test_who_leads_to_a_circle_but_is_not_in_it_is_not_blamed() -> None:
    with override_settings(INFERENCE=declared(a="b", b="b")):
        found = [
            each.msg
            for each in run_checks(tags=["inference"])
            if each.id == "django_inference.E051"
        ]
        assert len(found) == 1
        assert "['b']" in found[0]
