"""`map` over the replicas of a real model host, whose workers are killed meanwhile."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings

from django_inference import Predictor, predictors
from django_inference.exceptions import InvalidInput
from django_inference.specs import State
from tests.backends.mapping import collect
from tests.hosts import ACTOR, Host, do, eventually

OPTIONS = {"timeout": 60.0, "replicas": 2, "max_batch_size": 4, "batching": "always"}


@pytest.fixture
def actor(settings: Settings, django_host: Host) -> Predictor:
    settings.INFERENCE = {"actor": {"RUNTIME": ACTOR, "OPTIONS": OPTIONS}}
    predictor = predictors["actor"]
    predictor.preload(wait=True, timeout=60)
    eventually(lambda: len(pids(predictor)) == 2, 60)
    return predictor


def pids(predictor: Predictor) -> set[int]:
    """The workers that are ready, as far as the supervisor knows."""
    replicas = predictor.status().replicas
    return {replica.pid for replica in replicas if replica.state is State.READY}


@pytest.mark.chaos
@pytest.mark.parametrize(("how", "ordered"), [("map", True), ("amap", False)])
def test_no_item_is_lost_with_a_worker(actor: Predictor, how: str, ordered: bool) -> None:
    seen: list[Any] = []
    killed: set[int] = set()
    for outcome in collect(actor, range(400), how, ordered=ordered):
        seen.append(outcome)
        if len(seen) in (50, 200):
            pid = eventually(lambda: next(iter(pids(actor) - killed), 0), 60)
            killed.add(pid)
            os.kill(pid, signal.SIGKILL)
    assert len(killed) == 2
    expected = list(range(400))
    assert seen == expected if ordered else sorted(seen) == [(n, n) for n in expected]


def test_errors_take_their_places(actor: Predictor) -> None:
    items: list[Any] = [*range(5), do("refuse", "no"), *range(5)]
    outcomes = list(actor.map(items, return_exceptions=True))
    error = outcomes.pop(5)
    assert isinstance(error, InvalidInput)
    assert error.message == "no"
    assert outcomes == [*range(5), *range(5)]


def test_other_settings_of_the_host_do_not_spoil_a_checkpoint(
    actor: Predictor, settings: Settings, tmp_path: Path
) -> None:
    path = tmp_path / "run"
    results = actor.map([do("pid")] * 40, checkpoint=path)
    first = [next(results) for _ in range(8)]
    results.close()  # type: ignore[attr-defined]
    # Neither changes an answer, so it is the same version of the model.
    entry = {"RUNTIME": ACTOR, "OPTIONS": OPTIONS | {"replicas": 1, "timeout": 50.0}}
    settings.INFERENCE = {"actor": entry}

    async def rest() -> list[int]:
        return [pid async for pid in predictors["actor"].amap([do("pid")] * 40, checkpoint=path)]

    found = asyncio.run(rest())
    assert found[:8] == first
    assert len(found) == 40
