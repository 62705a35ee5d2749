"""`map` as completed, with errors in their places, and with word of how far it is."""

from __future__ import annotations

import itertools
import threading
from typing import Any

import pytest

from django_inference.exceptions import (
    InferenceError,
    InvalidInput,
    ModelLoadFailed,
    PredictionFailed,
    PredictionTimeout,
)
from tests.backends.conftest import DUMMY, Declare
from tests.backends.mapping import BATCH, both, collect, doubled
from tests.engine.engines import recorded


def halves(items: list[Any]) -> list[Any]:
    return [1 / item for item in items]


@both
def test_as_completed_each_result_comes_with_its_index(declare: Declare, how: str) -> None:
    predictor = declare(hooks={"predict": doubled}, OPTIONS=BATCH)
    pairs = list(collect(predictor, range(50), how, ordered=False))
    assert sorted(pairs) == [(item, item * 2) for item in range(50)]


def test_as_completed_nobody_waits_for_a_slow_batch(declare: Declare) -> None:
    gate = threading.Event()

    def answer(inputs: list[int]) -> list[int]:
        if 0 in inputs:
            assert gate.wait(60)
        return inputs

    predictor = declare(BACKEND=DUMMY, OPTIONS=BATCH)
    predictor.backend.returns(answer)  # type: ignore[attr-defined]
    results = predictor.map(range(20), ordered=False)
    first = [next(results) for _ in range(16)]
    assert {index for index, _ in first} == set(range(4, 20))
    gate.set()
    assert {index for index, _ in results} == set(range(4))


@both
@pytest.mark.parametrize("ordered", [True, False])
def test_an_error_takes_the_place_of_its_result(declare: Declare, how: str, ordered: bool) -> None:
    items = [1, 2, "bad", 4, 5, 6, 7, 8, 9, "bad"]
    predictor = declare(hooks={"predict": doubled}, OPTIONS=BATCH)
    found = list(collect(predictor, items, how, return_exceptions=True, ordered=ordered))
    outcomes = found if ordered else [outcome for _, outcome in sorted(found)]
    bad = [outcomes.pop(9), outcomes.pop(2)]
    assert outcomes == [2, 4, 8, 10, 12, 14, 16, 18]
    assert all(isinstance(error, PredictionFailed) for error in bad)
    assert "bad is bad" in str(bad[0])


@both
def test_as_completed_the_offender_raises_after_those_before_it(declare: Declare, how: str) -> None:
    predictor = declare(hooks={"predict": doubled}, OPTIONS=BATCH)
    seen = []
    with pytest.raises(PredictionFailed):
        for pair in collect(predictor, [1, 2, "bad", 4], how, ordered=False):
            seen.append(pair)
    assert seen == [(0, 2), (1, 4)]


@both
def test_the_item_that_takes_for_ever_is_an_error_among_results(declare: Declare, how: str) -> None:
    def answer(inputs: list[Any]) -> list[Any]:
        if None in inputs:
            raise PredictionTimeout("too long")
        return inputs

    predictor = declare(BACKEND=DUMMY, OPTIONS=BATCH)
    backend: Any = predictor.backend
    backend.returns(lambda inputs: answer([inputs] if inputs is None else inputs))
    found = list(collect(predictor, [[1], None, [3]], how, return_exceptions=True))
    assert [found[0], found[2]] == [[1], [3]]
    assert isinstance(found[1], PredictionTimeout)
    with pytest.raises(PredictionTimeout):
        list(collect(predictor, [[1], None, [3]], how))


@both
def test_errors_of_the_model_as_a_whole_are_raised_all_the_same(declare: Declare, how: str) -> None:
    def load(artifact: Any) -> None:
        raise RuntimeError("no such layer")

    predictor = declare(hooks={"load": load}, OPTIONS=BATCH)
    results = collect(predictor, itertools.count(), how, return_exceptions=True)
    with pytest.raises(ModelLoadFailed):
        next(results)
    results.close()


@both
def test_progress_is_told_after_each_batch(declare: Declare, how: str) -> None:
    predictor = declare(hooks={"predict": halves}, OPTIONS=BATCH)
    told: list[tuple[int, int | None]] = []

    def tell(done: int, total: int | None) -> None:
        told.append((done, total))

    options: dict[str, Any] = {"return_exceptions": True, "progress": tell}
    outcomes = list(collect(predictor, range(10), how, **options))
    assert told == [(4, 10), (8, 10), (10, 10)]
    assert isinstance(outcomes[0], InferenceError)
    told.clear()
    list(collect(predictor, iter([1, 2]), how, **options))
    assert told == [(2, None)]


def test_the_priority_is_that_of_each_call(declare: Declare) -> None:
    predict, calls = recorded(doubled)
    predictor = declare(hooks={"predict": predict}, OPTIONS=BATCH)
    assert list(predictor.map([1], priority="low")) == [2]
    with pytest.raises(InvalidInput, match="urgent"):
        list(predictor.map([1], priority="urgent"))  # type: ignore[arg-type]
    assert calls == [[1]]


async def test_an_unknown_option_is_refused_at_once(declare: Declare) -> None:
    predictor = declare(hooks={"predict": doubled})
    with pytest.raises(TypeError, match="order"):
        predictor.amap([1], order=False)
