from __future__ import annotations

import asyncio
import gc
import itertools
import threading
import time
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from typing import Any

import numpy as np
import pytest

from django_inference.exceptions import (
    InvalidInput,
    ModelLoadFailed,
    PredictionFailed,
    PredictionTimeout,
)
from tests.backends.conftest import Declare
from tests.backends.mapping import BATCH, both, collect, doubled
from tests.engine.engines import recorded
from tests.sample_runtimes import nap


@both
@pytest.mark.parametrize("count", [0, 1, 4, 5, 100])
def test_results_come_in_the_order_of_the_items(declare: Declare, how: str, count: int) -> None:
    predict, calls = recorded(doubled)
    predictor = declare(hooks={"predict": predict}, OPTIONS=BATCH)
    assert list(collect(predictor, range(count), how)) == [item * 2 for item in range(count)]
    assert sum(map(len, calls)) == count
    assert all(len(call) <= 4 for call in calls)


@both
def test_an_endless_generator_is_read_as_results_are_taken(declare: Declare, how: str) -> None:
    taken = 0

    def endless() -> Iterator[int]:
        nonlocal taken
        for number in itertools.count(1):
            taken = number
            yield number

    predictor = declare(hooks={"predict": doubled}, OPTIONS=BATCH)
    results = collect(predictor, endless(), how)
    assert taken == 0
    first = [next(results) for _ in range(10)]
    assert first == [item * 2 for item in range(1, 11)]
    # The batches under way, and the one whose results are being handed out.
    assert taken <= 10 + 4 * (predictor.backend.concurrency + 2)
    results.close()


@both
def test_the_offender_raises_after_the_results_before_it(declare: Declare, how: str) -> None:
    items = [*range(10), "bad", *range(10)]
    predictor = declare(hooks={"predict": doubled}, OPTIONS=BATCH)
    seen = []
    with pytest.raises(PredictionFailed, match="bad is bad"):
        for result in collect(predictor, items, how):
            seen.append(result)
    assert seen == [item * 2 for item in range(10)]


@both
def test_a_refused_item_raises_after_the_results_before_it(declare: Declare, how: str) -> None:
    def preprocess(item: Any) -> Any:
        if item == 6:
            raise InvalidInput("six is no image")
        return item

    predictor = declare(hooks={"preprocess": preprocess}, OPTIONS=BATCH)
    seen = []
    with pytest.raises(InvalidInput, match="six is no image"):
        for result in collect(predictor, range(20), how):
            seen.append(result)
    assert seen == list(range(6))


@both
def test_a_model_that_cannot_be_loaded_raises_at_once(declare: Declare, how: str) -> None:
    def load(artifact: Any) -> None:
        raise RuntimeError("no such layer")

    predictor = declare(hooks={"load": load}, OPTIONS=BATCH)
    results = collect(predictor, itertools.count(), how)
    with pytest.raises(ModelLoadFailed):
        next(results)
    results.close()


@both
def test_the_timeout_is_of_each_batch(declare: Declare, how: str) -> None:
    predictor = declare(
        hooks={"predict": nap},
        OPTIONS={"max_batch_size": 1},
    )
    predictor.preload(wait=True)
    assert list(collect(predictor, [0.05] * 8, how, timeout=0.3)) == [None] * 8
    with pytest.raises(PredictionTimeout):
        list(collect(predictor, [0.0, 0.3], how, timeout=0.1))


@both
def test_an_error_of_the_items_themselves_is_not_swallowed(declare: Declare, how: str) -> None:
    def items() -> Iterator[int]:
        yield from range(6)
        raise LookupError("the file ends here")

    predictor = declare(hooks={"predict": doubled}, OPTIONS=BATCH)
    with pytest.raises(LookupError, match="the file ends here"):
        list(collect(predictor, items(), how))


def test_batches_run_at_the_same_time(declare: Declare) -> None:
    # While the results of one batch are handed out, the next ones are on their way.
    predict, calls = recorded(doubled)
    predictor = declare(hooks={"predict": predict}, OPTIONS=BATCH)
    results = predictor.map(range(100))
    next(results)
    time.sleep(0.1)
    assert sum(map(len, calls)) >= 8
    results.close()  # type: ignore[attr-defined]


def test_who_stops_half_way_leaves_no_thread_behind(declare: Declare) -> None:
    predictor = declare(hooks={"predict": doubled}, OPTIONS=BATCH)
    results = predictor.map(itertools.count())
    assert next(results) == 0
    results.close()  # type: ignore[attr-defined]
    assert not [t for t in threading.enumerate() if t.name.startswith("inference-map")]


async def test_who_stops_half_way_leaves_no_task_behind(declare: Declare) -> None:
    predictor = declare(hooks={"predict": doubled}, OPTIONS=BATCH)
    results = predictor.amap(itertools.count())
    assert await anext(results) == 0
    await results.aclose()  # type: ignore[attr-defined]
    await asyncio.sleep(0.05)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_errors_of_batches_that_nobody_asks_for_are_not_logged(
    declare: Declare, caplog: pytest.LogCaptureFixture
) -> None:
    def load(artifact: Any) -> None:
        raise RuntimeError("no such layer")

    predictor = declare(hooks={"load": load}, OPTIONS=BATCH)
    with pytest.raises(ModelLoadFailed):
        async for _ in predictor.amap(range(100)):
            raise AssertionError
    gc.collect()
    assert not [record for record in caplog.records if record.name == "asyncio"]


async def test_items_may_come_asynchronously(declare: Declare) -> None:
    async def items() -> AsyncIterator[int]:
        for item in range(11):
            await asyncio.sleep(0)
            yield item

    predictor = declare(hooks={"predict": doubled}, OPTIONS=BATCH)
    assert [result async for result in predictor.amap(items())] == [i * 2 for i in range(11)]


async def test_mapping_does_not_hold_the_event_loop(declare: Declare) -> None:
    predictor = declare(hooks={"predict": nap}, OPTIONS=BATCH)
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    ticking = asyncio.create_task(tick())
    async for _ in predictor.amap([0.01] * 40):
        pass
    ticking.cancel()
    assert ticks > 10


@both
def test_no_more_items_are_held_than_are_under_way(declare: Declare, how: str) -> None:
    def images() -> Iterator[Any]:
        for index in range(300):
            yield np.full(100_000, index % 256, np.uint8)

    predictor = declare(
        hooks={"predict": lambda items: [int(item[0]) for item in items]}, OPTIONS=BATCH
    )
    predictor.preload(wait=True)
    gc.collect()
    tracemalloc.start()
    assert list(collect(predictor, images(), how)) == [index % 256 for index in range(300)]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100_000 * 4 * (predictor.backend.concurrency + 3) + 1_000_000


def test_rows_of_tensors_are_items_too(declare: Declare) -> None:
    predictor = declare(RUNTIME="tests.sample_runtimes.Arrays", OPTIONS=BATCH)
    rows = [{"x": [index] * 4} for index in range(10)]
    results = [result["y"].tolist() for result in predictor.map(rows)]
    assert results == [[2 * index] * 4 for index in range(10)]
