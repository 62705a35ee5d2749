from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from django_inference.engine.golden import GoldenMismatch, is_close
from django_inference.specs import Golden
from tests.engine.engines import Engine, spec


def engine_with(runtime: str, *golden: Golden, **options: Any) -> Engine:
    from msgspec.structs import replace

    return Engine(replace(spec(runtime, **options), golden=golden))


def doubled(items: list[Any]) -> list[Any]:
    return [item * 2 for item in items]


def test_right_answers_let_the_model_in() -> None:
    engine = engine_with(
        "Items",
        Golden(3, 6),
        Golden([1, 2], [2, 4]),
        Golden(1.0, 2.05, 0.1),
        Golden("ab", "abab"),
        predict=doubled,
    )
    engine.runner.load()
    assert engine.run([5]) == [[10]]
    # Nobody asked these questions: they are not counted.
    assert (engine.statistics.requests, engine.statistics.rows) == (1, 1)


def test_tensors_are_compared_with_lists() -> None:
    good = Golden({"x": [[1, 2, 3, 4]]}, {"y": [[2, 4, 6, 8.0005]]}, 1e-3)
    engine_with("Arrays", good).runner.load()
    bad = Golden({"x": [[1, 2, 3, 4]]}, {"y": [[2, 4, 6, 8.01]]}, 1e-3)
    with pytest.raises(GoldenMismatch, match=r"golden answer 2 of 2 differs by more than 0\.001"):
        engine_with("Arrays", good, bad).runner.load()


def test_a_wrong_answer_shows_both() -> None:
    engine = engine_with("Items", Golden(1, 2), Golden("cat", "dog"), predict=doubled)
    with pytest.raises(GoldenMismatch) as caught:
        engine.runner.load()
    assert str(caught.value) == (
        "golden answer 2 of 2 differs by more than 0: expected 'dog', got 'catcat'."
    )


def test_a_long_answer_is_cut_in_the_message() -> None:
    engine = engine_with("Items", Golden("x" * 5000, "y" * 9000), predict=doubled)
    with pytest.raises(GoldenMismatch) as caught:
        engine.runner.load()
    assert "expected 'yyy" in str(caught.value)
    assert "got 'xxx" in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_of_long_answers_the_place_is_shown_where_they_differ_most() -> None:
    def answer(items: list[Any]) -> list[Any]:
        return [{"boxes": [{"at": np.arange(300.0)}, {"at": np.arange(300.0) * 2}]}]

    rows = [{"at": list(range(300))}, {"at": [*range(0, 300, 2), *range(700, 1000, 2)]}]
    with pytest.raises(GoldenMismatch) as caught:
        engine_with("Items", Golden(1, {"boxes": rows}, 1.0), predict=answer).runner.load()
    assert str(caught.value).endswith(
        " The largest difference is at ['boxes'][1]['at'][150]: 700 was expected, not 300."
    )
    # Nothing is said where there are no two numbers to compare.
    engine = engine_with("Items", Golden("x" * 500, "y" * 500), predict=doubled)
    with pytest.raises(GoldenMismatch, match=r"…\.$"):
        engine.runner.load()


def test_a_question_that_the_model_cannot_answer_fails_it() -> None:
    def fail(items: list[Any]) -> list[Any]:
        raise ValueError("no such class")

    with pytest.raises(GoldenMismatch, match="golden answer 1 of 1: .*no such class"):
        engine_with("Items", Golden(1, 1), predict=fail).runner.load()


@pytest.mark.parametrize(
    ("answer", "expected", "tolerance", "is_right"),
    [
        (1, 1.0, 0, True),
        (1.1, 1.0, 0.2, True),
        (1.1, 1.0, 0.05, False),
        (np.float32(0.5), 0.5, 0, True),
        (np.array([1, 2]), [1, 2], 0, True),
        (np.array([1, 2]), [1, 2, 3], 0, False),
        (np.zeros((2, 1)), [0, 0], 1, False),
        ([1, 2], np.array([1, 2.5]), 0.5, True),
        (float("nan"), float("nan"), 0, True),
        (float("nan"), 0.0, 1, False),
        (float("inf"), float("inf"), 0, True),
        (float("inf"), 1e300, 1, False),
        (1, float("nan"), 1, False),
        ("a", "a", 0, True),
        ("a", "b", 9, False),
        (None, None, 0, True),
        (0, None, 9, False),
        (None, 0, 9, False),
        (True, True, 0, True),
        ({"a": 1.0, "b": "x"}, {"a": 1.01, "b": "x"}, 0.1, True),
        ({"a": 1.0}, {"a": 1.0, "b": 2}, 0.1, False),
        ({"a": 1.0, "b": 2}, {"a": 1.0}, 0.1, False),
        ([1.0], {"a": 1.0}, 0.1, False),
        ([{"label": "cat", "score": 0.91}], [{"label": "cat", "score": 0.9}], 0.02, True),
        ([{"label": "dog", "score": 0.9}], [{"label": "cat", "score": 0.9}], 0.02, False),
        ([[1, 2], [3]], [[1, 2], [3]], 0, True),
        ([[1, 2], [3]], [[1, 2], [4]], 0.5, False),
        ([["a", 1.0]], [["a", 1.4]], 0.5, True),
        ("12", 12, 0, False),
        ([], [], 0, True),
        ([], [1], 0, False),
        (b"ab", b"ab", 0, True),
        (object(), 1, 1, False),
    ],
)
def test_what_is_close_enough(answer: Any, expected: Any, tolerance: float, is_right: bool) -> None:
    assert is_close(answer, expected, tolerance) is is_right
