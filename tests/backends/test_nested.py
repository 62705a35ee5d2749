"""Models that call models."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.test import override_settings

from django_inference import predictors
from django_inference.exceptions import PredictionFailed, PredictionTimeout
from django_inference.nested import Outer, outer
from tests.hosts import PATIENCE, Host
from tests.sample_runtimes import nested_models

LOCAL = "django_inference.backends.local.LocalBackend"
HOST = "django_inference.backends.host.HostBackend"


@pytest.fixture(scope="module", params=[LOCAL, HOST], ids=["local", "host"], autouse=True)
def models(request: pytest.FixtureRequest) -> Iterator[None]:
    host = Host()
    declared = nested_models(request.param, str(host.settings.runtime_dir))
    folder = {"RUNTIME_DIR": host.settings.runtime_dir}
    with override_settings(INFERENCE=declared, INFERENCE_HOST=folder):
        yield
        predictors.reset()
        host.clean_up()


def path(*aliases: str, **how: Any) -> Any:
    """An item that has each predictor call the next."""
    item: Any = "end"
    for alias in reversed(aliases):
        item = {"call": alias, "item": item, **how}
    return item


def ask(*aliases: str, timeout: float = PATIENCE, priority: Any = "normal", **how: Any) -> Any:
    first, *others = aliases
    item = path(*others, **how)
    return predictors[first].predict_one(item, timeout=timeout, priority=priority)


def test_a_chain_of_models_is_answered() -> None:
    assert ask("a", "b", "c") == "end"


@pytest.mark.parametrize(
    ("aliases", "way"),
    [
        (("a", "a"), "a → a"),
        (("a", "b", "a"), "a → b → a"),
        (("a", "b", "c", "b"), "a → b → c → b"),
    ],
)
def test_who_waits_for_itself_is_refused_at_once(aliases: tuple[str, ...], way: str) -> None:
    ask("a", "b", "c")
    began = time.monotonic()
    with pytest.raises(PredictionFailed, match="inside of its own run") as caught:
        ask(*aliases)
    assert f"({way})" in str(caught.value)
    assert time.monotonic() - began < PATIENCE / 2


def test_others_in_the_batch_do_not_suffer() -> None:
    ask("a", "b", "c")
    outcomes: dict[str, Any] = {}

    def run(name: str, call: Callable[[], Any]) -> None:
        try:
            outcomes[name] = call()
        except PredictionFailed as error:
            outcomes[name] = error

    calls = {
        "circle": lambda: ask("a", "b", "a"),
        "line": lambda: ask("c", "b"),
        "short": lambda: ask("a"),
    }
    threads = [threading.Thread(target=run, args=each) for each in calls.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert isinstance(outcomes.pop("circle"), PredictionFailed)
    assert outcomes == {"line": "end", "short": "end"}


def test_a_nested_call_has_no_more_time_than_the_one_it_serves() -> None:
    ask("a", "told")
    began = time.monotonic()
    _, left, _ = ask("a", "told", timeout=5.0)
    assert 0 < left < 5.0
    with pytest.raises(PredictionTimeout):
        ask("a", "told", timeout=0.3, sleep=1.0)
    assert time.monotonic() - began < PATIENCE / 2


@pytest.mark.parametrize(
    ("priority", "nested", "arrives"),
    [("high", None, 0), ("normal", None, 1), ("low", None, 2), ("low", "high", 0)],
)
def test_a_nested_call_is_as_urgent(priority: Any, nested: Any, arrives: int) -> None:
    chain, _, told = ask("a", "told", priority=priority, priority_of_next=nested)
    assert told == arrives
    assert chain == ["a", "told"]


def test_tasks_tell_as_well() -> None:
    async def call() -> Any:
        return await predictors["a"].apredict_one(path("told", asynchronous=True))

    assert asyncio.run(call())[0] == ["a", "told"]


def test_outside_of_a_run_nothing_is_inherited() -> None:
    ask("a", "b")
    assert outer() == Outer()
