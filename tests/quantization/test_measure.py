"""How two models differ."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

from django_inference.quantization import CannotQuantize
from django_inference.quantization.measure import agreements, side_by_side


def one(ours: Any, theirs: Any) -> Any:
    return agreements([{"y": np.array(ours)}], [{"y": np.array(theirs)}])["y"]


def test_equal_answers_agree_in_everything() -> None:
    assert one([[1.0, 2.0], [4.0, 3.0]], [[1.0, 2.0], [4.0, 3.0]]) == (1.0, 0.0, 1.0)
    assert one([[0.0, 0.0]], [[0.0, 0.0]])[:2] == (1.0, 0.0)


def test_what_differs_is_seen_over_all_samples() -> None:
    ours = [{"y": np.array([[3.0, 4.0]])}, {"y": np.array([[0.0, 5.0]])}]
    theirs = [{"y": np.array([[4.0, 3.0]])}, {"y": np.array([[0.0, 5.0]])}]
    found = agreements(ours, theirs)["y"]
    assert found.cosine == pytest.approx((24 + 25) / 50)
    assert (found.largest, found.top1) == (1.0, 0.5)
    assert one([[1.0, 0.0]], [[0.0, 0.0]])[0] == 0.0


def test_only_rows_of_scores_have_a_first_place() -> None:
    assert one([[1, 2]], [[1, 2]]).top1 is None
    assert one([[[1.0, 2.0]]], [[[1.0, 2.0]]]).top1 is None
    assert one([[1.0]], [[1.0]]).top1 is None
    assert agreements([{"y": np.array(["a"])}], [{"y": np.array(["a"])}]) == {}


def test_answers_that_cannot_be_compared_are_named() -> None:
    with pytest.raises(CannotQuantize, match="has no output 'y'; it has z"):
        agreements([{"y": np.zeros(2)}], [{"z": np.zeros(2)}])
    with pytest.raises(CannotQuantize, match=r"'y' has the shape \[3\] when it is quantised"):
        agreements([{"y": np.zeros(2)}], [{"y": np.zeros(3)}])
    with pytest.raises(CannotQuantize, match="answers with NaN in 'y'"):
        agreements([{"y": np.zeros(2)}], [{"y": np.array([0.0, np.nan])}])
    assert np.isnan(one([np.nan], [np.nan]).cosine)


def test_calls_are_timed_in_turns() -> None:
    made: list[str] = []

    def slow() -> None:
        made.append("slow")
        time.sleep(0.02)

    times = side_by_side([slow, lambda: made.append("fast")], rounds=3, seconds=60.0)
    assert made == ["slow", "fast"] * 4
    assert times[0] >= 20 > times[1]
    made.clear()
    side_by_side([slow], rounds=1000, seconds=0.05)
    assert len(made) < 20
